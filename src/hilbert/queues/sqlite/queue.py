"""The queue of one host: a SQLite file, written by one connection, many callers to a commit."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Final, TypeVar

import structlog

from hilbert.core.errors import BackendUnavailable, QueueFull, StorageFull
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
from hilbert.kit.files import sync
from hilbert.kit.sqlite import Database, Work, open_whole
from hilbert.queues.sqlite import marks, transactions
from hilbert.queues.sqlite.accepting import Put, Tick, advance_all, put_all
from hilbert.queues.sqlite.answers import TableAnswers
from hilbert.queues.sqlite.reserve import DEFAULT_SIZE, Reserve
from hilbert.queues.sqlite.schema import MIGRATIONS
from hilbert.queues.sqlite.together import Together

T = TypeVar("T")

MOST_PUTTING: Final = 2_048
"""Puts that may wait for the disk at once. More would only wait longer; they are told to come back."""
_FATAL: Final = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""After these nothing can be promised until the file has been opened anew: a failed sync may have lost what it had."""

_log = structlog.get_logger("hilbert.queue")


class SqliteQueue(TableAnswers):
    """A `Queue` with its `QueueRecords` and `Marks`. One process at a time has the file open; opening gives back all leases."""

    def __init__(self, database: Database, reserve: Reserve, lock: int, bounds: QueueBounds) -> None:
        """Use `open`."""
        self._database = database
        self._reserve = reserve
        self._lock = lock
        self._bounds = bounds
        self._putting = 0
        self._puts: Together[Put, list[str]] = Together(
            "put", self._write, lambda connection, puts: put_all(connection, puts, bounds)
        )
        self._ticks: Together[Tick, bool] = Together(
            "advance", self._write, lambda connection, ticks: advance_all(connection, ticks, bounds)
        )
        self._settled: Together[transactions.Settle, None] = Together("settle", self._write, transactions.settle_all)
        self._broken = ""

    @classmethod
    async def open(
        cls, folder: Path, bounds: QueueBounds | None = None, *, reserve_bytes: int = DEFAULT_SIZE
    ) -> SqliteQueue:
        """Open or create `queue.db` in `folder`, which must exist.

        Raises `BackendUnavailable` when another process has it, or when the file is damaged, and `StorageFull`.
        """
        with _told(folder / "queue.db"):
            lock = os.open(folder / "queue.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                database = await asyncio.to_thread(open_whole, folder / "queue.db", MIGRATIONS)
                try:
                    wrong = await database.write(transactions.recover)
                    sync(folder)
                except BaseException:
                    database.close()
                    raise
            except BaseException:
                os.close(lock)
                raise
        if wrong:
            _log.error("the queue's counts were wrong and have been recomputed", counts=wrong)
        reserve = Reserve(folder / "queue.reserve", size=reserve_bytes)
        reserve.hold()
        return cls(database, reserve, lock, bounds or QueueBounds())

    def close(self) -> None:
        """Finish the work under way. Idempotent."""
        self._database.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    async def put(self, calls: Sequence[QueuedCall], *, now: float, bounds: Bounds = NO_BOUNDS) -> Sequence[str]:
        self._check_room()
        if self._putting >= MOST_PUTTING:
            raise QueueFull("too many calls are being queued at this moment", hint="try again", retry_after=1)
        self._putting += 1
        try:
            return await self._puts.do(Put(calls, now, bounds))
        finally:
            self._putting -= 1

    async def lease(self, ref: FunctionRef, *, count: int, now: float, until: float) -> Sequence[Lease]:
        return await self._write(lambda connection: transactions.lease(connection, ref, count, now, until))

    async def extend(self, leases: Sequence[tuple[str, int]], *, until: float) -> Set[str]:
        return await self._write(lambda connection: transactions.extend(connection, leases, until))

    async def settle(self, call: str, epoch: int, outcome: Outcome, *, now: float) -> None:
        await self._settled.do(transactions.Settle(call, epoch, outcome, now))

    async def pull_in(self, *, before: float, now: float) -> int:
        return await self._write(lambda connection: transactions.pull_in(connection, before, now))

    async def cancel(self, namespace: NamespaceName, call: str, *, now: float, reason: str = "") -> CallRecord:
        await self._write(lambda connection: transactions.cancel(connection, namespace, call, now, reason))
        return await self.look_up(namespace, call, now=now)

    async def redrive(
        self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "", now: float
    ) -> int:
        return await self._write(lambda connection: transactions.redrive(connection, namespace, calls, function, now))

    async def purge(self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "") -> int:
        return await self._write(lambda connection: transactions.purge(connection, namespace, calls, function))

    async def cancel_function(self, ref: FunctionRef, *, reason: str, now: float) -> int:
        return await self._write(lambda connection: transactions.cancel_function(connection, ref, reason, now))

    async def forget_namespace(self, namespace: NamespaceName) -> None:
        await self._write(lambda connection: transactions.forget_namespace(connection, namespace))

    async def advance(
        self, mark: Mark, call: QueuedCall | None = None, *, now: float, bounds: Bounds = NO_BOUNDS
    ) -> bool:
        if call is not None:
            self._check_room()
        return await self._ticks.do(Tick(mark, call, now, bounds))

    async def forget_marks(self, ref: FunctionRef, *, start: int = 0) -> None:
        await self._write(lambda connection: marks.forget(connection, ref, start))

    async def expire(self, *, now: float) -> int:
        total = 0
        while gone := await self._write(lambda connection: transactions.expire(connection, now, self._bounds.finished)):
            total += gone
        return total

    def _check_room(self) -> None:
        if not self._reserve.hold():
            raise StorageFull(
                "the disk is full: no new calls are accepted; those in the queue are still delivered",
                hint="free some space on the disk of the state directory, or purge dead letters",
            )

    async def _write(self, work: Work[T]) -> T:
        if self._broken:
            raise BackendUnavailable(self._broken, hint="restart the gateway, which reopens the queue")
        try:
            with _told(Path("queue.db")):
                return await self._database.write(work)
        except StorageFull:
            self._reserve.give_up()
            raise
        except BackendUnavailable as exc:
            if _is_fatal(exc.__cause__):
                self._broken = "the queue's disk failed: nothing can be promised until the queue has been reopened"
                _log.error("the queue is closed", reason=exc.detail)
            raise

    async def _read(self, work: Work[T]) -> T:
        with _told(Path("queue.db")):
            return await self._database.read(work)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system say into the errors of the domain."""
    try:
        yield
    except BlockingIOError as exc:
        raise BackendUnavailable(f"another process uses the queue at {path}", detail=str(exc)) from exc
    except RuntimeError as exc:  # It is closed, or a newer version has written it.
        raise BackendUnavailable(f"the queue cannot be used: {exc}") from exc
    except (sqlite3.Error, OSError) as exc:
        code = getattr(exc, "sqlite_errorcode", 0)
        if code & 0xFF == sqlite3.SQLITE_FULL or getattr(exc, "errno", 0) in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull("the disk is full: nothing was changed in the queue", detail=str(exc)) from exc
        if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise BackendUnavailable(
                f"the queue's file {path} is damaged",
                detail=str(exc),
                hint="keep a copy of it, then restore it from a backup, or move it away to start with an empty queue",
            ) from exc
        raise BackendUnavailable("the queue cannot be used now", detail=str(exc)) from exc


def _is_fatal(cause: BaseException | None) -> bool:
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF in _FATAL
