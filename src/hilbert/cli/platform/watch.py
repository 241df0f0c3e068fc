"""Watching a stack's files: what is saved is built and deployed at once; what fails leaves the old version serving."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from hilbert.cli.frame.flags import Connection, StackFile
from hilbert.cli.frame.parsing import seconds
from hilbert.cli.function.deploy import RolloutFlags
from hilbert.cli.function.rollout import roll_out
from hilbert.cli.function.specification import Specification, over
from hilbert.cli.gateway.target import client_for, find_auth, resolve
from hilbert.cli.platform.function_output import FunctionOutput
from hilbert.cli.source.build_flags import BuildingFlags, tag_of
from hilbert.cli.source.build_progress import show_failure
from hilbert.cli.source.build_stack import (
    in_namespace,
    requests_of,
    warn_of_line_ends,
    watched_paths,
    work_for,
)
from hilbert.cli.source.bundle_or_image import Choice, choose
from hilbert.cli.source.push import images_to_push, push_images
from hilbert.cli.stack.file import deployments_of, load_stack_file
from hilbert.cli.terminal.output import harmless, out, warn
from hilbert.core.environment import environment
from hilbert.core.errors import HilbertError

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildRequest
    from hilbert.cli.function.rollout import Outcome as Deployed
    from hilbert.stack.file import Stack

_STACK = "the stack file"

Deploy = Callable[["Stack"], Sequence["Deployed"]]
"""Deploys a stack and waits until it is ready, writing nothing; outcomes, failures in them."""

Push = Callable[["Stack"], None]


def watch_stack(
    file: StackFile,
    how: BuildingFlags,
    *,
    namespace: str,
    said: Specification,
    rollout: RolloutFlags,
    at: Connection,
    skip_push: bool = False,
) -> None:
    """`up --watch`, after everything was built and deployed once: build and deploy what changes, until interrupted."""
    stack = in_namespace(load_stack_file(file), namespace)
    choice = choose(how, at, stack_gateway=stack.provider.gateway)
    environ = environment()
    target = resolve(at.gateway, stack=stack.provider.gateway, environ=environ)
    auth = find_auth(target.url, token=at.token, environ=environ)
    limit = seconds(rollout.timeout, "--timeout")

    def deploy(changed: Stack) -> Sequence[Deployed]:
        deployments = [
            over(deployment, said) for deployment in deployments_of(changed, namespace=namespace, tag=tag_of(how.tag))
        ]
        return roll_out(
            lambda: client_for(target.url, auth, tls_no_verify=at.tls_no_verify, timeout=limit),
            deployments,
            rollout.to_rollout(),
            quiet=True,
        )

    def push(changed: Stack) -> None:
        if images := images_to_push(changed, how):
            push_images(images, builder=how.builder, parallel=1, quiet=True)

    output = FunctionOutput(lambda: client_for(target.url, auth, tls_no_verify=at.tls_no_verify))
    StackWatch(
        lambda: in_namespace(load_stack_file(file), namespace),
        choice,
        how,
        deploy=deploy,
        served=lambda watched: output.follow(
            [(one.service, one.namespace) for one in deployments_of(watched, namespace=namespace)]
        ),
        push=push if choice.kind == "image" and not (skip_push or choice.here) else None,
    ).run()


class StackWatch:
    """Builds and deploys what changes, for ever."""

    def __init__(
        self,
        load: Callable[[], Stack],
        choice: Choice,
        how: BuildingFlags,
        *,
        deploy: Deploy,
        served: Callable[[Stack], None] = lambda _: None,
        push: Push | None = None,
        project: Path | None = None,
    ) -> None:
        """`load` reads the stack file anew. `served` is told of a stack that is deployed and watched. `push` is called between build and deployment of images. No tests run."""
        self._load = load
        self._choice = choice
        self._how = replace(how, skip_tests=True)
        self._deploy = deploy
        self._serving = served
        self._push = push
        self._project = project or Path.cwd()
        self._stack = load()
        self._served: dict[str, object] = {}
        """What was deployed last of each function: an equal thing is not deployed again."""

    def run(self) -> None:
        """Until it is interrupted."""
        from hilbert.builder.handler_watch import Watcher

        watcher = Watcher(self._watched())
        self._serving(self._stack)
        out(f"Watching {', '.join(self._stack.functions)} and {self._stack.source}; press Ctrl-C to stop.")
        while True:
            changed = watcher.wait()
            began = time.monotonic()
            if _STACK in changed and self._reload():
                watcher = Watcher(self._watched())
                changed = set(self._stack.functions)
            self.update(changed, began)
            self._serving(self._stack)

    def update(self, names: Collection[str], began: float) -> None:
        """Build and deploy these functions; `began` is when the change was seen."""
        from hilbert.stack.file import read_environment

        wanted = {name: function for name, function in self._stack.functions.items() if name in names}
        for name, function in wanted.items():
            stack = msgspec.structs.replace(self._stack, functions={name: function})
            what: object = None
            try:
                version = self._build(stack, name)
                what = (version, function, read_environment(function, folder=self._project))
                if self._served.get(name) == what:
                    continue
                if self._push is not None:
                    self._push(stack)
                outcomes = self._deploy(stack)
            except HilbertError as exc:
                self._keep_old(name, exc.message)
                continue
            for outcome in outcomes:
                if outcome.error:
                    self._keep_old(name, outcome.error)
                else:
                    self._served[name] = what
                    out(f"{name}: {version} is serving, {time.monotonic() - began:.2f}s after the change")

    def _build(self, stack: Stack, name: str) -> str:
        """The version that was built. Raises what a build raises, its log shown."""
        from hilbert.builder.programs import Job

        flags = self._how.to_build_flags()
        requests = requests_of(stack, flags, tag=self._how.tag, project=self._project)
        if not requests:
            return "the new specification"
        warn_of_line_ends(requests[0])
        work = work_for(self._choice, flags, self._how)
        job = Job(name)
        try:
            built = work(job, requests[0])
        except HilbertError as exc:
            show_failure(name, exc, job.tail())
            raise
        return built.digest[:19] or f"{built.image} of {time.strftime('%H:%M:%S')}"

    def _reload(self) -> bool:
        """Whether the stack file was read and says something else."""
        try:
            stack = self._load()
        except HilbertError as exc:
            warn(f"{exc.message}; the previous stack file stays in use")
            return False
        if stack == self._stack:
            return False
        for warning in stack.warnings:
            warn(warning)
        self._stack = stack
        return True

    def _watched(self) -> dict[str, list[Path]]:
        watched: dict[str, list[Path]] = {}
        for name, function in self._stack.functions.items():
            request = self._request(name)
            files = [self._project / file for file in function.environment_file]
            watched[name] = [*(watched_paths(request) if request is not None else []), *files]
        if "://" not in self._stack.source:
            watched[_STACK] = [Path(self._stack.source)]
        return watched

    def _request(self, name: str) -> BuildRequest | None:
        stack = msgspec.structs.replace(self._stack, functions={name: self._stack.functions[name]})
        try:
            found = requests_of(stack, self._how.to_build_flags(), tag="latest", project=self._project)
        except HilbertError as exc:
            warn(f"{name} is not watched: {exc.message}")
            return None
        return found[0] if found else None

    def _keep_old(self, name: str, why: str) -> None:
        warn(f"{harmless(why)}; the previous version of {name} keeps serving")
