"""`up`: the platform on this machine, and a stack file's functions on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from msgspec.structs import replace

from hilbert.cli.frame.failures import UsageError
from hilbert.cli.frame.flags import HERE, NO_FILE, Connection, Format, Namespace, Shape, StackFile, flag
from hilbert.cli.frame.parsing import pairs
from hilbert.cli.function.deploy import CAREFULLY, RolloutFlags, deploy_file
from hilbert.cli.function.specification import UNSAID, Specification
from hilbert.cli.gateway.target import DEFAULT_SOURCE, client_for, resolve
from hilbert.cli.platform import process
from hilbert.cli.source.build_flags import AS_USUAL, BuildingFlags, Handler, Image, Lang, Name, Shrinkwrap, tag_of
from hilbert.cli.source.build_stack import build_stack, described_stack, in_namespace, shrinkwrap_stack
from hilbert.cli.source.bundle_or_image import choose
from hilbert.cli.source.publish import publish_stack
from hilbert.cli.source.push import images_to_push, push_images
from hilbert.cli.source.remote_builder import ONE_PLATFORM, PublishFlags
from hilbert.cli.stack.file import find_stack_file, load_stack_file
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import note, out
from hilbert.cli.terminal.progress import progress
from hilbert.client import running
from hilbert.client.faults import GatewayUnreachable
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment

if TYPE_CHECKING:
    from hilbert.stack.file import Stack

StateDir = Annotated[str, flag("State directory; see 'hilbert config show'.", "--state-dir")]


def up(
    *,
    detach: Annotated[
        bool, flag("Run in the background; the log goes to STATE/hilbert.log.", "--detach", "-d")
    ] = False,
    only_gateway: Annotated[bool, flag("Ignore a stack file in this folder.", "--only-gateway")] = False,
    port: Annotated[int | None, flag("Port of the gateway; 0 for any free one.", "--port")] = None,
    host: Annotated[str, flag("Address to listen on.", "--host")] = "",
    workers: Annotated[int | None, flag("Number of proxy workers; 0 for one per core.", "--workers")] = None,
    state_dir: StateDir = "",
    given: Annotated[tuple[str, ...], flag("Setting KEY=VALUE; repeatable.", "--set")] = (),
    name: Name = "",
    lang: Lang = "",
    handler: Handler = "",
    image: Image = "",
    namespace: Namespace = "",
    skip_push: Annotated[bool, flag("Build container images but do not push them.", "--skip-push")] = False,
    publish: Annotated[bool, flag("Use 'publish' for container images, not 'build' and 'push'.", "--publish")] = False,
    skip_deploy: Annotated[bool, flag("Build and push only.", "--skip-deploy")] = False,
    shrinkwrap: Shrinkwrap = False,
    network: Annotated[str, flag("Accepted and ignored.", "--network")] = "",  # noqa: ARG001
    watch: Annotated[bool, flag("Keep watching: build and deploy what changes, until Ctrl-C.", "--watch")] = False,
    said: Specification = UNSAID,
    how: BuildingFlags = AS_USUAL,
    to: PublishFlags = ONE_PLATFORM,
    file: StackFile = NO_FILE,
    rollout: RolloutFlags = CAREFULLY,
    at: Connection = HERE,
    output: Annotated[Format, flag("Output format for the result.", "--output")] = "table",
) -> None:
    described = bool(name or lang or handler or image)
    if only_gateway and (file.yaml or described):
        raise UsageError("use either --only-gateway or --yaml, not both")
    if watch and (only_gateway or skip_deploy or described or not find_stack_file(file)):
        raise UsageError("--watch needs a stack file to build and deploy")
    if to != ONE_PLATFORM and not publish:
        raise UsageError("--platforms, --extra-tag, --reset-qemu and --remote-builder need --publish")
    if publish and (watch or skip_push or not (described or find_stack_file(file))):
        raise UsageError("--publish needs a stack file and cannot be used with --watch or --skip-push")
    if shrinkwrap and (watch or only_gateway or detach):
        raise UsageError("--shrinkwrap cannot be used with --watch, --only-gateway or --detach")
    deploys = not (only_gateway or skip_deploy) and bool(described or find_stack_file(file))
    if output != "table":
        if watch or shrinkwrap or not (deploys or detach):
            raise UsageError("--output needs functions to deploy or --detach, and cannot be used with --watch")
        how = replace(how, quiet=True)
    settings = _settings(port=port, host=host, workers=workers, state_dir=state_dir, given=given)
    if not only_gateway and (described or find_stack_file(file)):
        if described:
            stack = described_stack(file, name=name, lang=lang, handler=handler, image=image)
        else:
            stack = load_stack_file(file)
        stack = in_namespace(stack, namespace)
        if shrinkwrap:
            shrinkwrap_stack(stack, how, parallel=rollout.parallel)
            return
        if not skip_deploy:
            _ensure_gateway(stack.provider.gateway, settings, at, quiet=output != "table")
        if publish and not all(function.skip_build for function in stack.functions.values()):
            publish_stack(stack, how, to, parallel=rollout.parallel)
        elif not publish:
            build_and_push(stack, how, at, parallel=rollout.parallel, skip_push=skip_push)
        if not skip_deploy:
            deploy_file(
                stack,
                namespace=namespace,
                tag=tag_of(how.tag),
                said=said,
                rollout=rollout,
                at=at,
                shape=Shape(output=output),
            )
        if watch:
            from hilbert.cli.platform.watch import watch_stack

            watch_stack(file, how, namespace=namespace, said=said, rollout=rollout, at=at, skip_push=skip_push)
    elif detach:
        gateway = start(settings, quiet=output != "table")
        if output != "table":
            write_document({"url": gateway.url, "pid": gateway.pid, "metrics_url": gateway.metrics_url}, output)
    else:
        process.run_in_foreground(_flags(settings))


def _ensure_gateway(stack_gateway: str, settings: dict[str, str], at: Connection, *, quiet: bool) -> None:
    """Start a platform in the background if nothing answers and this machine's own is meant."""
    environ = environment()
    target = resolve(at.gateway, stack=stack_gateway, environ=environ)
    with client_for(target.url, None, tls_no_verify=at.tls_no_verify, timeout=5.0) as client:
        try:
            client.check_health()
        except GatewayUnreachable:
            if target.source != DEFAULT_SOURCE:
                raise
        else:
            return
    note(f"No gateway answers at {target.url}; starting one.")
    start(settings, quiet=quiet)


