"""SQLite for an event loop: one writer thread that runs functions inside a transaction, and a pool of readers.

A unit of work is a *function*, run whole inside `BEGIN IMMEDIATE`: nothing can interleave in it, and it either commits
or leaves no trace. `write` returns after the commit reached the disk (`synchronous=FULL`, WAL). Work that waits shares
one commit (group commit), so that one sync serves many callers. One connection alone writes and checkpoints.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]
Outcome = tuple[T | None, BaseException | None]
"""What came of a piece of work: its result, or why it failed."""
_Job = tuple[Work[Any], "asyncio.Future[Any]"]

_MOST_AT_ONCE: Final = 256
"""Pieces of work in one commit: bounds how long the first of them waits for the others."""


_HEADER: Final = 100
"""Bytes of a database's header (https://sqlite.org/fileformat.html)."""


class Damaged(sqlite3.DatabaseError):
    """A file that is there and is not a whole database."""

    def __init__(self, fault: str) -> None:
        super().__init__(fault)
        self.sqlite_errorcode = sqlite3.SQLITE_NOTADB


def open_whole(path: Path, migrations: Sequence[str], *, readers: int = 2) -> Database:
    """As `Database`, for a file whose loss must not pass unnoticed: one that is empty or cut is never taken for a new one.

    Raises `Damaged`, too, also when its structure is: a look at the whole file, before anything is changed in it.
    """
    if path.is_symlink() or path.exists():
        if not path.is_file():
            raise Damaged("it is not a file")
        size = path.stat().st_size
        if size < _HEADER:  # SQLite would begin a new one in it.
            raise Damaged("it is empty" if size == 0 else "it is too short")
        with contextlib.closing(sqlite3.connect(path, timeout=10)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise Damaged(found)
    else:
        # Under another name first: a crash in between must not leave an empty file, which is refused.
        new = path.with_name(f".new-{path.name}")
        for rest in path.parent.glob(f"{new.name}*"):
            rest.unlink()
        Database(new, migrations).close()
        new.rename(path)
    return Database(path, migrations, readers=readers)


class Database:
    """One SQLite file. `close` is idempotent; work given after it raises `RuntimeError`."""

    def __init__(self, path: Path, migrations: Sequence[str], *, readers: int = 2) -> None:
        """Open or create the file with mode 0600 and bring its schema up to date.

        `migrations` are SQL scripts; `user_version` counts those that have run, each in a transaction of its own.
        Raises `sqlite3.Error` and `OSError`; a file from a newer version raises `RuntimeError`.
        """
        self._path = path
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.close(descriptor)
        self._migrate(migrations)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._lock = threading.Lock()
        self._writer = threading.Thread(target=self._run_writer, name=f"sqlite {path.name}", daemon=True)
        self._writer.start()
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._readers = ThreadPoolExecutor(readers, thread_name_prefix=f"sqlite-read {path.name}")

    async def write(self, work: Work[T]) -> T:
        """Run `work(connection)` in a transaction on the writer thread; commit, or roll back and raise.

        Cancelling the caller does not undo work that is under way.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the database is closed")
            self._jobs.put((work, future))
        return await future

    async def read(self, work: Work[T]) -> T:
        """Run `work(connection)` on a reading connection, in a snapshot of its own."""
        if self._closed:
            raise RuntimeError("the database is closed")
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._run_read, work)

    def close(self) -> None:
        """Finish the work that was given and close all connections."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._jobs.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        for connection in self._opened:
            connection.close()

    def _connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=10)
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA busy_timeout = 10000")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
        else:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _migrate(self, migrations: Sequence[str]) -> None:
        with contextlib.closing(self._connect()) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > len(migrations):
                raise RuntimeError(f"{self._path} was written by a newer version (schema {version})")
            for number, script in enumerate(migrations[version:], start=version + 1):
                try:
                    connection.executescript(f"BEGIN IMMEDIATE;\n{script}\n;PRAGMA user_version = {number};\nCOMMIT;")
                except sqlite3.Error:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
                    raise

    def _run_writer(self) -> None:
        with contextlib.closing(self._connect()) as connection:
            going_on = True
            while going_on:
                batch, going_on = self._take()
                _commit(connection, batch)

    def _take(self) -> tuple[list[_Job], bool]:
        """The work that waits, at least one unless the end has come, and whether there may be more."""
        batch = []
        job = self._jobs.get()
        while job is not None:
            if not job[1].cancelled():
                batch.append(job)
            if len(batch) >= _MOST_AT_ONCE:
                return batch, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return batch, True
        return batch, False

    def _run_read(self, work: Work[T]) -> T:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._connect(read_only=True)
            with self._lock:
                self._opened.append(connection)
        connection.execute("BEGIN")
        try:
            return work(connection)
        finally:
            connection.execute("COMMIT")


def _commit(connection: sqlite3.Connection, batch: Sequence[_Job]) -> None:
    """Run all work of a batch in one transaction, each whole or without a trace; tell the callers after the commit."""
    outcomes: list[Outcome[Any]] = []
    try:
        if batch:
            connection.execute("BEGIN IMMEDIATE")
            outcomes += [attempt(connection, work) for work, _ in batch]
            connection.execute("COMMIT")
    except BaseException as exc:  # noqa: BLE001 - handed to the callers, whatever it is
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        outcomes = [(None, exc)] * len(batch)
    told: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Outcome[Any]]]] = {}
    for (_, future), outcome in zip(batch, outcomes, strict=True):
        told.setdefault(future.get_loop(), []).append((future, outcome))
    for loop, results in told.items():
        with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(tell_all, results)


def tell_all(results: Sequence[tuple[asyncio.Future[Any], Outcome[Any]]]) -> None:
    """Tell those who still wait what came of their work. On the loop of the futures."""
    for future, (result, error) in results:
        if future.done():
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)


def attempt(connection: sqlite3.Connection, work: Work[Any]) -> Outcome[Any]:
    """What comes of one piece of work inside a transaction, whole or without a trace.

    Raises what has ended the transaction as well.
    """
    connection.execute("SAVEPOINT work")
    try:
        result = work(connection)
    except BaseException as exc:
        if not connection.in_transaction:
            raise
        connection.execute("ROLLBACK TO work")
        connection.execute("RELEASE work")
        return None, exc
    connection.execute("RELEASE work")
    return result, None
