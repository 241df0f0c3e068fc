"""`local-run`: one function on this machine, without a gateway, in the sandbox that the platform would use."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec

from hilbert.cli.frame.failures import Failed, UsageError
from hilbert.cli.frame.flags import NO_FILE, StackFile, flag
from hilbert.cli.frame.parsing import pairs
from hilbert.cli.source.build_flags import AS_USUAL, BuildingFlags, Handler, Image, Lang, Name
from hilbert.cli.source.build_progress import run_builds, show_failure
from hilbert.cli.source.build_stack import (
    bundle_work,
    described_stack,
    load_functions,
    pull_templates,
    requests_of,
    store_path,
    watched_paths,
)
from hilbert.cli.stack.file import deployments_of
from hilbert.cli.terminal.output import harmless, note, out, warn
from hilbert.cli.terminal.wording import count
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment
from hilbert.core.errors import HilbertError
from hilbert.core.network import NetworkKind

if TYPE_CHECKING:
    from hilbert.builder.build_request import BuildRequest
    from hilbert.cli.source.function_server import LocalRun
    from hilbert.core.model import FunctionSpec
    from hilbert.stack.file import Stack

_SECRETS: Final = Path(".secrets")


def local_run(
    name: str = "",
    /,
    *,
    port: Annotated[int, flag("Port to listen on; 0 for any free one.", "--port", "-p")] = 8080,
    env: Annotated[tuple[str, ...], flag("Environment variable KEY=VALUE; repeatable.", "--env", "-e")] = (),
    network: Annotated[str, flag("Network of the function: host or none.", "--network")] = "host",
    watch: Annotated[bool, flag("Rebuild and restart whenever a file is saved.", "--watch")] = False,
    build: Annotated[bool, flag("Build first.", "--build", negative=True)] = True,
    named: Name = "",
    lang: Lang = "",
    handler: Handler = "",
    image: Image = "",
    print_: Annotated[bool, flag("Print the command and its environment instead of running it.", "--print")] = False,
    how: BuildingFlags = AS_USUAL,
    file: StackFile = NO_FILE,
) -> None:
    if not 0 <= port <= 65535:
        raise UsageError(f"--port {port}: must be from 0 to 65535")
    if network not in ("host", "none"):
        raise UsageError(f"--network {network}: must be host or none", hint="local-run has no container networks")
    if how.image_build:
        raise UsageError("local-run runs bundles only", hint="run container images with 'docker run' or 'podman run'")
    if watch and not build:
        raise UsageError("use either --watch or --no-build, not both")
    extra = pairs(env, "--env")
    if name and named and name != named:
        raise UsageError(f"the argument says {name}, but --name says {named}")
    name = name or named
    if lang or handler or image:
        stack = described_stack(file, name=name, lang=lang, handler=handler, image=image)
    else:
        stack = load_functions(file)
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
    spec = _spec(stack, extra)
    if print_:
        _show(spec, port)
        return
    from hilbert.cli.source.function_server import LocalRun
    from hilbert.kit import log

    log.configure(level="error")  # What the runtime has to say of this machine is said below.
    run = LocalRun(
        port=port,
        images=store_path(environment()),
        on_line=_write_line,
        on_event=note,
        settings=core_settings.load(environ=environment()).settings.process,
        network=NetworkKind(network),
    )
    with contextlib.suppress(KeyboardInterrupt), run:
        try:
            version = run.serve(spec, _secrets(spec))
        except HilbertError as exc:
            show_failure(function_name, exc)
            raise
        for key, text in sorted(run.facts.items()):
            if key == "warning.sandbox":
                warn(text)
        sandbox = f"sandbox {run.facts['sandbox']}, network {network}"
        out(f"Function {function_name} is ready at http://127.0.0.1:{run.port} ({version}, {sandbox})")
        if watch and requests:
            _watch(run, stack, requests[0], how, extra=extra)
        else:
            run.wait()


def _write_line(line: str) -> None:
    """At once, also into a pipe."""
    print(harmless(line), flush=True)


def _watch(run: LocalRun, stack: Stack, request: BuildRequest, how: BuildingFlags, *, extra: dict[str, str]) -> None:
    """Build and swap on every change, for ever. A failed build or start leaves the old version answering."""
    from msgspec.structs import replace

    from hilbert.builder.handler_watch import Watcher
    from hilbert.builder.programs import Job

    work = bundle_work(replace(how, skip_tests=True).to_build_flags())
    watcher = Watcher({request.name: watched_paths(request)})
    out(f"Watching {request.handler.name}; press Ctrl-C to stop.")
    while True:
        watcher.wait()
        job = Job(request.name)
        try:
            built = work(job, request)
            if not built.changed:
                continue
            spec = _spec(stack, extra)
            version = run.serve(spec, _secrets(spec))
        except HilbertError as exc:
            show_failure(job.name, exc, job.tail())
            warn(f"{exc.message}; {run.version} keeps serving")
            continue
        out(f"{version} is ready, built in {built.seconds:.2f}s")


def _only(stack: Stack, name: str) -> Stack:
    """The stack with the one function that is meant. Raises `Failed`."""
    if not name and len(stack.functions) != 1:
        raise Failed(
            f"{stack.source} has {count(len(stack.functions), 'function')}; name the one to run",
            hint=f"its functions are {', '.join(stack.functions)}",
        )
    name = name or next(iter(stack.functions))
    if name not in stack.functions:
        raise Failed(f"{stack.source} has no function {name}", hint=f"its functions are {', '.join(stack.functions)}")
    return msgspec.structs.replace(stack, functions={name: stack.functions[name]})


def _spec(stack: Stack, extra: Mapping[str, str]) -> FunctionSpec:
    """What a deployment of the stack's one function would ask for. Raises `InvalidSpec` and `InvalidStack`."""
    from hilbert.core.values import DEFAULT_NAMESPACE, parse_namespace_name
    from hilbert.wire.specification import to_spec

    (deployment,) = deployments_of(stack, namespace="")
    namespace = parse_namespace_name(deployment.namespace or DEFAULT_NAMESPACE)
    with_extra = msgspec.structs.replace(deployment, env_vars={**deployment.env_vars, **extra})
    return to_spec(with_extra, namespace)