def build_and_push(stack: Stack, how: BuildingFlags, at: Connection, *, parallel: int, skip_push: bool = False) -> None:
    """Build what is to be built, as the gateway's provider needs it, and push container images that name a registry."""
    if all(function.skip_build for function in stack.functions.values()):
        return
    choice = choose(how, at, stack_gateway=stack.provider.gateway)
    build_stack(stack, choice, how, parallel=parallel)
    if choice.kind == "image" and not (skip_push or choice.here) and (images := images_to_push(stack, how)):
        push_images(images, builder=how.builder, parallel=parallel, quiet=how.quiet)


def start(settings: dict[str, str], *, quiet: bool = False) -> running.LocalGateway:
    """Start the platform in the background and say where it is, unless `quiet`. Raises `StartFailed`."""
    loaded = core_settings.load(flags=dict(settings))
    state = Path(loaded.settings.paths.state_dir)
    there = running.read(state)
    if there is not None and running.is_alive(there):
        if not quiet:
            out(f"The gateway is already running at {there.url} (pid {there.pid}).")
        return there
    with progress("starting the platform"):
        gateway = process.start_detached(_flags(settings), state)
    if quiet:
        return gateway
    out(f"The gateway is running at {gateway.url} (pid {gateway.pid}).")
    for line in running.first_steps(gateway.url, state):
        note(line.replace(" in another terminal", ""))
    note(f"Stop it with 'hilbert down'; its log is {state / 'hilbert.log'}.")
    return gateway


def _settings(
    *, port: int | None, host: str, workers: int | None, state_dir: str, given: tuple[str, ...]
) -> dict[str, str]:
    """What is said by flags, by dotted name. Raises `InvalidSettings` for what makes no sense."""
    said = {
        "gateway.port": None if port is None else str(port),
        "gateway.host": host or None,
        "gateway.workers": None if workers is None else str(workers),
        "paths.state_dir": str(Path(state_dir).absolute()) if state_dir else None,
    }
    settings = {**pairs(given, "--set"), **{key: value for key, value in said.items() if value is not None}}
    core_settings.load(flags=dict(settings))
    return settings


def _flags(settings: dict[str, str]) -> list[str]:
    return [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
