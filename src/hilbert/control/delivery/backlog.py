"""What waits, as the queue said last: asked for anew when something has come, but no more often than asking is worth."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.core.ports import Queue
from hilbert.core.ports.queue import QueueCounts
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock

_SHARE: Final = 4.0
"""The time between two readings is at least so many times what a reading takes: with 10,000 functions it takes long."""


class Backlog:
    """Of the functions that have open calls."""

    def __init__(self, queue: Queue, *, clock: Clock, look_every: float) -> None:
        """`look_every` are the seconds after which it is read anew in any case."""
        self._queue = queue
        self._clock = clock
        self._look_every = look_every
        self._read_at = float("-inf")
        self._took = 0.0
        self._is_old = True
        self.open: Mapping[FunctionRef, QueueCounts] = {}
        """As it was read last."""
        self.ready: dict[FunctionRef, int] = {}
        """Calls that can be leased once they are due: fewer with each that is leased."""

    def outdate(self) -> None:
        """Something was put, or is to be tried again."""
        self._is_old = True

    async def look(self, kept: Mapping[FunctionRef, int]) -> float:
        """Read if it is time to; the seconds until it will be. `kept` has the leases that are held here.

        Raises `HilbertError`.
        """
        began = self._clock.now()
        if (wait := self._wait(began)) > 0:
            return wait
        self._is_old = False
        try:
            counts = await self._queue.counts(open_only=True)
        except BaseException:
            self._is_old = True
            raise
        self._read_at = self._clock.now()
        self._took = self._read_at - began
        self.open = {entry.ref: entry for entry in counts}
        self.ready = {entry.ref: entry.queued + entry.running - kept.get(entry.ref, 0) for entry in counts}
        return self._wait(self._read_at)

    def taken(self, ref: FunctionRef, asked: int, got: int) -> None:
        """So many of its calls were leased, of so many that were asked for."""
        if got == asked:
            self.ready[ref] = max(0, self.ready.get(ref, 0) - got)
        else:
            self.ready[ref], self._is_old = 0, True

    def _wait(self, now: float) -> float:
        age = now - self._read_at
        return (self._took * _SHARE if self._is_old else self._look_every) - age
