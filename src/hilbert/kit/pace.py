"""How long to wait before something that failed is tried again: the one place where this is computed, for loops of any kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

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

    def delay(self, failures: int, *, draw: Draw | None = None) -> float:
        """Seconds to wait after this many failures in a row; 0 for none. `draw` is `random.random` unless given."""
        if failures <= 0:
            return 0.0
        whole = min(self.first * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.most)
        if not self.jitter:
            return whole
        if draw is None:
            import random  # Here, since the command line waits without chance, and would pay for it.

            draw = random.random
        return whole * (1.0 - self.jitter * draw())
