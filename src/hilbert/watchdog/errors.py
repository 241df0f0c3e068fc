"""What the process of one call writes to its standard error: lines of the log that name the call.

Most processes write nothing there, and waking the log's thread for the end of each would cost as much as a third of what the watchdog
does for a call. So the loop, which wakes for the end of a process anyway, watches each pipe until something comes.
"""

from __future__ import annotations

import contextlib
import os
import select
from typing import TYPE_CHECKING

from hilbert.watchdog.logs import Lines

if TYPE_CHECKING:
    from hilbert.kit.epoll.interface import Loop
    from hilbert.watchdog.logs import Log, Pump


class Errors:
    """Makes pipes for standard errors, and gives them to the log's thread once it has something to read."""

    def __init__(self, loop: Loop, log: Log, pump: Pump, *, origin: bytes) -> None:
        """`origin` begins each line."""
        self._loop = loop
        self._log = log
        self._pump = pump
        self._origin = origin
        self._silent: dict[int, bytes] = {}
        """Call ids by the reading end of pipes from which nothing has come."""

    def pipe(self, call: bytes) -> int:
        """A new pipe whose lines are those of the call of this id. Returns the write end, which the caller owns. Raises `OSError`."""
        read, write = os.pipe2(os.O_CLOEXEC)
        self._silent[read] = call
        try:
            self._loop.add_reader(read, self._heard, read)
        except OSError:
            del self._silent[read]
            os.close(read)
            os.close(write)
            raise
        return write

    def close(self) -> None:
        """The loop will turn no more: what is still to come is for the log's thread to wait for."""
        for read in list(self._silent):
            self._drain(read)

    def _heard(self, read: int) -> None:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        for _, events in poll.poll(0):
            if events & select.POLLIN:
                self._drain(read)
            else:  # The end, and nothing before it.
                self._loop.remove_reader(read)
                del self._silent[read]
                os.close(read)

    def _drain(self, read: int) -> None:
        self._loop.remove_reader(read)
        lines = Lines(self._log, origin=self._origin, call=self._silent.pop(read))
        with contextlib.suppress(OSError):  # No memory to wait with: it is closed.
            self._pump.drain(read, lines)
