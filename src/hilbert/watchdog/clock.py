"""The time limit of calls that all have the same one: a timer for all of them, which looks at the oldest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hilbert.kit.epoll.interface import Loop, Timer


class Limited(Protocol):
    """What has a time limit."""

    def expire(self) -> None:
        """Its time is over. It must not raise."""
        ...


class Clock:
    """Calls under way, by when they have begun: the first is the first whose time is over."""

    def __init__(self, loop: Loop, limit: float) -> None:
        """`limit` is in seconds, more than 0."""
        self._loop = loop
        self.limit = limit
        self._deadlines: dict[Limited, float] = {}
        self._timer: Timer | None = None

    def start(self, call: Limited) -> None:
        """Count the limit of `call` from now on, whether it is counted already or not."""
        deadlines = self._deadlines
        deadlines.pop(call, None)
        deadlines[call] = self._loop.time() + self.limit
        if self._timer is None:
            self._timer = self._loop.call_later(self.limit, self._look)

    def stop(self, call: Limited) -> None:
        """It has none any more. Idempotent."""
        self._deadlines.pop(call, None)

    def _look(self) -> None:
        self._timer = None
        now = self._loop.time()
        while self._deadlines:
            call, deadline = next(iter(self._deadlines.items()))
            if deadline > now:
                self._timer = self._loop.call_later(deadline - now, self._look)
                return
            del self._deadlines[call]
            call.expire()
