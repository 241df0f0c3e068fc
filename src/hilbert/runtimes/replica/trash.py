"""What replicas leave behind is moved out of the way at once, and removed one after the other, however much it is.

A tenant decides what lies in its folders. So no stop waits for their removal, and what cannot be removed is tried again
more and more rarely, with its reason in the log.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import Final

import structlog

from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.trees import NotFinished, remove_tree

_log = structlog.get_logger("hilbert.process")

_PACE: Final = Pace(first=1.0, most=600.0)
_GOES_ON: Final = 0.1
"""Seconds between two goes at one folder that has very much in it."""
_CLOSE_MOST: Final = 5.0


class Trash:
    """A folder of things to remove. `open` it before use; `close` waits a moment, and the next `open` goes on."""

    def __init__(self, path: Path, *, pace: Pace = _PACE) -> None:
        """Has to be on the file system of what is thrown away."""
        self._path = path
        self._pace = pace
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def open(self) -> None:
        """Raises `OSError`."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in os.listdir(self._path):  # noqa: PTH208 - only their names
            self._begin(name)

    def discard(self, folder: Path) -> None:
        """Take `folder` away from where it is. Absence is success. Raises `OSError`."""
        name = secrets.token_hex(16)
        try:
            folder.rename(self._path / name)
        except FileNotFoundError:
            return
        self._begin(name)

    async def close(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_CLOSE_MOST)
        await cancel(*self._tasks.values())

    def _begin(self, name: str) -> None:
        task = self._tasks[name] = spawn(self._remove(name), name="remove a replica's folder")
        task.add_done_callback(lambda _: self._tasks.pop(name, None))

    async def _remove(self, name: str) -> None:
        failures = 0
        while True:
            try:
                await asyncio.to_thread(self._remove_now, name)
            except NotFinished:
                await asyncio.sleep(_GOES_ON)
            except OSError as exc:
                failures += 1
                pause = self._pace.delay(failures)
                _log.warning("a replica's folder is not removed yet", reason=str(exc), again_in=pause)
                await asyncio.sleep(pause)
            else:
                return

    def _remove_now(self, name: str) -> None:
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            remove_tree(name, dir_fd=folder)
        finally:
            os.close(folder)
