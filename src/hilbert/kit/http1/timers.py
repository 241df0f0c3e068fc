"""Deadlines for many connections from one timer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from hilbert.kit.http1.dates import http_date

if TYPE_CHECKING:
    import asyncio


class Timed(Protocol):
    """Something with a deadline. `wheel_due` belongs to the wheel."""

    deadline: float
    """On the loop's clock; 0 is none. May be moved at any time; moving it later costs nothing."""
    wheel_due: float

    def on_deadline(self) -> None:
        """The deadline has passed. It may set a new one."""
        ...


class TimerWheel:
    """Calls back at most `tick` seconds late; never early.

    An entry stands in one slot: that of its deadline, or an earlier one if the deadline has moved back since. It is
    looked at when the slot comes up, and moved on then: so a request that only pushes its deadline back, as nearly all
    do, costs one comparison.
    """

    def __init__(self, *, tick: float = 0.1, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """`loop` is the running one unless given; `time` and `call_later` are all that the server side uses of it."""
        if loop is None:
            import asyncio

            loop = asyncio.get_running_loop()
        self.loop = loop
        self._tick = tick
        self._slots: dict[int, set[Timed]] = {}
        self._done = 0
        self.date = b""
        """A header line with the present second, while there is something to look at: made once a second, for all who need it."""
        self._date_due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """None while there is nothing to look at, so that an idle process sleeps."""

    def watch(self, entry: Timed) -> None:
        """Make sure that `entry` is looked at by its deadline."""
        deadline = entry.deadline
        if deadline and (not entry.wheel_due or deadline < entry.wheel_due - self._tick):
            if entry.wheel_due:
                self._leave_slot(entry)
            if self._timer is None:
                now = self.loop.time()
                self._done = int(now / self._tick)
                self._keep_date(now)
                self._timer = self.loop.call_later(self._tick, self._turn)
            slot = max(int(deadline / self._tick), self._done) + 1
            entry.wheel_due = slot * self._tick
            self._slots.setdefault(slot, set()).add(entry)

    def forget(self, entry: Timed) -> None:
        """Drop `entry` and hold it no longer; absence is fine."""
        entry.deadline = 0.0
        if entry.wheel_due:
            self._leave_slot(entry)

    def _keep_date(self, now: float) -> None:
        wall = time.time()
        self.date = b"Date: %b\r\n" % http_date(wall)
        self._date_due = now + 1.0 - wall % 1.0

    def _leave_slot(self, entry: Timed) -> None:
        slot = self._slots.get(round(entry.wheel_due / self._tick))
        if slot is not None:
            slot.discard(entry)
        entry.wheel_due = 0.0

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._slots.clear()

    def _turn(self) -> None:
        now = self.loop.time()
        self._timer = self.loop.call_later(self._tick, self._turn)
        if now >= self._date_due:
            self._keep_date(now)
        last = int(now / self._tick)
        while self._done < last:
            self._done += 1
            for entry in self._slots.pop(self._done, ()):
                entry.wheel_due = 0.0
                if not entry.deadline:
                    continue
                if entry.deadline <= now:
                    entry.deadline = 0.0
                    entry.on_deadline()
                self.watch(entry)
        if not self._slots and self._timer is not None:
            self._timer.cancel()
            self._timer = None
