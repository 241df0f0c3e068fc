"""Trying again in asyncio, at a `Pace`: `Backoff` is for loops of one's own; `retry` goes round an awaitable.

Time and randomness are arguments.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from hilbert.kit.pace import Draw, Pace

T = TypeVar("T")
Sleep = Callable[[float], Coroutine[Any, Any, None]]
"""Waits for so many seconds: `asyncio.sleep`, or a clock's `sleep`."""


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
