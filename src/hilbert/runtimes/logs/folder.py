"""`LogFolder`: the port `ReplicaLogs` over files, `NAMESPACE/FUNCTION/REPLICA.log`, which the log keeper writes.

Nothing here waits for the disk or for a replica on the event loop: reading happens in threads, in bounded pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import functools
import heapq
import itertools
import os
import resource
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog

from hilbert.core.errors import BackendUnavailable
from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.trees import NotFinished, remove_tree
from hilbert.kit.turns import Turns
from hilbert.runtimes.logs.keeper import Keeper
from hilbert.runtimes.logs.layout import replica_of
from hilbert.runtimes.logs.link import Link
from hilbert.runtimes.logs.protocol import USES_MOST, Drop, Flush, Keep, Request, Retire, Slow, Uses, decode_uses
from hilbert.runtimes.logs.reader import LogReader, last_lines

_log = structlog.get_logger("hilbert.logs")

_FOLLOW_EVERY: Final = 0.1
"""Seconds between looks at the files while somebody follows."""
_BATCH: Final = 256
"""Lines that are read in one go in a thread."""
BATCH_MOST: Final = 256 << 10
"""Bytes of their text, less the last line: what is held for one that reads, however slowly, and however fast a function writes."""
_THREADS: Final = 2
_FLUSH_MOST: Final = 1.0
"""Seconds to wait for the last words of a replica that has ended."""
_USES_MOST: Final = 1.0
"""Seconds to wait for what the keeper says of itself."""
_PIPE_BYTES: Final = 256 << 10
"""What a replica may write while the keeper is away, as far as the kernel allows."""
_TRASH: Final = ".trash-"
_PACE: Final = Pace(first=0.1, most=60.0)
_CLOSE_MOST: Final = 5.0
"""Seconds that the removal of logs may hold up an end."""
T = TypeVar("T")


class LogFolder:
    """Where the keeper is, `socket_path` says; without one, a thread of this process does its work."""

    def __init__(self, path: Path, *, pipes: Path, limit: int, socket_path: Path | None = None) -> None:
        """`path` holds the files, `pipes` a pipe for each replica; `limit` is in bytes of log for each replica."""
        self._path = path
        self._pipes = pipes
        self._limit = limit
        self._socket_path = socket_path
        for folder in (path, pipes):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._live: dict[str, FunctionRef] = {}
        self._bare: set[str] = set()
        self._rates: dict[tuple[str, str], int] = {}
        self._link = Link(self._connect, standing=self._standing)
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="logs")
        self._turns: Turns[NamespaceName] = Turns(_THREADS, each=1)
        self._removals: set[asyncio.Task[None]] = set()
        self._asking: asyncio.Task[Mapping[Scope, LogUse] | None] | None = None
        self._keeper: tuple[Keeper, threading.Thread] | None = None

    def open(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> int:
        """As the port: the pipe, open both ways, so that it never breaks while the keeper is started anew."""
        self._folder(ref).mkdir(mode=0o700, parents=True, exist_ok=True)
        pipe = self._pipes / replica
        pipe.unlink(missing_ok=True)
        os.mkfifo(pipe, 0o600)
        descriptor = os.open(pipe, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            with contextlib.suppress(OSError):  # Beyond what this user may have in pipes altogether.
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            held = os.dup(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        self._take(ref, replica, bare=bare)
        # What a replica that ends at once has written would be gone with its pipe before the keeper has opened it.
        self._link.ask(self._keep(replica, ref)).add_done_callback(lambda _: os.close(held))
        return descriptor

    def adopt(self, ref: FunctionRef, replica: str, *, bare: bool = False) -> None:
        if replica not in self._live:
            self._take(ref, replica, bare=bare)
            self._link.ask(self._keep(replica, ref))

    def retire(self, ref: FunctionRef, replica: str) -> None:
        self._live.pop(replica, None)
        self._bare.discard(replica)
        self._link.ask(Retire(self._link.number(), ref.namespace, ref.name, replica))

    async def last_lines(self, ref: FunctionRef, replica: str, count: int) -> Sequence[str]:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FLUSH_MOST):
                await self._link.ask(Flush(self._link.number(), replica))
        return await self._in_thread(lambda: last_lines(self._folder(ref), replica, count))

    def drop(self, ref: FunctionRef) -> None:
        self._discard(self._folder(ref))
        self._link.ask(Drop(self._link.number(), ref.namespace, ref.name))

    def drop_namespace(self, name: NamespaceName) -> None:
        self._discard(self._path / name)
        self._link.ask(Drop(self._link.number(), name, ""))

    def slow(self, namespace: NamespaceName, name: FunctionName | None, rate: int) -> None:
        scope = (str(namespace), str(name or ""))
        if self._rates.get(scope, 0) == rate:
            return
        if rate:
            self._rates[scope] = rate
        else:
            del self._rates[scope]
        self._link.ask(Slow(self._link.number(), *scope, rate))

    async def uses(self) -> Mapping[Scope, LogUse] | None:
        """As the port. The keeper is asked once at a time, however many want to know."""
        if not self._rates:
            return {}
        if self._asking is None or self._asking.done():
            self._asking = spawn(self._ask_uses(), name="uses of logs")
        try:
            async with asyncio.timeout(_USES_MOST):
                return await asyncio.shield(self._asking)
        except TimeoutError:
            return None

    async def _ask_uses(self) -> Mapping[Scope, LogUse] | None:
        found: dict[Scope, LogUse] = {}
        after: Scope = ("", "")
        while True:
            try:
                part = decode_uses(await self._link.ask(Uses(self._link.number(), *after)))
            except msgspec.MsgspecError as exc:
                _log.warning("log keeper: answer not understood", reason=str(exc))
                return None
            found.update(((namespace, function), use) for namespace, function, use in part)
            if len(part) < USES_MOST:
                return found
            after = part[-1][:2]

    def keep_only(self, known: Iterable[FunctionRef]) -> None:
        wanted = {(str(ref.namespace), str(ref.name)) for ref in known}
        for namespace in list(self._path.iterdir()):
            if namespace.name.startswith(_TRASH):
                self._remove(namespace)
                continue
            for function in list(namespace.iterdir()) if namespace.is_dir() else []:
                if (namespace.name, function.name) not in wanted:
                    self._discard(function)

    async def close(self) -> None:
        await cancel(self._asking)
        await self._link.close()
        if self._keeper is not None:
            keeper, thread = self._keeper
            self._keeper = None
            keeper.stop()
            await asyncio.to_thread(thread.join)
            keeper.close()
        if self._removals:  # What is left is removed at the next start.
            await asyncio.wait(self._removals, timeout=_CLOSE_MOST)
        await cancel(*self._removals)
        self._threads.shutdown()

    # Reading

    async def read(self, query: LogQuery, *, alive: Callable[[], bool] = lambda: True) -> AsyncIterator[LogLine]:
        """As the port. Holds a batch of lines at a time: who does not take them finds what is still there later, or its end."""
        readers: dict[str, LogReader] = {}
        since = 0 if query.since is None else int(query.since.timestamp() * 1_000_000) * 1000
        try:
            await self._flush(query)
            stored = await self._in_turn(query.ref.namespace, lambda: self._stored(query, readers, since))
            while batch := await self._in_turn(query.ref.namespace, lambda: _batch(stored)):
                for line in batch:
                    yield line
            goes_on = query.follow
            while goes_on:
                goes_on = alive()
                if goes_on:
                    await asyncio.sleep(_FOLLOW_EVERY)
                news = await self._in_turn(query.ref.namespace, lambda: self._news(query, readers, since))
                while batch := await self._in_turn(query.ref.namespace, functools.partial(_batch, news)):
                    for line in batch:
                        yield line
        except OSError as exc:  # A disk that fails, or no descriptor left.
            raise BackendUnavailable(f"the log cannot be read: {exc.strerror}") from exc
        finally:
            for reader in readers.values():
                reader.close()

    async def _flush(self, query: LogQuery) -> None:
        """Have what was written before the question in the files before the answer, unless the keeper is away."""
        asked = [
            self._link.ask(Flush(self._link.number(), replica))
            for replica, ref in self._live.items()
            if ref == query.ref and query.instance in ("", replica)
        ]
        if asked:
            await asyncio.wait(asked, timeout=_FLUSH_MOST)

    def _stored(self, query: LogQuery, readers: dict[str, LogReader], since: int) -> Iterator[LogLine]:
        self._find(query, readers, tail=0 if query.call_id else query.tail)
        final = not query.follow
        before = _count(query, readers, since, final=final) - query.tail if query.tail > 0 else 0
        return itertools.islice(_merge(query, readers, since, final=final), max(0, before), None)

    def _news(self, query: LogQuery, readers: dict[str, LogReader], since: int) -> Iterator[LogLine]:
        self._find(query, readers, tail=0)
        return _merge(query, readers, since, final=False)

    def _find(self, query: LogQuery, readers: dict[str, LogReader], *, tail: int) -> None:
        """A reader for each replica that has none yet."""
        folder = self._folder(query.ref)
        try:
            found = {replica_of(name) for name in os.listdir(folder)}  # noqa: PTH208 - only their names
        except OSError:
            return
        for replica in sorted(found - readers.keys() - {""}):
            if query.instance in ("", replica):
                reader = readers[replica] = LogReader(folder, replica)
                if tail > 0:
                    reader.seek_tail(tail)

    # The keeper

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._socket_path is not None:
            return await asyncio.open_unix_connection(str(self._socket_path))
        ours, theirs = socket.socketpair()
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        keeper = Keeper(self._path, self._pipes, limit=self._limit, descriptors=descriptors)
        keeper.join(theirs)
        thread = threading.Thread(target=keeper.run, name="log keeper", daemon=True)
        self._keeper = (keeper, thread)
        thread.start()
        return await asyncio.open_unix_connection(sock=ours)

    def _standing(self) -> Iterator[Request]:
        for scope, rate in self._rates.items():
            yield Slow(self._link.number(), *scope, rate)
        for replica, ref in self._live.items():
            yield self._keep(replica, ref)

    def _keep(self, replica: str, ref: FunctionRef) -> Keep:
        return Keep(self._link.number(), ref.namespace, ref.name, replica, replica in self._bare)

    def _take(self, ref: FunctionRef, replica: str, *, bare: bool) -> None:
        self._live[replica] = ref
        if bare:
            self._bare.add(replica)

    async def _in_turn(self, namespace: NamespaceName, work: Callable[[], T]) -> T:
        """A tenant with many readers has one of the threads: others' wait for one piece of its work, not for all."""
        async with self._turns.place(namespace):
            return await self._in_thread(work)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    # Files

    def _folder(self, ref: FunctionRef) -> Path:
        return self._path / ref.namespace / ref.name

    def _discard(self, folder: Path) -> None:
        """Move a folder out of the way at once, then remove it at leisure."""
        trash = self._path / f"{_TRASH}{secrets.token_hex(8)}"
        try:
            folder.rename(trash)
        except FileNotFoundError:
            return
        except OSError as exc:  # The promise stands; `keep_only` tries again at the next start.
            _log.warning("logs not removed", folder=str(folder), error=exc.strerror)
            return
        self._remove(trash)

    def _remove(self, folder: Path) -> None:
        task = spawn(self._until_gone(folder), name="remove logs")
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _until_gone(self, folder: Path) -> None:
        """The keeper may write to it until it has heard of the removal, which then has to begin again."""
        failures = 0
        while True:
            try:
                await asyncio.to_thread(_remove_now, folder)
            except NotFinished:
                continue
            except OSError as exc:
                failures += 1
                if failures & (failures - 1) == 0:
                    _log.warning("logs not removed yet", folder=str(folder), error=exc.strerror)
                await asyncio.sleep(_PACE.delay(failures))
            else:
                return


