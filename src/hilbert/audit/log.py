"""The log on this machine's disk: appended to in groups, each on the disk before anybody is told that it is.

A crash can tear the last group, of which nobody was told. At the next start its torn end is cut off, and a checkpoint
says so; a change that was begun and has no end then gets one that says that nobody knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.audit import reading
from hilbert.audit.chain import Chain, Checkpoint, Line, digest
from hilbert.audit.ports import Page, Wanted
from hilbert.audit.record import Decision, Record, Stage, moment
from hilbert.audit.segments import FULL, Segment, load_or_make_key, parse, path_of, raw_lines, segments
from hilbert.core.errors import BackendError, StorageFull
from hilbert.kit.files import sync
from hilbert.kit.lane import Lane

_log = structlog.get_logger("hilbert.audit")

CHECKPOINT_RECORDS: Final = 1000
CHECKPOINT_SECONDS: Final = 60.0
"""A checkpoint follows at most so long after a record."""
_IDLE_SECONDS: Final = 3600.0
"""Between two looks for what has become too old, while nothing is written."""
MOST_CUTS: Final = 10_000
"""Deleted namespaces that are remembered; of more, the oldest are forgotten with all that is older than them."""


class AuditLog:
    """One folder. `max_bytes` and `max_age` (seconds) bound what is kept, to one file's exactness."""

    def __init__(
        self, folder: Path, *, max_bytes: int, max_age: float, full: int = FULL, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._max_bytes = max(max_bytes, 2 * full)
        self._max_age = max_age
        self._full = full
        self._now = now
        self._waiting: list[tuple[Record, asyncio.Future[None]]] = []
        self._lane: Lane | None = None
        """Where files are touched, once it is open."""
        self._writing = self._stopping = False
        self._tidier: asyncio.TimerHandle | None = None
        self._tidies_soon = False
        self._file = -1
        self._size = 0
        self._chain = Chain(b"")
        self._segments: list[Segment] = []
        self._cuts: dict[str, int] = {}
        self._unsigned = 0
        self._signed_at = now()
        self.on_grown: list[Callable[[], None]] = []
        """Called when there are new lines."""

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def seq(self) -> int:
        """Number of the last line on the disk."""
        return self._chain.seq

    @property
    def kept_from(self) -> int:
        """Number of the first line that is kept."""
        return self._segments[0].first

    async def start(self) -> None:
        """Go on where the last process ended. Raises `BackendError`."""
        try:
            await asyncio.to_thread(self._open)
        except (OSError, ValueError) as exc:
            raise BackendError(
                "the audit log cannot be opened",
                detail=str(exc),
                hint=f"see {self._folder}: restore it from a backup, or move it away and keep it",
            ) from exc
        self._lane = Lane("audit log")
        self._tidy_within(_IDLE_SECONDS)

    async def stop(self) -> None:
        """Write what waits, and a last checkpoint."""
        if self._lane is not None:
            self._stopping = True
            while self._writing:
                await self._lane.done(lambda: None)
            if self._tidier is not None:
                self._tidier.cancel()
            self._lane.close()
            self._lane = None
        if self._file >= 0:
            with contextlib.suppress(OSError):
                self._checkpoint("end")
            os.close(self._file)
            self._file = -1

    async def append(self, record: Record) -> None:
        """Return once it is on the disk. Raises `StorageFull`."""
        if self._lane is None or self._stopping:
            raise StorageFull("the audit log is closed")
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((record, written))
        if not self._writing:
            self._write_waiting(self._lane)
        # Whoever is cancelled meanwhile has the record in the log all the same.
        await written

    async def read(self, wanted: Wanted) -> Page:
        """Raises `BackendError`."""
        try:
            return await asyncio.to_thread(reading.read, self._folder, wanted, dict(self._cuts), self.seq)
        except OSError as exc:
            raise BackendError("the audit log cannot be read", detail=str(exc)) from exc

    def _write_waiting(self, lane: Lane) -> None:
        """Write all that waits as one group. What comes meanwhile is the next."""
        group, self._waiting = self._waiting, []
        self._writing = True
        lane.do(lambda: self._write(group), lambda error: self._written(lane, group, error))

    def _written(self, lane: Lane, group: list[tuple[Record, asyncio.Future[None]]], error: Exception | None) -> None:
        self._writing = False
        if self._waiting:
            self._write_waiting(lane)
        if error is None:
            for _, written in group:
                if not written.done():
                    written.set_result(None)
            if not self._tidies_soon:
                self._tidy_within(CHECKPOINT_SECONDS)
            for tell in self.on_grown:
                tell()
            return
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        _log.error("the audit log cannot be written", reason=reason)
        failure = StorageFull(
            "the audit log cannot be written, so nothing can be changed", detail=str(error), hint="free some space"
        )
        for _, written in group:
            if not written.done():
                written.set_exception(failure)

    def _tidy_within(self, seconds: float) -> None:
        """Look after so long for what needs a checkpoint, or has become too old."""
        if self._tidier is not None:
            self._tidier.cancel()
        self._tidies_soon = seconds <= CHECKPOINT_SECONDS
        self._tidier = asyncio.get_running_loop().call_later(seconds, self._begin_tidying)

    def _begin_tidying(self) -> None:
        if self._lane is not None and not self._stopping:
            self._lane.do(self._tidy, lambda _error: self._tidied())

    def _tidied(self) -> None:
        if not self._stopping:
            self._tidy_within(CHECKPOINT_SECONDS if self._unsigned else _IDLE_SECONDS)

    def _write(self, group: list[tuple[Record, asyncio.Future[None]]]) -> None:
        """In the lane. Raises `OSError`, and then none of the group is in the file."""
        if self._size >= self._full:
            self._next_segment("segment")
        chain, lines, cuts = self._chain.copy(), [], dict(self._cuts)
        for record, _ in group:
            lines.append(chain.add(record))
            if _ends_namespace(record):
                cuts.pop(record.namespace, None)
                cuts[record.namespace] = chain.seq
        self._put(b"".join(lines), chain)
        self._cuts = dict(list(cuts.items())[-MOST_CUTS:])
        self._unsigned += len(group)
        if self._unsigned >= CHECKPOINT_RECORDS or self._now() - self._signed_at >= CHECKPOINT_SECONDS:
            with contextlib.suppress(OSError):  # The records are written; the next group tries again.
                self._checkpoint("count" if self._unsigned >= CHECKPOINT_RECORDS else "time")

    def _put(self, data: bytes, chain: Chain) -> None:
        try:
            _write_all(self._file, data)
            os.fdatasync(self._file)
        except OSError:
            os.ftruncate(self._file, self._size)
            os.lseek(self._file, self._size, os.SEEK_SET)
            raise
        self._size += len(data)
        self._chain = chain

    def _checkpoint(self, why: str, note: str = "") -> None:
        chain = self._chain.copy()
        self._put(chain.add_checkpoint(self._marks(why, note)), chain)
        self._unsigned, self._signed_at = 0, self._now()

    def _marks(self, why: str, note: str = "") -> Checkpoint:
        first = self._segments[0].first if self._segments else 1
        cuts = {name: seq for name, seq in self._cuts.items() if seq >= first}
        return Checkpoint(time=moment(self._now()), why=why, key="", kept_from=first, cuts=cuts, note=note)

    def _tidy(self) -> None:
        if self._unsigned:
            self._checkpoint("time")
        self._remove_old()

    def _next_segment(self, why: str, note: str = "") -> None:
        """Go on in a new file, which begins with a checkpoint."""
        chain = self._chain.copy()
        first = chain.seq + 1
        if not self._segments:
            self._segments = [Segment(first, path_of(self._folder, first))]
        data = chain.add_checkpoint(self._marks(why, note))
        path = path_of(self._folder, first)
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _write_all(opened, data)
            os.fsync(opened)
            sync(self._folder)
        except OSError:
            os.close(opened)
            path.unlink(missing_ok=True)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._size, self._chain = opened, len(data), chain
        self._unsigned, self._signed_at = 0, self._now()
        if self._segments[-1].first != first:
            self._segments.append(Segment(first, path))
        self._remove_old()

    def _remove_old(self) -> None:
        """Remove the oldest files beyond size and age, after a checkpoint that says so."""
        sizes = [(one, one.path.stat()) for one in self._segments]
        total = sum(state.st_size for _, state in sizes)
        gone = []
        for one, state in sizes[:-1]:
            if total <= self._max_bytes and state.st_mtime >= self._now() - self._max_age:
                break
            gone.append(one)
            total -= state.st_size
        if not gone:
            return
        kept = self._segments
        self._segments = kept[len(gone) :]
        try:
            self._checkpoint("removed")
        except OSError:
            self._segments = kept
            raise
        for one in gone:
            one.path.unlink(missing_ok=True)
        sync(self._folder)
        _log.info("old audit records removed", kept_from=self.kept_from)

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        key = load_or_make_key(self._folder)
        found = segments(self._folder)
        notes = []
        while found and not any(raw_lines(found[-1].path)):
            # Torn in its very first line.
            notes.append(f"removed {found[-1].path.name}, which held no whole line")
            found.pop().path.unlink()
        self._segments = found
        if not found:
            self._chain = Chain(key)
            self._next_segment("start", "; ".join(notes))
            return
        open_records: dict[str, Record] = {}
        seq, head, size = found[-1].first - 1, "", 0
        for number, one in enumerate(found[-2:], start=max(0, len(found) - 2)):
            for raw in raw_lines(one.path):
                line = parse(raw)
                if line is not None:
                    self._take(line, open_records)
                if number == len(found) - 1:
                    seq, head, size = seq + 1, digest(raw), size + len(raw) + 1
        self._chain = Chain(key, seq=seq, head=head)
        self._file = os.open(found[-1].path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        torn = os.fstat(self._file).st_size - size
        if torn:
            os.ftruncate(self._file, size)
            notes.append(f"removed an incomplete last line of {torn} bytes, which a crash had left")
            _log.warning("a crash left the last line of the audit log incomplete; it was removed", bytes=torn)
        os.lseek(self._file, size, os.SEEK_SET)
        self._size = size
        self._checkpoint("start", "; ".join(notes))
        for record in open_records.values():
            self._end_of(record)
        self._remove_old()

    def _take(self, line: Line, open_records: dict[str, Record]) -> None:
        """What a line of the last process says of the present."""
        if line.checkpoint is not None:
            self._cuts = dict(line.checkpoint.cuts)
        if (record := line.record) is not None:
            if _ends_namespace(record):
                self._cuts[record.namespace] = line.seq
            if record.stage is Stage.BEGUN:
                open_records[record.id] = record
            else:
                open_records.pop(record.id, None)

    def _end_of(self, record: Record) -> None:
        chain = self._chain.copy()
        ended = msgspec.structs.replace(
            record,
            stage=Stage.DONE,
            error="unknown",
            custom_message="the gateway ended before it answered; the change may have been made",
        )
        self._put(chain.add(ended), chain)
        self._unsigned += 1


def _ends_namespace(record: Record) -> bool:
    return (
        "Namespace:Delete" in record.actions
        and record.stage is Stage.DONE
        and record.decision is Decision.ALLOWED
        and record.response_code < 300
    )


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
