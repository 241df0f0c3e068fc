"""As root: which installation has put rules on this machine, so that what one has left behind can be told and removed.

A file for each installation, locked as long as its control process runs. One that can be locked, and whose links are gone, is of an
installation that was killed. Whoever starts, locks its own file before it loads its rules, and removes those of the dead.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path("/run/hilbert-networks")


class Record(msgspec.Struct, frozen=True):
    """What a file holds."""

    network: int = 0
    """The inode of the network namespace that it is about: another one is none of ours."""
    forwarding: tuple[str, ...] = ()
    """Interfaces for which forwarding was switched on."""


class Claim:
    """A locked file."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def take(cls, label: str, *, folder: Path = FOLDER) -> Claim | None:
        """Lock the file of an installation, which is made if need be; None if another process has it. Raises `OSError`."""
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / label
        while True:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _same(path, descriptor):
                    return cls(path, descriptor)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # It was removed meanwhile: take the next one.

    @property
    def record(self) -> Record:
        """What was written; nothing when that cannot be read."""
        try:
            return msgspec.json.decode(os.pread(self._descriptor, 65536, 0), type=Record)
        except msgspec.MsgspecError:
            return Record()

    def write(self, record: Record) -> None:
        data = msgspec.json.encode(record)
        os.pwrite(self._descriptor, data, 0)
        os.ftruncate(self._descriptor, len(data))

    def release(self, *, remove: bool) -> None:
        """Unlock; `remove`: there is nothing left that it stands for."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def of_the_dead(own: str, remove: Callable[[str, Record], bool], *, folder: Path = FOLDER) -> None:
    """Call `remove` with each installation's label and record that nobody holds but `own`; true: its file goes, too."""
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = [path.name for path in folder.iterdir() if path.name != own]
    for name in names:
        claim = Claim.take(name, folder=folder)
        if claim is not None:
            gone = False
            try:
                gone = remove(name, claim.record)
            finally:
                claim.release(remove=gone)


def this_network() -> int:
    return Path("/proc/self/ns/net").stat().st_ino


def _same(path: Path, descriptor: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
