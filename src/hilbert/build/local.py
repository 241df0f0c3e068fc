"""One function on this machine without a gateway: its watchdog behind a port, swapped for a newer one without a gap.

Every version has a watchdog of its own on a unix socket. The port belongs to this process, which joins each new
connection to the newest version that is ready; an older one ends once its connections have. There is no sandbox: the
function runs as the user who runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from hilbert.build.errors import BuildFailed
from hilbert.build.store import Store
from hilbert.core.bundle import Mode
from hilbert.kit.aio import spawn

T = TypeVar("T")

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_PIECE: Final = 65536
_KEPT_LINES: Final = 40
_QUIET_ROUNDS: Final = 3
"""Turns of the loop without a task after which none is coming: a connection being accepted makes one in two turns."""

_BOUND_CHILD: Final = (
    "import ctypes, os, runpy, signal, sys;"
    "ctypes.CDLL(None).prctl(1, signal.SIGTERM);"
    "os.getppid() == int(sys.argv.pop(1)) or os._exit(1);"
    "runpy.run_module('hilbert.watchdog', run_name='__main__')"
)
"""The watchdog, told by the kernel when this process ends, however it ends (`PR_SET_PDEATHSIG`)."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """How to run one version of a function."""

    name: str
    digest: str
    folder: Path
    """Of the bundle: the working folder."""
    env: Mapping[str, str]
    """The whole environment."""
    own: Mapping[str, str]
    """What of it is about the function."""
    argv: tuple[str, ...] = (sys.executable, "-m", "hilbert.watchdog")


def plan_for(
    name: str,
    digest: str,
    *,
    store: Store,
    env: Mapping[str, str],
    function_env: Mapping[str, str],
    process: str = "",
    namespace: str = "",
    secrets: Path,
    wanted_secrets: Sequence[str] = (),
) -> Plan:
    """How to run a bundle of the store, as the process runtime would. Raises `BuildFailed` when a part is missing."""
    folder = store.bundle_path(digest)
    try:
        manifest = store.manifest(digest)
    except (OSError, msgspec.MsgspecError) as exc:
        raise BuildFailed(f"the bundle of {name} is damaged", detail=str(exc), hint="build it again") from exc
    for secret in wanted_secrets:
        if not (secrets / secret).is_file():
            raise BuildFailed(
                f"function {name} needs the secret {secret}, which is not in {secrets}",
                hint=f"write it to {secrets / secret}",
            )
    own = {
        **manifest.env,
        **({"fprocess": manifest.process} if manifest.process else {}),
        **function_env,
        **({"fprocess": process} if process and manifest.mode is not Mode.PYTHON else {}),
        "HILBERT_BUNDLE": str(folder),
        "HILBERT_MODE": manifest.mode.value,
        "HILBERT_SECRETS_DIR": str(secrets),
        "OPENFAAS_NAME": name,
        "OPENFAAS_NAMESPACE": namespace or "openfaas-fn",
    }
    if manifest.handler:
        own["HILBERT_HANDLER"] = str(folder / manifest.handler)
    if manifest.layers:
        own["HILBERT_LAYERS"] = ":".join(str(store.layer_path(layer)) for layer in manifest.layers)
    return Plan(name=name, digest=digest, folder=folder, env={**env, **own}, own=own)


class LocalRun:
    """A port that answers with the newest version. Its methods are called from one thread; a loop runs in another."""

    def __init__(
        self, *, port: int, on_line: Callable[[str], None], on_event: Callable[[str], None] = lambda _: None
    ) -> None:
        """`on_line` gets what the function writes, `on_event` what happens to it."""
        self.port = port
        self.version = ""
        self._on_line = on_line
        self._on_event = on_event
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local run", daemon=True)
        self._ended = threading.Event()
        self._current: _Replica | None = None
        self._replicas: set[_Replica] = set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._count = 0
        self._folder = Path()

    def __enter__(self) -> LocalRun:
        """Raises `BuildFailed` when the port is taken."""
        self._folder = Path(tempfile.mkdtemp(prefix="hb-run-"))
        self._thread.start()
        try:
            self._call(self._listen())
        except OSError as exc:
            self.__exit__()
            raise BuildFailed(
                f"cannot listen on port {self.port}: {exc.strerror}", hint="choose another with --port"
            ) from exc
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Exception):
            self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def serve(self, plan: Plan) -> str:
        """Start a version, wait until it is ready, and let it answer from now on; its name.

        Raises `BuildFailed` if it does not become ready; then the one before goes on answering.
        """
        return self._call(self._serve(plan))

    def wait(self) -> None:
        """Return when the function has ended by itself. Raises `BuildFailed`, since it should not."""
        self._ended.wait()
        raise BuildFailed("the function has ended", hint="its output above says why")

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except KeyboardInterrupt:
            future.cancel()
            raise

    # On the loop's thread

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._join, "127.0.0.1", self.port, limit=_PIECE)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _serve(self, plan: Plan) -> str:
        self._count += 1
        version = f"version {self._count} ({plan.digest[7:19]})"
        folder = self._folder / str(self._count)
        folder.mkdir(mode=0o700)
        replica = _Replica(plan, folder, self._on_line)
        self._replicas.add(replica)
        try:
            await replica.start()
            await replica.wait_ready()
        except BaseException:
            await replica.stop()
            self._replicas.discard(replica)
            raise
        old, self._current, self.version = self._current, replica, version
        self._ended.clear()
        spawn(self._watch(replica), name="watch the replica")
        if old is not None:
            spawn(self._retire(old), name="retire the old version")
        return version

    async def _watch(self, replica: _Replica) -> None:
        status = await replica.ended()
        if replica is self._current:
            self._on_event(f"the function's watchdog has ended with status {status}")
            self._ended.set()

    async def _retire(self, replica: _Replica) -> None:
        await replica.stop()
        self._replicas.discard(replica)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replica = self._current
        async with self._held(writer):
            if replica is None:
                return
            try:
                far_reader, far_writer = await asyncio.open_unix_connection(replica.socket, limit=_PIECE)
            except OSError:
                return
            async with self._held(far_writer):
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    @contextlib.asynccontextmanager
    async def _held(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Close a connection with the block; `_close` may do so before."""
        self._connections.add(writer)
        try:
            yield
        finally:
            self._connections.discard(writer)
            await _end(writer)

    async def _close(self) -> None:
        """End connections by closing them, not by cancelling: asyncio reports cancelled ones as errors."""
        self._current = None
        if self._server is not None:
            # What has been accepted must find the server open, or asyncio loses it.
            for listener in self._server.sockets:
                self._loop.remove_reader(listener.fileno())
            for _ in range(_QUIET_ROUNDS):
                await asyncio.sleep(0)
            self._server.close()
        await asyncio.gather(*(replica.stop() for replica in self._replicas), return_exceptions=True)
        quiet = 0
        end = time.monotonic() + _STOP_SECONDS
        while quiet < _QUIET_ROUNDS:
            for writer in self._connections:
                writer.transport.abort()
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            quiet = 0 if tasks else quiet + 1
            if tasks:
                await asyncio.wait(tasks, timeout=0.05)
            if time.monotonic() > end:
                for task in tasks:
                    task.cancel()
            await asyncio.sleep(0)


