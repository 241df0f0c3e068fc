"""The queue of several gateways: what is asked goes into the log, what came of it is read from this gateway's copy."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sqlite3
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
import structlog

from hilbert.core.errors import BackendUnavailable, QueueFull, TooLarge
from hilbert.core.ports.queue import (
    NO_BOUNDS,
    Bounds,
    CallRecord,
    Lease,
    Outcome,
    QueueBounds,
    QueuedCall,
)
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff
from hilbert.kit.sqlite import Work
from hilbert.queues.jetstream import changes
from hilbert.queues.jetstream.changes import AnyChange
from hilbert.queues.jetstream.copy import Copy
from hilbert.queues.jetstream.log import Log, Purged
from hilbert.queues.sqlite.answers import TableAnswers

T = TypeVar("T")
Connect = Callable[[], Awaitable[Log]]
_Waiting = tuple[bytes, asyncio.Future[Any]]

MOST_WAITING: Final = 2_048
"""Changes that may wait for the log at once; beyond, callers are told to come back."""
_PACE: Final = Pace(first=0.1, most=5.0)
_AT_ONCE: Final = 256
"""Changes in one entry."""
_SNAPSHOT_AFTER: Final = 64 << 20
"""Bytes of the log, at least, after which a snapshot takes its place."""

_log = structlog.get_logger("hilbert.queue")


class JetStreamQueue(TableAnswers):
    """A `Queue` with its `QueueRecords` and `Marks`. Leases of a gateway that has ended come back when their time is over."""

    def __init__(self, connect: Connect, folder: Path, bounds: QueueBounds, snapshot_after: int) -> None:
        """Use `open`."""
        self._connect = connect
        self._connected: Log | None = None
        self._folder = folder
        self._bounds = bounds
        self._snapshot_after = snapshot_after
        self._snapshot_size = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queue-copy")
        self._copy: Copy | None = None
        self._following = asyncio.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._news = asyncio.Event()
        self._tried = asyncio.Event()
        """Whether a connection was tried once, or has been made."""
        self._mine: dict[str, list[tuple[Any, BaseException | None]] | None] = {}
        """Entries that this gateway has sent, with what came of them once that is known."""
        self._connecting = spawn(self._keep_trying(), name="connect to the queue's log")
        self._writer = spawn(self._write_all(), name="write to the queue's log")
        self._snapshot: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        connect: Connect,
        folder: Path,
        bounds: QueueBounds | None = None,
        *,
        snapshot_after: int = _SNAPSHOT_AFTER,
    ) -> JetStreamQueue:
        """Begin to connect. Until that is done each method raises `BackendUnavailable`: functions are served meanwhile.

        `folder` must exist, be this gateway's own, and have room for all that is queued.
        """
        await asyncio.to_thread(_clear, folder)
        queue = cls(connect, folder, bounds or QueueBounds(), snapshot_after)
        await queue._tried.wait()
        return queue

    @property
    def _log(self) -> Log:
        if self._connected is None:
            raise BackendUnavailable("the queue's NATS has not been reached yet", hint="try again")
        return self._connected

    @property
    def reconnects(self) -> int:
        return self._connected.reconnects if self._connected is not None else 0

    async def _keep_trying(self) -> None:
        backoff = Backoff(_PACE)
        while self._connected is None:
            try:
                self._connected = await self._connect()
            except BackendUnavailable as exc:
                _log.warning("the queue's NATS is not reached", reason=exc.message, detail=exc.detail)
                self._tried.set()
                await asyncio.sleep(backoff.failed())
        self._tried.set()

    async def close(self) -> None:
        """Idempotent."""
        await cancel(self._connecting, self._writer, *([self._snapshot] if self._snapshot is not None else []))
        while self._waiting:
            self._waiting.popleft()[1].cancel()
        if self._copy is not None:
            await self._apart(self._copy.close)
            self._copy = None
        self._thread.shutdown()
        if self._connected is not None:
            await self._connected.close()

    async def put(self, calls: Sequence[QueuedCall], *, now: float, bounds: Bounds = NO_BOUNDS) -> Sequence[str]:
        if len(self._waiting) >= MOST_WAITING:
            raise QueueFull("too many calls are being queued at this moment", hint="try again", retry_after=1)
        found: list[str] = await self._write(changes.Put(tuple(calls), now, self._bounds, changes.some(bounds)))
        return found

    async def lease(self, ref: FunctionRef, *, count: int, now: float, until: float) -> Sequence[Lease]:
        found: list[Lease] = await self._write(changes.Lend(ref, count, now, until))
        return found

    async def extend(self, leases: Sequence[tuple[str, int]], *, until: float) -> Set[str]:
        found: set[str] = await self._write(changes.Extend(tuple(leases), until))
        return found

    async def settle(self, call: str, epoch: int, outcome: Outcome, *, now: float) -> None:
        await self._write(changes.settle(call, epoch, outcome, now))

    async def pull_in(self, *, before: float, now: float) -> int:
        found: int = await self._write(changes.PullIn(before, now))
        return found

    async def cancel(self, namespace: NamespaceName, call: str, *, now: float, reason: str = "") -> CallRecord:
        await self._write(changes.Cancel(namespace, call, now, reason))
        return await self.look_up(namespace, call, now=now)

    async def redrive(
        self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "", now: float
    ) -> int:
        found: int = await self._write(changes.Redrive(namespace, tuple(calls), function, now))
        return found

    async def purge(self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "") -> int:
        found: int = await self._write(changes.Purge(namespace, tuple(calls), function))
        return found

    async def cancel_function(self, ref: FunctionRef, *, reason: str, now: float) -> int:
        found: int = await self._write(changes.CancelFunction(ref, reason, now))
        return found

    async def forget_namespace(self, namespace: NamespaceName) -> None:
        await self._write(changes.ForgetNamespace(namespace))

    async def advance(
        self, mark: Mark, call: QueuedCall | None = None, *, now: float, bounds: Bounds = NO_BOUNDS
    ) -> bool:
        change = changes.Advance(mark, call, now, self._bounds, changes.some(bounds))
        return bool(await self._write(change))

    async def forget_marks(self, ref: FunctionRef, *, start: int = 0) -> None:
        await self._write(changes.ForgetMarks(ref, start))

    async def expire(self, *, now: float) -> int:
        total = 0
        while gone := await self._write(changes.Expire(now, self._bounds.finished)):
            total += gone
        return total

    async def _write(self, change: AnyChange) -> Any:
        """What came of a change, once it is on disk. Many share an entry."""
        encoded = changes.encode(change)
        if len(encoded) > self._log.most:
            raise TooLarge(
                f"the request is larger than the queue takes at once: {self._log.most} bytes (NATS's max_payload)",
                hint="keep the data elsewhere and queue a call that says where, or raise max_payload of the NATS servers",
            )
        if self._writer.done():
            raise BackendUnavailable("the queue is closed")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((encoded, future))
        self._news.set()
        return await future

    async def _write_all(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while batch := self._take():
                await self._write_batch(batch)

    def _take(self) -> list[_Waiting]:
        """What waits, as much as fits into one entry."""
        batch: list[_Waiting] = []
        room = self._log.most
        while self._waiting and len(batch) < _AT_ONCE and (not batch or len(self._waiting[0][0]) <= room):
            waiting = self._waiting.popleft()
            if not waiting[1].done():
                batch.append(waiting)
                room -= len(waiting[0])
        return batch

    async def _write_batch(self, batch: Sequence[_Waiting]) -> None:
        name = uuid.uuid4().hex
        entry = changes.entry_of(name, [encoded for encoded, _ in batch])
        self._mine[name] = None
        try:
            number = await self._log.append(entry, name)
            await self._catch_up({number: entry}, to=number)
            results = self._mine[name]
            if results is None:
                raise BackendUnavailable("the queue was read again: whether this change was made is not known")
        except Exception as exc:  # noqa: BLE001 - handed to the callers, whatever it is
            for _, future in batch:
                if not future.done():
                    future.set_exception(_copied(exc))
            return
        finally:
            del self._mine[name]
        for (_, future), (result, error) in zip(batch, results, strict=True):
            if future.done():
                continue
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)
        self._log.bytes += len(entry)
        self._shorten()

    async def _read(self, work: Work[T]) -> T:
        """Read what is, of all gateways' changes so far."""
        await self._catch_up()
        if self._copy is None:
            raise BackendUnavailable("the queue is being read again", hint="try again")
        return await self._apart(functools.partial(self._copy.read, work))

    async def _catch_up(self, known: dict[int, bytes] | None = None, *, to: int | None = None) -> None:
        """Bring the copy to an entry, or to the newest one. `known` has entries that need not be asked for."""
        async with self._following:
            try:
                last = await self._log.last() if to is None else to
                for _ in range(3):
                    if self._copy is None or self._copy.applied > await self._newest(last):
                        await self._begin_anew()
                    try:
                        await self._follow(known or {}, last)
                        return
                    except Purged:  # A snapshot of another gateway has taken the place of what was not read yet.
                        await self._drop_copy()
                raise BackendUnavailable("the queue's log is shortened faster than it can be read", hint="try again")
            except (sqlite3.Error, OSError, RuntimeError, msgspec.MsgspecError) as exc:
                await self._drop_copy()
                raise BackendUnavailable("this gateway cannot follow the queue", detail=str(exc)) from exc

    async def _newest(self, last: int) -> int:
        """`last`, unless the copy is ahead of it: then another reader was faster, or the log has lost entries."""
        if self._copy is not None and self._copy.applied > last:
            newest = await self._log.last()
            if self._copy.applied > newest:
                _log.error("the queue's log has lost entries", had=self._copy.applied, has=newest)
            return newest
        return last

    async def _follow(self, known: dict[int, bytes], last: int) -> None:
        copy = self._copy
        assert copy is not None  # noqa: S101 - made just before
        while (number := copy.applied + 1) <= last:
            entries = [known[number]] if number in known else await self._log.read(number, last + 1)
            for data in entries:
                entry = changes.Entry.load(data)
                results = await self._apart(functools.partial(copy.apply, number, entry.changes))
                if entry.id in self._mine:
                    self._mine[entry.id] = results
                number += 1

    async def _begin_anew(self) -> None:
        """Make the copy from the newest snapshot."""
        await self._drop_copy()
        path = self._folder / f"queue-{uuid.uuid4().hex}.db"
        number = await self._log.newest_snapshot(path)
        copy = await self._apart(lambda: Copy(path))
        if copy.applied != number:
            await self._apart(copy.close)
            raise RuntimeError(f"the snapshot {number} is one of {copy.applied}")
        self._copy = copy
        self._snapshot_size = path.stat().st_size if number else 0

    async def _drop_copy(self) -> None:
        copy, self._copy = self._copy, None
        if copy is not None:
            await self._apart(copy.close)

    def _shorten(self) -> None:
        """Put a snapshot in the place of a log that has become long, meanwhile."""
        idle = self._snapshot is None or self._snapshot.done()
        long = self._log.bytes > max(self._snapshot_after, 2 * self._snapshot_size)
        if idle and long and self._copy is not None:
            self._snapshot = spawn(self._take_snapshot(self._copy), name="shorten the queue's log")

    async def _take_snapshot(self, copy: Copy) -> None:
        path = self._folder / "snapshot.db"
        try:
            number = await self._apart(lambda: copy.snapshot(path))
            self._snapshot_size = path.stat().st_size
            await self._log.keep_snapshot(path, number)
            await self._log.last()
        except (BackendUnavailable, sqlite3.Error, OSError) as exc:
            _log.warning("the queue's log could not be shortened", reason=str(exc))
        finally:
            path.unlink(missing_ok=True)

    async def _apart(self, work: Callable[[], T]) -> T:
        """On the copy's own thread. Not broken off half-way."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work))


def _clear(folder: Path) -> None:
    """Remove what a process that was killed has left."""
    for left in folder.glob("*.db*"):
        left.unlink()


def _copied(error: Exception) -> Exception:
    """One of its own for each caller: tracebacks grow with every raise."""
    with contextlib.suppress(TypeError):
        if isinstance(error, BackendUnavailable):
            return BackendUnavailable(error.message, detail=error.detail, hint=error.hint)
    return error
