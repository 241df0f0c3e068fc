"""A power failure, played: what a process wrote and synced, as strace saw it, and a disk that loses what was not synced.

The disk keeps a folder. After a failure each file has what was synced, and of every later write nothing, all, or some
of its sectors, in any order; of the names that were given and taken since the folder was synced, the first few hold.
"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

SECTOR: Final = 512
"""Bytes that a disk writes whole or not at all."""
_CALLS: Final = "openat,write,pwrite64,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,unlink,unlinkat"
_LINE: Final = re.compile(r"(\d+) +(\w+)\((.*)\) += (-?\d+)")
_BEGUN: Final = re.compile(r"(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED: Final = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)$")
_QUOTED: Final = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FILE: Final = re.compile(r"(\d+)<((?:\\x[0-9a-f]{2})*)>")


@dataclass(frozen=True)
class Wrote:
    path: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Resized:
    path: str
    size: int


@dataclass(frozen=True)
class Synced:
    path: str
    """A file, or the folder."""
    begun: int
    """Events that had happened when the sync began: it covers no later ones."""


@dataclass(frozen=True)
class Named:
    """A file was made (`old` is empty), renamed, or removed (`new` is empty)."""

    old: str
    new: str


@dataclass(frozen=True)
class Said:
    """A line on standard output: what the process has promised."""

    text: str


Event = Wrote | Resized | Synced | Named | Said


def missing() -> str:
    """Why no process can be watched here; empty: it can."""
    command = shutil.which("strace")
    if command is None:
        return "needs strace"
    tried = subprocess.run([command, "-qq", "-o", "/dev/null", "true"], capture_output=True, text=True)
    return f"this machine lets nobody trace a process: {tried.stderr.strip()}" if tried.returncode else ""


def watch(script: str, folder: Path, *words: str, trace: Path) -> list[Event]:
    """Run a Python script with `folder` as its first argument; what it did there, and what it said, in order."""
    options = ["-f", "-qq", "-y", "-xx", "-s", str(1 << 24), "-e", f"trace={_CALLS}", "-o", str(trace)]
    done = subprocess.run(
        ["strace", *options, sys.executable, "-c", script, str(folder), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    with trace.open() as lines:
        return list(_events(lines, str(folder)))


def _events(lines: Iterator[str] | Sequence[str], folder: str) -> Iterator[Event]:
    there: set[str] = set()
    begun: dict[tuple[str, str], tuple[str, int]] = {}
    count = 0
    for line in lines:
        if match := _BEGUN.match(line):
            begun[match[1], match[2]] = match[3], count
            if match[2] != "write" or not match[3].startswith("1<"):
                continue
            name, words, result, since = "write", match[3], "0", count  # It counts as said as soon as it may be heard.
        elif match := _RESUMED.match(line):
            words, since = begun.pop((match[1], match[2]))
            rest = re.match(r"(.*)\) += (-?\d+)", match[3])
            if rest is None or (match[2] == "write" and words.startswith("1<")):
                continue
            name, words, result = match[2], words + rest[1], rest[2]
        elif match := _LINE.match(line):
            name, words, result, since = match[2], match[3], match[4], count
        else:
            continue
        if result.startswith("-"):
            continue
        for event in _read(name, words, folder, there, since):
            count += 1
            yield event


def _read(name: str, words: str, folder: str, there: set[str], since: int) -> Iterator[Event]:
    """What one call of the kernel did in the folder."""
    if name in ("write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync"):
        match = _FILE.match(words)
        assert match is not None, words[:200]
        path, rest = _text(match[2]).decode(), words[match.end() :]
        if match[1] == "1" and name == "write":
            for text in _strings(rest)[0].decode().split("\n"):
                if text:
                    yield Said(text)
        elif name in ("fsync", "fdatasync"):
            if path == folder or path in there:
                yield Synced(path, since)
        elif path not in there:
            return
        elif name == "pwrite64":
            yield Wrote(path, int(rest.rpartition(",")[2]), _strings(rest)[0])
        elif name == "ftruncate":
            yield Resized(path, int(rest.rpartition(",")[2]))
        else:
            assert name == "fallocate", f"{name} to {path}: the disk does not know where"
        return
    paths = [text for text in (string.decode(errors="replace") for string in _strings(words)) if _kept(text, folder)]
    if name == "openat":
        assert not paths or "O_TRUNC" not in words
        if paths and "O_CREAT" in words and paths[0] not in there:
            there.add(paths[0])
            yield Named("", paths[0])
    elif name.startswith("rename") and paths:
        there.discard(paths[0])
        there.add(paths[1])
        yield Named(paths[0], paths[1])
    elif name.startswith("unlink") and paths and paths[0] in there:
        there.discard(paths[0])
        yield Named(paths[0], "")


def _kept(path: str, folder: str) -> bool:
    """Whether a file survives the loss of power at all: shared memory of SQLite is made anew."""
    return path.startswith(f"{folder}/") and not path.endswith("-shm")


def _strings(words: str) -> list[bytes]:
    return [_text(match[1]) for match in _QUOTED.finditer(words)]


def _text(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, Wrote | Resized]] = field(default_factory=list)

    def sync(self, begun: int) -> None:
        for at, event in self.pending:
            if at < begun:
                _apply(self.synced, event)
        self.pending = [(at, event) for at, event in self.pending if at >= begun]

    def after_failure(self, rng: random.Random, kept: float) -> bytes:
        """`kept` is the chance of a write to survive; between 0 and 1, one may also survive in part."""
        found = bytearray(self.synced)
        for _, event in self.pending:
            if rng.random() >= kept:
                continue
            if isinstance(event, Wrote) and 0 < kept < 1 and rng.random() < 0.3:
                for start in range(0, len(event.data), SECTOR):
                    if rng.random() < 0.5:
                        part = event.data[start : start + SECTOR]
                        _apply(found, Wrote(event.path, event.offset + start, part))
            else:
                _apply(found, event)
        return bytes(found)


class Disk:
    """What a folder on a disk would hold if the power failed now. Give it the events in order."""

    def __init__(self, folder: Path) -> None:
        self._folder = str(folder)
        self._now: dict[str, _File] = {}
        self._synced: dict[str, _File] = {}
        self._pending: list[tuple[int, Named, _File]] = []
        """Names that were given and taken since the folder was synced."""
        self._count = 0

    def take(self, event: Event) -> None:
        if isinstance(event, Wrote | Resized):
            self._now[event.path].pending.append((self._count, event))
        elif isinstance(event, Named):
            file = self._now[event.old] if event.old else _File()
            _name(self._now, event, file)
            self._pending.append((self._count, event, file))
        elif isinstance(event, Synced) and event.path == self._folder:
            for at, named, file in self._pending:
                if at < event.begun:
                    _name(self._synced, named, file)
            self._pending = [entry for entry in self._pending if entry[0] >= event.begun]
        elif isinstance(event, Synced) and event.path in self._now:
            self._now[event.path].sync(event.begun)
        self._count += 1

    def fail(self, into: Path, rng: random.Random, kept: float) -> None:
        """Write what is left into a folder. `kept` is the chance of each write that was not synced to survive."""
        names = dict(self._synced)
        count = round(kept * len(self._pending)) if kept in (0, 1) else rng.randint(0, len(self._pending))
        for _, named, file in self._pending[:count]:
            _name(names, named, file)
        for path, file in names.items():
            (into / Path(path).name).write_bytes(file.after_failure(rng, kept))


def _name(names: dict[str, _File], event: Named, file: _File) -> None:
    if event.old:
        names.pop(event.old, None)
    if event.new:
        names[event.new] = file


def _apply(data: bytearray, event: Wrote | Resized) -> None:
    size = event.size if isinstance(event, Resized) else event.offset + len(event.data)
    if len(data) < size:
        data.extend(bytes(size - len(data)))
    if isinstance(event, Wrote):
        data[event.offset : size] = event.data
    else:
        del data[size:]
