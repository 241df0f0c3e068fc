"""Noticing that files have changed, by looking: no library, no limits on watches, every file system."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from hilbert.builder.tree import NEVER_COPIED

POLL_SECONDS: Final = 0.1
QUIET_SECONDS: Final = 0.05
"""Editors save in several steps; a change counts once nothing has changed for so long."""

_LONGEST_UNREST: Final = 1.0
_MOST_FILES: Final = 20_000
_SKIPPED: Final = NEVER_COPIED | {"node_modules"}
_LEFTOVERS: Final = (".swp", ".swx", ".tmp", "~", ".pyc")

State = Mapping[str, tuple[int, int, int]]


class Watcher:
    """Watches named sets of files and folders, such as a function's handler."""

    def __init__(
        self,
        watched: Mapping[str, Collection[Path]],
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """What is there now counts as seen."""
        self._watched = watched
        self._sleep = sleep
        self._now = now
        self._seen = {name: look(paths) for name, paths in watched.items()}

    def wait(self, *, until: Callable[[], bool] = lambda: False) -> set[str]:
        """The names of the sets that have changed since the last time; empty once `until()` holds."""
        while not (changed := self._changed()):
            if until():
                return set()
            self._sleep(POLL_SECONDS)
        end = self._now() + _LONGEST_UNREST
        while self._now() < end:
            self._sleep(QUIET_SECONDS)
            more = self._changed()
            if not more:
                break
            changed |= more
        return changed

    def _changed(self) -> set[str]:
        now = {name: look(paths) for name, paths in self._watched.items()}
        changed = {name for name, state in now.items() if state != self._seen[name]}
        self._seen = now
        return changed


def look(paths: Collection[Path]) -> State:
    """Time, size and identity of every file below `paths`, the first 20,000. What is missing is not in it."""
    found: dict[str, tuple[int, int, int]] = {}
    pending = [os.fspath(path) for path in paths]
    while pending and len(found) < _MOST_FILES:
        path = pending.pop()
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name in _SKIPPED or entry.name.endswith(_LEFTOVERS):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        _note(found, entry.path, entry.stat())
        except NotADirectoryError:
            _note(found, path, os.stat(path))  # noqa: PTH116 - entries' paths are strings
        except OSError:
            continue  # It went while it was looked at, or is not there yet.
    return found


def _note(found: dict[str, tuple[int, int, int]], path: str, info: os.stat_result) -> None:
    found[path] = (info.st_mtime_ns, info.st_size, info.st_ino)
