"""Scratch space on disk, where the sandbox has no mounts of its own: measured now and then, and a replica that has too much ends.

Nothing here follows a link, and each look at a replica has a bound: what lies too deep or cannot be read counts as too much.
Files that were removed while the replica holds them open are found by its descriptors; those that are only mapped are not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from hilbert.runtimes.replica.groups import members_of

ON_DISK: Final = ("landlock", "process")
"""Sandboxes whose scratch space is a folder of this machine."""

_EVERY: Final = 1.0
"""Seconds between two rounds of looks."""
_SHARE: Final = 10
"""A round is followed by a pause of so many times as long as it took."""
_DEEPEST: Final = 100
"""Folders within each other."""
_FILE_SHARE: Final = 4096
"""One file or folder for so many bytes of the limit."""
_DESCRIPTORS: Final = 65536
"""Open files of one replica that a look goes through."""
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Excess(Exception):
    """There is too much; says of what."""


class ScratchWatch:
    """Looks at all that `replicas` gives, round by round."""

    def __init__(
        self,
        limit: int,
        replicas: Callable[[], Iterable[tuple[str, Path, int, tuple[str, ...]]]],
        end: Callable[[str, str], None],
    ) -> None:
        """`limit` is in bytes. `replicas` gives name, scratch folder, process and groups of each; `end` takes the name, and why."""
        self._limit = limit
        self._replicas = replicas
        self._end = end

    async def run(self) -> None:
        """For ever."""
        while True:
            began = time.monotonic()
            for name, folder, pid, groups in list(self._replicas()):
                try:
                    await asyncio.to_thread(check, folder, pid, groups, limit=self._limit)
                except Excess as exc:
                    self._end(name, str(exc))
            await asyncio.sleep(max(_EVERY, _SHARE * (time.monotonic() - began)))


def check(folder: Path, pid: int, groups: tuple[str, ...], *, limit: int) -> None:
    """Raises `Excess` if a replica has more than `limit` bytes there, or too many files for that."""
    most = max(1024, limit // _FILE_SHARE)
    taken = 0
    for files, size in enumerate(itertools.chain(_removed(folder, pid, groups), _sizes(folder)), 1):
        taken += size
        if taken > limit:
            raise Excess(f"its scratch space has more than {limit} bytes (setting default_limits.scratch)")
        if files > most:
            raise Excess(
                f"its scratch space has more than {most} files (one for each {_FILE_SHARE} bytes of default_limits.scratch)"
            )


def _sizes(folder: Path) -> Iterator[int]:
    """Bytes on disk of each entry below `folder`."""
    try:
        top = os.open(folder, _FOLDER)
    except OSError:
        return  # It is gone.
    stack = [(top, os.scandir(top))]
    try:
        while stack:
            descriptor, entries = stack[-1]
            entry = next(entries, None)
            if entry is None:
                entries.close()
                os.close(stack.pop()[0])
                continue
            try:
                state = os.stat(entry.name, dir_fd=descriptor, follow_symlinks=False)
                yield state.st_blocks * 512
                if stat.S_ISDIR(state.st_mode):
                    if len(stack) > _DEEPEST:
                        raise Excess(f"its scratch space has more than {_DEEPEST} folders inside one another")
                    inner = os.open(entry.name, _FOLDER, dir_fd=descriptor)
                    stack.append((inner, os.scandir(inner)))
            except FileNotFoundError:
                continue
            except PermissionError as exc:
                raise Excess("its scratch space has a folder that cannot be read, so it cannot be measured") from exc
    finally:
        for descriptor, entries in stack:
            entries.close()
            os.close(descriptor)


def _removed(folder: Path, pid: int, groups: tuple[str, ...]) -> list[int]:
    """Bytes on disk of each file that a process of the replica holds open and that has no name any more."""
    found: dict[tuple[int, int], int] = {}
    try:
        device = folder.stat().st_dev
    except OSError:
        return []
    for path in itertools.islice(_descriptors(members_of(groups, pid)), _DESCRIPTORS):
        with contextlib.suppress(OSError):
            state = path.stat()
            if stat.S_ISREG(state.st_mode) and not state.st_nlink and state.st_dev == device:
                found[state.st_dev, state.st_ino] = state.st_blocks * 512
    return list(found.values())


def _descriptors(processes: Iterable[int]) -> Iterator[Path]:
    for process in processes:
        with contextlib.suppress(OSError):
            for name in os.listdir(f"/proc/{process}/fd"):  # noqa: PTH208 - only their names
                yield Path(f"/proc/{process}/fd/{name}")
