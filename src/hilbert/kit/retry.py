"""Back-off: how long to wait before something that failed is tried again. The one place where this is computed.

`Backoff` is for loops of one's own; `retry` goes round an awaitable. Time and randomness are arguments.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")
Sleep = Callable[[float], Coroutine[Any, Any, None]]
"""Waits for so many seconds: `asyncio.sleep`, or a clock's `sleep`."""
Draw = Callable[[], float]
"""Gives a number from 0 up to, but not including, 1."""

_MOST_DOUBLINGS: Final = 62
"""Keeps the power finite, however long something fails."""


class Pace(msgspec.Struct, frozen=True):
    """An exponential back-off in seconds: `first`, then twice as long after each failure, never more than `most`."""

    first: float
    most: float
    jitter: float = 0.0
    """The share of each wait that is random, from 0 to 1: 1 is full jitter (0 to 100 % of the wait), 0.5 equal jitter."""

    def delay(self, failures: int, *, draw: Draw = random.random) -> float:
        """Seconds to wait after this many failures in a row; 0 for none."""
        if failures <= 0:
            return 0.0
        whole = min(self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.most)
        return whole if not self.jitter else whole * (1.0 - self.jitter * draw())


class Backoff:
    """Counts failures in a row, and waits between tries.

    Any answer ends a long wait: what was unreachable and now answers, even with a refusal, is tried again as after a
    first failure. `answered` says so from elsewhere, and also ends a wait that is under way.
    """

    def __init__(self, pace: Pace, *, sleep: Sleep = asyncio.sleep, draw: Draw = random.random) -> None:
        self.failures = 0
        """In a row, since the last success or the first answer."""
        self._pace = pace
        self._sleep = sleep
        self._draw = draw
        self._silent = False
        self._ended = asyncio.Event()

    def failed(self, *, answered: bool = True, at_least: float = 0.0) -> float:
        """Count a failure; returns the seconds to wait now.

        `answered=False`: the other side gave no answer at all. `at_least` is a wait that the other side asked for.
        """
        if answered and self._silent:
            self.failures = 0
        self._silent = not answered
        self._ended.clear()
        self.failures += 1
        return max(self._pace.delay(self.failures, draw=self._draw), at_least)

    def succeeded(self) -> None:
        """Begin anew at the next failure."""
        self.failures = 0
        self._silent = False

    def answered(self) -> None:
        """The other side has answered somebody: if it was silent here, try again now and begin anew."""
        if self._silent:
            self.succeeded()
            self._ended.set()

    async def wait(self, seconds: float) -> None:
        """Wait that long, or until `answered`."""
        sleep = asyncio.get_running_loop().create_task(self._sleep(seconds))
        ended = asyncio.get_running_loop().create_task(self._ended.wait())
        try:
            await asyncio.wait((sleep, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            ended.cancel()


async def retry(
    work: Callable[[], Awaitable[T]],
    *,
    pace: Pace,
    tries: int,
    again: Callable[[Exception], bool],
    sleep: Sleep = asyncio.sleep,
    draw: Draw = random.random,
) -> T:
    """Await `work()` until it succeeds, at most `tries` times, pausing in between.

    Raises what the last try raised; an exception for which `again` is false is raised at once.
    """
    for failures in range(1, tries):
        try:
            return await work()
        except Exception as exc:
            if not again(exc):
                raise
        await sleep(pace.delay(failures, draw=draw))
    return await work()
