"""`local-run`: one function on this machine, without a gateway."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec

from hilbert.cli import stackfile
from hilbert.cli.board import run_builds, show_failure
from hilbert.cli.building import (
    AS_USUAL,
    BuildingFlags,
    bundle_work,
    pull_templates,
    requests_of,
    store_path,
    watched_paths,
)
from hilbert.cli.failures import Failed, UsageError
from hilbert.cli.options import NO_FILE, StackFile, flag
from hilbert.cli.terminal import harmless, note, out, warn
from hilbert.cli.values import pairs
from hilbert.core.errors import HilbertError
from hilbert.core.settings import environment, inherited_environment

if TYPE_CHECKING:
    from hilbert.build.local import LocalRun, Plan
    from hilbert.build.request import BuildRequest
    from hilbert.wire.stack import Stack


def local_run(
    name: str = "",
    /,
    *,
    port: Annotated[int, flag("Port to answer on; 0 for any free one.", "--port", "-p")] = 8080,
    env: Annotated[tuple[str, ...], flag("Environment variable KEY=VALUE; repeatable.", "--env", "-e")] = (),
    watch: Annotated[bool, flag("Build again and swap whenever a file is saved.", "--watch")] = False,
    build: Annotated[bool, flag("Build first.", "--build", negative=True)] = True,
    print_: Annotated[bool, flag("Show the command and its environment instead of running it.", "--print")] = False,
    how: BuildingFlags = AS_USUAL,
    file: StackFile = NO_FILE,
) -> None:
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: must be from 0 to 65535")
    if how.image_build:
        raise UsageError("local-run runs bundles", hint="container images run with 'docker run' or 'podman run'")
    if watch and not build:
        raise UsageError("--watch builds; --no-build does not")
    stack = stackfile.load(file)
    for warning in stack.warnings:
        warn(warning)
    stack = _only(stack, name)
    (function_name,) = stack.functions
    pull_templates(stack, how, project=Path.cwd())
    requests = requests_of(stack, how.to_build_flags(), tag="latest", project=Path.cwd())
    if build and requests:
        run_builds(
            requests,
            bundle_work(how.to_build_flags()),
            parallel=1,
            verb="Building",
            quiet=how.quiet or print_,
            verbose=how.verbose,
        )
    plan = _plan(function_name, stack, extra=pairs(env, "--env"))
    if print_:
        _show(plan, port)
        return
    from hilbert.build.local import LocalRun

    run = LocalRun(port=port, on_line=lambda line: out(harmless(line)), on_event=note)
    with contextlib.suppress(KeyboardInterrupt), run:
        try:
            version = run.serve(plan)
        except HilbertError as exc:
            show_failure(function_name, exc)
            raise
        out(f"Function {function_name} answers at http://127.0.0.1:{run.port} ({version})")
        if watch and requests:
            _watch(run, stack, requests[0], how, extra=pairs(env, "--env"))
        else:
            run.wait()


def _watch(run: LocalRun, stack: Stack, request: BuildRequest, how: BuildingFlags, *, extra: dict[str, str]) -> None:
    """Build and swap on every change, for ever. A failed build or start leaves the old version answering."""
    from dataclasses import replace

    from hilbert.build.job import Job
    from hilbert.build.watch import Watcher

    work = bundle_work(replace(how, skip_tests=True).to_build_flags())
    watcher = Watcher({request.name: watched_paths(request)})
    out(f"Watching {request.handler.name}; Ctrl-C ends it.")
    while True:
        watcher.wait()
        job = Job(request.name)
        try:
            built = work(job, request)
            if not built.changed:
                continue
            version = run.serve(_plan(request.name, stack, extra=extra))
        except HilbertError as exc:
            show_failure(job.name, exc, job.tail())
            warn(f"{exc.message}; the old version {run.version} goes on answering")
            continue
        out(f"{version} answers, built in {built.seconds:.2f}s")


def _only(stack: Stack, name: str) -> Stack:
    """The stack with the one function that is meant. Raises `Failed`."""
    if not name and len(stack.functions) != 1:
        raise Failed(
            f"{stack.source} has {len(stack.functions)} functions; say which one",
            hint=f"one of {', '.join(stack.functions)}",
        )
    name = name or next(iter(stack.functions))
    if name not in stack.functions:
        raise Failed(f"{stack.source} has no function {name}", hint=f"it has {', '.join(stack.functions)}")
    return msgspec.structs.replace(stack, functions={name: stack.functions[name]})


def _plan(name: str, stack: Stack, *, extra: dict[str, str]) -> Plan:
    """How to run what the function's image name means now. Raises `Failed` and `InvalidStack`."""
    from hilbert.build.local import plan_for
    from hilbert.build.store import Store
    from hilbert.wire.stack import read_environment

    function = stack.functions[name]
    store = Store(store_path(environment()))
    record = store.find(function.image)
    if record is None:
        raise Failed(
            f"the image {function.image} was not built on this machine", hint="build it: 'hilbert build --bundle'"
        )
    return plan_for(
        name,
        record.digest,
        store=store,
        env=inherited_environment(),
        function_env={**read_environment(function), **extra},
        process=function.fprocess,
        namespace=function.namespace,
        secrets=Path.cwd() / ".secrets",
        wanted_secrets=function.secrets,
    )


def _show(plan: Plan, port: int) -> None:
    for key, value in sorted({**plan.own, "port": str(port)}.items()):
        out(harmless(f"export {key}={shlex.quote(value)}"))
    out(harmless(shlex.join(plan.argv)))
