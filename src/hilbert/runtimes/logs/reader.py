"""Reading one replica's log: `TIMESTAMP TEXT` or `TIMESTAMP/CALL-ID TEXT` lines, forward, over the two files that it is made of.

Only the keeper writes these files, but what it copies there is the replica's. So nothing in it is believed: a line
without a stamp takes the time of the one before (the first ones: of the one behind, or of the file), a stamp never goes back nor lies in the future, and a line without an
end comes in pieces. Everything here blocks on the disk for as long as at most `limit` bytes take, and is called from threads.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from hilbert.runtimes.logs.layout import EARLIER, LIVE, OLD

LINE_MOST: Final = 65536
"""Most bytes of one line's text; the rest follows as lines of their own."""

_CHUNK: Final = 65536
_STAMP = re.compile(rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z(?:/([A-Za-z0-9_.:-]{1,128}))? ")
_LATER_STAMP = re.compile(rb"\n" + _STAMP.pattern)


class Line(NamedTuple):
    """One line of a replica's."""

    timestamp_ns: int
    text: str
    call_id: str
    """As the watchdog wrote it into the stamp; empty for a line of no call."""


class LineParser:
    """Makes lines with times of what one replica wrote, in its order."""

    def __init__(self) -> None:
        self.last_ns = 0
        """Of the newest line; 0: there was none."""
        self._second = b""
        self._second_ns = 0

    def begin(self, text: bytes, otherwise_ns: int) -> None:
        """Before the first line, with which `text` begins: give those without a stamp a time."""
        stamp = _STAMP.match(text) or _LATER_STAMP.search(text)
        self._take(stamp) if stamp is not None else self._at_least(otherwise_ns)

    def parse(self, line: bytes) -> Iterator[Line]:
        """Several where the line is long."""
        stamp = _STAMP.match(line)
        call_id = ""
        if stamp is not None:
            self._take(stamp)
            call_id = (stamp[3] or b"").decode()
            line = line[stamp.end() :]
        line = line.rstrip(b"\r")
        for begin in range(0, max(len(line), 1), LINE_MOST):
            yield Line(self.last_ns, line[begin : begin + LINE_MOST].decode("utf-8", "replace"), call_id)

    def _take(self, stamp: re.Match[bytes]) -> None:
        if stamp[1] != self._second:
            self._second = stamp[1]
            self._second_ns = _second_ns(stamp[1])
        self._at_least(self._second_ns + int((stamp[2] or b"0").ljust(9, b"0")))

    def _at_least(self, timestamp_ns: int) -> None:
        self.last_ns = max(self.last_ns, min(timestamp_ns, time.time_ns()))


class LogReader:
    """Reads one replica's log forward. Keeps its place, so that it can come back for what was written since."""

    def __init__(self, folder: Path, replica: str) -> None:
        """Begins with the oldest line that is kept. Reads nothing while there is no log."""
        self._folder = folder
        self._replica = replica
        self._descriptor: int | None = None
        self._position = 0
        self._rest = b""
        self._parser = LineParser()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None

    def copy(self) -> LogReader:
        """Another one at the same place, which goes on by itself. Before the first `lines` only."""
        other = LogReader(self._folder, self._replica)
        if self._descriptor is not None:
            other._descriptor = os.dup(self._descriptor)
            other._position = self._position
        return other

    def seek_tail(self, lines: int) -> None:
        """Move to about `lines` lines before the end, never fewer. Before the first `lines` only."""
        for end in ("", EARLIER):
            descriptor = self._open(end)
            if descriptor is None:
                continue
            self.close()
            self._descriptor = descriptor
            self._position, found = _tail(descriptor, lines)
            if found >= lines:
                return
            lines -= found

    def lines(self, *, final: bool) -> Iterator[Line]:
        """Lines from here to the end. `final`: one without its newline counts too."""
        if self._descriptor is None:
            self._descriptor = self._open(EARLIER)
            if self._descriptor is None:
                self._descriptor = self._open("")
        while self._descriptor is not None:
            following = self._following(self._descriptor)
            yield from self._to_end(self._descriptor)
            if following is None:
                break
            self.close()
            self._descriptor, self._position = following, 0
        if final and self._rest:
            yield from self._parser.parse(self._rest)
            self._rest = b""

    def _open(self, end: str) -> int | None:
        for suffix in (LIVE, OLD):
            with contextlib.suppress(FileNotFoundError):
                path = self._folder / f"{self._replica}{suffix}{end}"
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        return None

    def _following(self, current: int) -> int | None:
        """The file that has taken the place of the current one, which then gets no more lines; None: it is the last."""
        newest = self._open("")
        if newest is None or os.path.sameopenfile(newest, current):
            if newest is not None:
                os.close(newest)
            return None
        earlier = self._open(EARLIER)
        if earlier is None or os.path.sameopenfile(earlier, current):
            if earlier is not None:
                os.close(earlier)
            return newest
        os.close(newest)  # It was filled twice since: what was between is gone.
        self._rest = b""
        return earlier

    def _to_end(self, descriptor: int) -> Iterator[Line]:
        while chunk := os.pread(descriptor, _CHUNK, self._position):
            self._position += len(chunk)
            if not self._parser.last_ns:
                self._parser.begin(self._rest + chunk, os.fstat(descriptor).st_mtime_ns)
            *whole, self._rest = (self._rest + chunk).split(b"\n")
            for line in whole:
                yield from self._parser.parse(line)
            while len(self._rest) > LINE_MOST:
                piece, self._rest = self._rest[:LINE_MOST], self._rest[LINE_MOST:]
                yield from self._parser.parse(piece)


def _tail(descriptor: int, lines: int) -> tuple[int, int]:
    """The beginning of a line with at least `lines` ends of lines behind it, or of the file; and how many there are."""
    position, found = os.fstat(descriptor).st_size, 0
    while position > 0:
        begin = max(0, position - _CHUNK)
        chunk = os.pread(descriptor, position - begin, begin)
        found += chunk.count(b"\n")
        if found > lines:
            return begin + chunk.find(b"\n") + 1, found - 1
        position = begin
    return 0, found


def _second_ns(text: bytes) -> int:
    try:
        return int(datetime.fromisoformat(text.decode()).replace(tzinfo=UTC).timestamp()) * 1_000_000_000
    except ValueError:
        return 0


def last_lines(folder: Path, replica: str, count: int) -> list[str]:
    """The texts of the last lines, at most `count`, each cut to 200 characters."""
    reader = LogReader(folder, replica)
    try:
        reader.seek_tail(count)
        texts = deque((line.text for line in reader.lines(final=True)), maxlen=count)
        return [text if len(text) <= 200 else text[:197] + "..." for text in texts]
    except OSError:
        return []
    finally:
        reader.close()
