"""`deploy`: functions from a stack file or from flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from msgspec.structs import replace

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, NO_FILE, PLAIN, Connection, FlagGroup, Namespace, Shape, StackFile, flag
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.rollout import Rollout, report, roll_out
from hilbert.cli.function.specification import UNSAID, Specification, over
from hilbert.cli.gateway.target import client_for, find_auth, resolve
from hilbert.cli.source.build_flags import Tag
from hilbert.cli.stack.file import deployments_of, load_stack_file, template_process
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import note, warn
from hilbert.core.environment import environment
from hilbert.wire.function import Deployment

if TYPE_CHECKING:
    from hilbert.stack.file import Stack


class RolloutFlags(FlagGroup, frozen=True, kw_only=True):
    """How to deploy, for every command that does."""

    update: Annotated[bool, flag("Update a function that already exists.", "--update", negative=True)] = True
    replace: Annotated[bool, flag("Remove a function that already exists, then create it again.", "--replace")] = False
    no_wait: Annotated[bool, flag("Return as soon as the gateway has accepted the deployment.", "--no-wait")] = False
    ready_timeout: Annotated[str, flag("How long to wait for the functions to become ready.", "--ready-timeout")] = "2m"
    timeout: Annotated[str, flag("How long to wait for each answer from the gateway.", "--timeout")] = "60s"
    parallel: Annotated[int, flag("Number of functions to deploy at once.", "--parallel")] = 4

    def to_rollout(self) -> Rollout:
        """Raises `UsageError`."""
        if not 1 <= self.parallel <= 64:
            raise UsageError(f"--parallel {self.parallel}: must be from 1 to 64")
        return Rollout(
            update=self.update and not self.replace,
            replace=self.replace,
            wait=not self.no_wait,
            ready_within=seconds(self.ready_timeout, "--ready-timeout"),
            parallel=self.parallel,
        )


CAREFULLY: Final = RolloutFlags()


def deploy(
    *,
    image: Annotated[str, flag("Image of a single function; needs --name.", "--image")] = "",
    name: Annotated[str, flag("Name of that function.", "--name")] = "",
    namespace: Namespace = "",
    said: Specification = UNSAID,
    lang: Annotated[str, flag("Template to take fprocess from.", "--lang")] = "",
    read_template: Annotated[
        bool, flag("Take fprocess from the function's template if the stack file has none.", "--read-template")
    ] = True,
    tag: Annotated[Tag, flag("Image tag: latest (as written), or from git or the handler.", "--tag")] = "latest",
    handler: Annotated[str, flag("Accepted and ignored.", "--handler")] = "",  # noqa: ARG001
    network: Annotated[str, flag("Accepted and ignored.", "--network")] = "",  # noqa: ARG001
    file: StackFile = NO_FILE,
    rollout: RolloutFlags = CAREFULLY,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    if not image and not name:
        deploy_file(
            load_stack_file(file),
            namespace=namespace,
            read_template=read_template,
            tag=tag,
            said=said,
            rollout=rollout,
            at=at,
            shape=shape,
        )
        return
    if file.yaml or file.filter or file.regex:
        raise UsageError(
            "--image and --name describe a single function; they cannot be used with --yaml, --filter or --regex"
        )
    if not image or not name:
        raise UsageError("nothing to deploy: give --image and --name, or -f stack.yaml")
    if lang and not said.fprocess:
        said = replace(said, fprocess=template_process(lang))
    from hilbert.builder.image_names import with_tag

    base = Deployment(service=name, image=with_tag(image), namespace=namespace)
    deploy_one(over(base, said), at=at, rollout=rollout, shape=shape)


def deploy_file(
    stack: Stack,
    *,
    namespace: str = "",
    read_template: bool = True,
    tag: Tag = "latest",
    said: Specification = UNSAID,
    rollout: RolloutFlags = CAREFULLY,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    """Deploy the functions of a stack file and say what came of each. Raises `Failed` if any did not work."""
    for warning in stack.warnings:
        warn(warning)
    deployments = deployments_of(stack, namespace=namespace, read_template=read_template, tag=tag)
    deploy_all(
        [over(deployment, said) for deployment in deployments],
        stack_gateway=stack.provider.gateway,
        at=at,
        rollout=rollout,
        shape=shape,
    )


def deploy_one(deployment: Deployment, *, at: Connection, rollout: RolloutFlags, shape: Shape) -> None:
    """Deploy one function and say what came of it."""
    deploy_all([deployment], stack_gateway="", at=at, rollout=rollout, shape=shape)


def deploy_all(
    deployments: list[Deployment], *, stack_gateway: str, at: Connection, rollout: RolloutFlags, shape: Shape
) -> None:
    """Deploy functions and say what came of each. Raises `Failed` if any did not work."""
    environ = environment()
    how, limit = rollout.to_rollout(), seconds(rollout.timeout, "--timeout")
    target = resolve(at.gateway, stack=stack_gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    for deployment in deployments:
        note(f"Deploying: {deployment.service}.")
    outcomes = roll_out(
        lambda: client_for(target.url, auth, tls_no_verify=at.tls_no_verify, timeout=limit),
        deployments,
        how,
        quiet=shape.format != "table",
    )
    if shape.format != "table":
        write_document(outcomes, shape.format)
    report(outcomes)
