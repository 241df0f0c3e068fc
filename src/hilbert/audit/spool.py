"""A queue of lines on the disk, for one who writes and one who reads. Blocking: called from threads, one at a time.

Files are named by the number of their first line. What was read is noted, and a file that was read is removed. A number
that is missing was lost: there was no room.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from hilbert.kit.files import sync, write_file

_log = structlog.get_logger("hilbert.audit")

FULL: Final = 4 * 1024 * 1024
"""Bytes after which a new file begins."""
POSITION: Final = "told.json"
_NAME: Final = re.compile(r"([0-9]{20})\.lines")


class Position(msgspec.Struct, frozen=True):
    """Up to where was read."""

    first: int = 0
    """The number that the file begins with."""
    offset: int = 0
    """Bytes of it."""


class Batch(NamedTuple):
    """Some lines, and where the next ones are."""

    lines: Sequence[bytes]
    after: Position


class Spool:
    """One folder."""

    def __init__(self, folder: Path, *, most: int) -> None:
        """`most` is in bytes. Beyond it the oldest lines are lost."""
        self._folder = folder
        self._most = most
        self._position = Position()
        self.next = 1
        """Number of the line that comes next."""
        self.lost = 0
        """Lines that had to be removed before they were read."""

    def open(self) -> None:
        """Comes first. A line that a crash has left half-written is cut off. Raises `OSError`."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self._position = msgspec.json.decode((self._folder / POSITION).read_bytes(), type=Position)
        except FileNotFoundError:
            pass
        except msgspec.MsgspecError as exc:
            _log.warning(
                "which usage the webhook has received is unknown; everything that is kept is sent again",
                reason=str(exc),
            )
        self.next = max(1, self._position.first)
        for first, path in self._files():
            data = path.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
            self.next = first + whole.count(b"\n")

    def append(self, lines: Sequence[bytes], *, lost: int = 0) -> None:
        """Keep lines, which hold no line ends; they are on the disk when this returns. Raises `OSError`, and kept nothing.

        `lost` lines came before them and never will: their numbers are left out.
        """
        if not lines:
            self.next, self.lost = self.next + lost, self.lost + lost
            return
        first = self.next + lost
        files = self._files()
        path = files[-1][1] if files else None
        fits = path is not None and path.stat().st_size < FULL and files[-1][0] + _count(path) == first
        if not fits or path is None:
            path = self._folder / f"{first:020d}.lines"
        before = path.stat().st_size if path.exists() else 0
        data = b"".join(line + b"\n" for line in lines)
        try:
            with path.open("ab") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not before:
                sync(self._folder)
        except OSError:
            if path.exists():
                os.truncate(path, before)
            raise
        self.next, self.lost = first + len(lines), self.lost + lost
        self._make_room()

    def peek(self, limit: int) -> Batch | None:
        """The oldest lines that were not read. None: there are none. Raises `OSError`."""
        for first, path in self._files():
            if first < self._position.first:
                continue
            offset = self._position.offset if first == self._position.first else 0
            with path.open("rb") as file:
                file.seek(offset)
                lines = [line for line in (file.readline() for _ in range(limit)) if line.endswith(b"\n")]
            if lines:
                return Batch([line[:-1] for line in lines], Position(first, offset + sum(map(len, lines))))
        return None

    def read(self, after: Position) -> None:
        """Everything before this was read. Raises `OSError`."""
        write_file(self._folder / POSITION, msgspec.json.encode(after))
        self._position = after
        files = self._files()
        for first, path in files[:-1]:
            if first < after.first or (first == after.first and after.offset >= path.stat().st_size):
                path.unlink()

    def _make_room(self) -> None:
        files = self._files()
        total = sum(path.stat().st_size for _, path in files)
        for first, path in files[:-1]:
            if total <= self._most:
                return
            total -= path.stat().st_size
            gone = _count(path) - (_count(path, self._position.offset) if first == self._position.first else 0)
            self.lost += gone
            path.unlink()
            _log.error("usage of calls was lost because the webhook did not accept it", calls=gone, lost=self.lost)

    def _files(self) -> list[tuple[int, Path]]:
        found = [(match, path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in found)


def _count(path: Path, most: int = -1) -> int:
    with path.open("rb") as file:
        return file.read(most).count(b"\n")
