"""A child's tie to its parent: a socket on which it says how it is, and whose end means that the parent is gone.

The messages are lines: `ready`, `alive` (a heartbeat) and `cut TEXT` (something that a caller lost, in words).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import Final

from hilbert.kit.process import end_with_parent

READY: Final = b"ready"
ALIVE: Final = b"alive"
CUT: Final = b"cut "

BEAT_EVERY: Final = 1.0
"""Seconds between heartbeats."""
_TEXT_MOST: Final = 300


class Lifeline:
    """The child's end. From here on the process ends at once when its parent does, whatever it is busy with."""

    def __init__(self, descriptor: int) -> None:
        """Raises `OSError` when `descriptor` is no socket."""
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        end_with_parent()
        # The kernel tells of a parent's end only once it has been asked to. The socket tells of every end.
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()

    def ready(self) -> None:
        self._say(READY)

    def beat(self) -> None:
        self._say(ALIVE)

    async def keep_beating(self) -> None:
        """Say again and again that the event loop turns, until cancelled."""
        while True:
            self.beat()
            await asyncio.sleep(BEAT_EVERY)

    def beat_from_thread(self) -> None:
        """Say again and again that the process runs; for one without an event loop."""
        pause = threading.Event()

        def run() -> None:
            while True:
                self.beat()
                pause.wait(BEAT_EVERY)

        threading.Thread(target=run, name="heartbeat", daemon=True).start()

    def cut(self, text: str) -> None:
        """Tell what had to be cut off. The person who stops the platform is shown it."""
        self._say(CUT + text.replace("\n", " ").encode()[:_TEXT_MOST])

    def _say(self, line: bytes) -> None:
        # A parent that does not read must not hold us up; it misses some heartbeats.
        with contextlib.suppress(OSError):
            self._socket.send(line + b"\n", socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def _watch(self) -> None:
        with contextlib.suppress(OSError):
            while self._socket.recv(16):
                pass
        os._exit(1)  # Nothing that runs in other threads may delay it.
