"""One replica's log file: `TIMESTAMP TEXT` lines, read in pieces, cut at the front without stopping the writer.

A function can write to the file itself, past the watchdog. So nothing in it is believed: a line without a stamp takes the
time of the one before, a stamp never goes back nor lies in the future, and a line without an end comes in pieces.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

LINE_MOST: Final = 65536
"""Most bytes of one line's text; the rest follows as lines of their own."""

_CHUNK: Final = 65536
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z ")
_PUNCH_HOLE: Final = 0x02 | 0x01
"""FALLOC_FL_PUNCH_HOLE with FALLOC_FL_KEEP_SIZE (fallocate(2))."""
_BLOCK: Final = 4096


class LogFile:
    """Reads one file forward. Keeps its place, so that a reader can come back for what was written since."""

    def __init__(self, path: Path) -> None:
        """Raises `FileNotFoundError`."""
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        self._position = _first_data(self._descriptor, 0)
        self._skip_partial = self._position > 0
        self._rest = b""
        self._last_ns = 0
        self._second = b""
        self._second_ns = 0

    def close(self) -> None:
        os.close(self._descriptor)

    def seek_tail(self, lines: int) -> None:
        """Move to about `lines` lines before the end; never fewer."""
        end = os.fstat(self._descriptor).st_size
        position, found = end, 0
        while position > self._position and found <= lines:
            begin = max(self._position, position - _CHUNK)
            found += os.pread(self._descriptor, position - begin, begin).count(b"\n")
            position = begin
        if position > self._position:
            self._position = position
            self._skip_partial = True

    def lines(self, *, final: bool) -> Iterator[tuple[int, str]]:
        """Lines from here to the end as (time in nanoseconds, text). `final`: one without its newline counts too."""
        if os.fstat(self._descriptor).st_size < self._position:
            self._position, self._rest = 0, b""  # Cut where there are no holes: better twice than not at all.
        while chunk := os.pread(self._descriptor, _CHUNK, self._position):
            if chunk.startswith(b"\0") and (data := _first_data(self._descriptor, self._position)) > self._position:
                self._position, self._rest, self._skip_partial = data, b"", True  # It was cut while it was read.
                continue
            self._position += len(chunk)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            if self._skip_partial and whole:
                del whole[0]
                self._skip_partial = False
            for line in whole:
                yield from self._parse(line)
            while len(self._rest) > LINE_MOST:
                piece, self._rest = self._rest[:LINE_MOST], self._rest[LINE_MOST:]
                if not self._skip_partial:
                    yield from self._parse(piece)
        if final and self._rest and not self._skip_partial:
            yield from self._parse(self._rest)
            self._rest = b""

    def _parse(self, line: bytes) -> Iterator[tuple[int, str]]:
        stamp = _STAMP.match(line)
        if stamp is not None:
            if stamp[1] != self._second:
                self._second = stamp[1]
                self._second_ns = _second_ns(stamp[1])
            fraction = int((stamp[2] or b"0").ljust(9, b"0"))
            self._last_ns = max(self._last_ns, min(self._second_ns + fraction, time.time_ns()))
            line = line[stamp.end() :]
        line = line.rstrip(b"\r")
        for begin in range(0, max(len(line), 1), LINE_MOST):
            yield self._last_ns, line[begin : begin + LINE_MOST].decode("utf-8", "replace")


def _second_ns(text: bytes) -> int:
    try:
        return int(datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        return 0


def _first_data(descriptor: int, position: int) -> int:
    """The first byte at or after `position` that is not in a hole."""
    try:
        return os.lseek(descriptor, position, os.SEEK_DATA)
    except OSError:
        return os.fstat(descriptor).st_size


def last_line(path: Path) -> str:
    """The text of the last line, cut to 200 characters; empty if there is none."""
    with contextlib.suppress(OSError):
        file = LogFile(path)
        try:
            file.seek_tail(1)
            text = ""
            for _, line in file.lines(final=True):
                text = line.strip() or text
            return text if len(text) <= 200 else text[:197] + "..."
        finally:
            file.close()
    return ""


def cut_front(path: Path, limit: int) -> None:
    """If the file takes more than `limit` bytes of disk, free its older half. A writer that appends is not disturbed."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        state = os.fstat(descriptor)
        if state.st_blocks * 512 <= limit + _BLOCK:
            return
        keep_from = (state.st_size - limit // 2) // _BLOCK * _BLOCK
        if keep_from > 0 and not _punch(descriptor, keep_from):
            _copy_down(descriptor, keep_from)
    finally:
        os.close(descriptor)


_libc = ctypes.CDLL(None, use_errno=True)


def _punch(descriptor: int, length: int) -> bool:
    """Free the first `length` bytes, leaving a hole. False where the file system cannot."""
    result = _libc.fallocate(descriptor, _PUNCH_HOLE, ctypes.c_longlong(0), ctypes.c_longlong(length))
    if result != 0 and (code := ctypes.get_errno()) not in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL):
        raise OSError(code, os.strerror(code))
    return bool(result == 0)


def _copy_down(descriptor: int, keep_from: int) -> None:
    """For file systems without holes. Lines written in the instant before the file is shortened are lost."""
    keep_from += os.pread(descriptor, _CHUNK, keep_from).find(b"\n") + 1
    target = 0
    while chunk := os.pread(descriptor, _CHUNK, keep_from + target):
        target += os.pwrite(descriptor, chunk, target)
    os.ftruncate(descriptor, target)