def _secrets(spec: FunctionSpec) -> dict[str, bytes]:
    """The values of the function's secrets. Raises `Failed` for one that is missing."""
    found = {}
    for name in spec.secrets:
        path = _SECRETS / name
        try:
            found[str(name)] = path.read_bytes()
        except OSError as exc:
            raise Failed(
                f"function {spec.ref.name} needs the secret {name}, which cannot be read from {_SECRETS}: {exc.strerror}",
                hint=f"write it to {path}",
            ) from exc
    return found


def _show(spec: FunctionSpec, port: int) -> None:
    """The command that would run, without its sandbox, as lines for a shell."""
    import sys
    import tempfile

    from hilbert.core.ports import ReplicaPlan
    from hilbert.runtimes.process.environment import render_environment
    from hilbert.runtimes.process.images import ImageStore
    from hilbert.runtimes.process.sandbox.contract import Places

    bundle = ImageStore(store_path(environment())).find(spec.image, spec.ref.namespace)
    places = Places(
        bundle=str(bundle.path),
        layers=tuple(map(str, bundle.layers)),
        secrets=str(_SECRETS.absolute()),
        scratch=tempfile.gettempdir(),
    )
    plan = ReplicaPlan(replica=spec.ref.name, spec=spec, generation=1, secrets={})
    rendered = dict(render_environment(plan, bundle.manifest, places, python=str(Path(sys.executable).parent)))
    del rendered["HILBERT_LISTEN_FD"]
    for key, value in sorted({**rendered, "port": str(port)}.items()):
        out(harmless(f"export {key}={shlex.quote(value)}"))
    out(harmless(shlex.join(["cd", str(bundle.path)])))
    out(harmless(shlex.join([sys.executable, "-m", "hilbert.watchdog"])))
