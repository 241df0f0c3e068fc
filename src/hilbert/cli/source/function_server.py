"""One function on this machine without a gateway: replicas as the platform runs them, behind one port.

Every version is a replica of the process runtime, in the sandbox that a platform of this machine would use. The port
belongs to this process, which joins each new connection to the newest version that is ready; an older one ends once its
calls have. All replicas end with this process, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from hilbert.builder.build_errors import BuildFailed
from hilbert.core.model import FunctionSpec, LogQuery
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaPlan
from hilbert.core.settings import ProcessSettings
from hilbert.core.values import Duration
from hilbert.kit.aio import spawn
from hilbert.runtimes.host import HostRuntime
from hilbert.runtimes.logs.folder import LogFolder
from hilbert.runtimes.process.images import ImageStore

T = TypeVar("T")

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 10.0
_PIECE: Final = 65536
_SHOWN_LINES: Final = 40
_QUIET_ROUNDS: Final = 3
"""Turns of the loop without a task after which none is coming: a connection being accepted makes one in two turns."""


class _Version(msgspec.Struct, kw_only=True, eq=False):
    """A replica that was started."""

    handle: Handle
    socket: str = ""
    """Once it is ready."""
    reader: asyncio.Task[None] | None = None
    """Passes on what it writes."""
    ended: bool = False


class LocalRun:
    """A port that answers with the newest version. Its methods are called from one thread; a loop runs in another."""

    def __init__(
        self,
        *,
        port: int,
        images: Path,
        on_line: Callable[[str], None],
        on_event: Callable[[str], None] = lambda _: None,
        settings: ProcessSettings | None = None,
        network: NetworkKind = NetworkKind.HOST,
    ) -> None:
        """`images` is the image store. `on_line` gets what the function writes, `on_event` what happens to it."""
        self.port = port
        self.version = ""
        self._images = ImageStore(images)
        self._on_line = on_line
        self._on_event = on_event
        self._settings = settings or ProcessSettings()
        self._network = NetworkUse(network)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="local run", daemon=True)
        self._ended = threading.Event()
        self._changed = asyncio.Event()
        self._current: _Version | None = None
        self._versions: dict[str, _Version] = {}
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._count = 0

    def __enter__(self) -> LocalRun:
        """Raises `BuildFailed` when the port is taken, and `InvalidSettings` when a sandbox that is asked for does not work."""
        self._folder = Path(tempfile.mkdtemp(prefix="hb-run-"))
        self._logs = LogFolder(
            self._folder / "logs", pipes=self._folder / "pipes", limit=self._settings.log_bytes.units
        )
        self._runtime = HostRuntime(
            self._folder, images=self._images, logs=self._logs, settings=self._settings, bound=True
        )
        self._thread.start()
        try:
            self._call(self._listen())
            self._call(self._open())
        except BaseException as exc:
            self.__exit__()
            if not isinstance(exc, OSError):
                raise
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

    @property
    def facts(self) -> Mapping[str, str]:
        """What replicas run in, as `/system/info` says it."""
        return self._runtime.machine.facts()

    def serve(self, spec: FunctionSpec, secret_values: Mapping[str, bytes]) -> str:
        """Start a version, wait until it is ready, and let it answer from now on; its name.

        Raises `BuildFailed` if it does not become ready, and what the runtime raises; then the one before goes on answering.
        """
        return self._call(self._serve(spec, secret_values))

    def wait(self) -> None:
        """Return when the function has ended by itself. Raises `BuildFailed`, since it should not."""
        self._ended.wait()
        raise BuildFailed("the function exited", hint="see its output above")

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

    async def _open(self) -> None:
        await self._runtime.open()
        self._runtime.subscribe(self._note_change)

    async def _serve(self, spec: FunctionSpec, secret_values: Mapping[str, bytes]) -> str:
        self._runtime.check_spec(spec, network=self._network, required=frozenset())
        self._count += 1
        name = f"version {self._count} ({self._runtime.pin(spec).removeprefix('sha256:')[:12]})"
        plan = ReplicaPlan(
            replica=f"{spec.ref.name}-{secrets.token_hex(4)}",
            spec=spec,
            generation=self._count,
            secrets=secret_values,
            network=self._network,
        )
        version: _Version | None = None
        try:
            async for handle in self._runtime.start(plan):
                version = self._versions[plan.replica] = _Version(handle=handle)
            if version is None:
                raise RuntimeError("the runtime started nothing")
            version.socket = await self._await_ready(version)
        except BaseException:
            if version is not None:
                await self._stop(version)
            raise
        version.reader = spawn(self._read(version), name="output")
        old, self._current, self.version = self._current, version, name
        self._ended.clear()
        if old is not None:
            spawn(self._stop(old), name="retire the old version")
        return name

    async def _await_ready(self, version: _Version) -> str:
        """Its socket. Raises `BuildFailed` when it ends or does not answer in time."""
        seen = await self._look(version)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_START_SECONDS):
                while seen.state == "starting":
                    self._changed.clear()
                    await self._changed.wait()
                    seen = await self._look(version)
        if seen.endpoint is not None:
            return seen.endpoint.address.removeprefix("unix:")
        raise BuildFailed(
            f"function {version.handle.ref.name} did not start: {seen.message or f'no answer within {_START_SECONDS:.0f} s'}",
            log=await self._written(version),
        )

    async def _look(self, version: _Version) -> Observed:
        (seen,) = await self._runtime.check([version.handle])
        return seen

    def _note_change(self, replica: str) -> None:
        self._changed.set()
        version = self._versions.get(replica)
        if version is not None and version is self._current:
            spawn(self._tell_end(version), name="look at the function")

    async def _tell_end(self, version: _Version) -> None:
        seen = await self._look(version)
        if seen.message and version is self._current:
            self._on_event(seen.message)
        if seen.state == "exited" and version is self._current:
            version.ended = True
            if version.reader is not None:
                await asyncio.wait({version.reader})
            self._ended.set()

    async def _read(self, version: _Version) -> None:
        """Pass on what it writes, from its beginning to its end."""
        query = LogQuery(ref=version.handle.ref, instance=version.handle.replica, follow=True)
        async for line in self._logs.read(query, alive=lambda: not version.ended):
            self._on_line(line.text)

    async def _written(self, version: _Version) -> list[str]:
        query = LogQuery(ref=version.handle.ref, instance=version.handle.replica, tail=_SHOWN_LINES)
        return [line.text async for line in self._logs.read(query)]

    async def _stop(self, version: _Version) -> None:
        """End it after its calls, or by force if they take too long."""
        await self._runtime.stop(version.handle, grace=Duration.parse(f"{_STOP_SECONDS:.0f}s"))
        version.ended = True
        if version.reader is not None:
            await asyncio.wait({version.reader})
        self._versions.pop(version.handle.replica, None)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        version = self._current
        async with self._held(writer):
            if version is None:
                return
            try:
                far_reader, far_writer = await asyncio.open_unix_connection(version.socket, limit=_PIECE)
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
        await asyncio.gather(
            *(self._stop(version) for version in list(self._versions.values())), return_exceptions=True
        )
        await self._runtime.close()
        await self._logs.close()
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
