"""Room on the disk that is kept back, so that calls can still be settled and purged when the disk is full."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

DEFAULT_SIZE: Final = 16 << 20
"""Bytes. A settled call writes some pages to the log before it frees any."""


class Reserve:
    """A file that takes its room from the start. While it is given up, nothing new is accepted."""

    def __init__(self, path: Path, *, size: int = DEFAULT_SIZE) -> None:
        self._path = path
        self._size = size
        self.held = False
        """Whether the room is kept back now."""

    def hold(self) -> bool:
        """Take the room, if the disk has it. Returns whether it is held."""
        if self.held or not self._size:
            self.held = True
            return True
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, self._size)
            finally:
                os.close(descriptor)
        except OSError:
            self.give_up()
            return False
        self.held = True
        return True

    def give_up(self) -> None:
        """Leave the room to whoever writes now."""
        self.held = False
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)