def _remove_now(folder: Path) -> None:
    top = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        remove_tree(folder.name, dir_fd=top)
    finally:
        os.close(top)


def _merge(query: LogQuery, readers: dict[str, LogReader], since: int, *, final: bool) -> Iterator[LogLine]:
    def lines(replica: str, reader: LogReader) -> Iterator[LogLine]:
        for timestamp, text, call_id in reader.lines(final=final):
            if timestamp >= since and query.takes(call_id, text):
                yield LogLine(query.ref, replica, timestamp, text, call_id)

    return heapq.merge(*itertools.starmap(lines, readers.items()), key=lambda line: line.timestamp_ns)


def _count(query: LogQuery, readers: dict[str, LogReader], since: int, *, final: bool) -> int:
    """How many lines there are now, without holding any. The readers stay where they are."""
    copies = {replica: reader.copy() for replica, reader in readers.items()}
    try:
        return sum(
            timestamp >= since and query.takes(call_id, text)
            for reader in copies.values()
            for timestamp, text, call_id in reader.lines(final=final)
        )
    finally:
        for reader in copies.values():
            reader.close()


def _batch(lines: Iterator[LogLine]) -> Sequence[LogLine]:
    """The next ones; none at the end."""
    taken: list[LogLine] = []
    size = 0
    for line in lines:
        taken.append(line)
        size += len(line.text)
        if len(taken) >= _BATCH or size >= BATCH_MOST:
            break
    return taken