class _Replica:
    """One watchdog with its socket."""

    def __init__(self, plan: Plan, folder: Path, on_line: Callable[[str], None]) -> None:
        self._plan = plan
        self._on_line = on_line
        self._tail: list[str] = []
        self._ready = False
        self._folder = folder
        self.socket = str(folder / "s")
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def start(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            listener.bind(self.socket)
            listener.listen(512)
            listener.set_inheritable(True)
            env = {**self._plan.env, "HILBERT_LISTEN_FD": str(listener.fileno()), "TMPDIR": str(self._folder)}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                _BOUND_CHILD,
                str(os.getpid()),
                env=env,
                cwd=self._plan.folder,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
                limit=1024 * 1024,
            )
        self._reading = spawn(self._read(), name="output")

    async def wait_ready(self) -> None:
        """Raises `BuildFailed` when it ends or does not answer in time."""
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end:
            if self._process is not None and self._process.returncode is not None:
                break
            with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
                if await asyncio.wait_for(self._ask(), 2.0):
                    self._ready = True
                    return
            await asyncio.sleep(0.02)
        if self._reading is not None and self._process is not None and self._process.returncode is not None:
            await asyncio.wait({self._reading}, timeout=1.0)
        raise BuildFailed(
            f"function {self._plan.name} does not start",
            hint="its output says why" if self._tail else "",
            log=self._tail,
        )

    async def ended(self) -> int:
        """The status once it has ended."""
        return await self._process.wait() if self._process is not None else 0

    async def stop(self) -> None:
        """Tell it to end after its calls, and end it by force if it takes too long."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=1.0)
            self._reading.cancel()

    async def _ask(self) -> bool:
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(b"GET /_/ready HTTP/1.1\r\nHost: function\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            return status.split(b" ")[1:2] == [b"200"]
        finally:
            await _end(writer)

    async def _read(self) -> None:
        process = self._process
        if process is None or process.stdout is None:
            return
        while True:
            try:
                raw = await process.stdout.readline()
            except ValueError:
                continue  # A line longer than the limit; it was dropped.
            if not raw:
                return
            line = _without_stamp(raw.decode("utf-8", "replace").rstrip("\r\n"))
            if self._ready:
                self._on_line(line)
            elif len(self._tail) < _KEPT_LINES:
                self._tail.append(line)


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close a connection and return once it is."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one side to the other, as fast as the other takes it."""
    with contextlib.suppress(OSError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


def _without_stamp(line: str) -> str:
    """A line of the watchdog without its time."""
    stamp, space, text = line.partition(" ")
    return text if space and stamp[:2].isdigit() and stamp.endswith("Z") else line
