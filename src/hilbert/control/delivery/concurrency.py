"""How many calls of a function are made at once: as many as it answers without saying that it is too much. Pure.

Additive increase, multiplicative decrease: one more for each round of good answers while the limit is in use, a third
fewer after 429 or 503, at most once in a while, since calls that were under way together fail together. Where it was too
much is remembered: near there it grows slowly, so that few calls are refused, and once it is well past, fast again.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

FIRST: Final = 4.0
LEAST: Final = 1.0
_CUT: Final = 0.7
_NEAR: Final = 0.9
"""The part of the ceiling from which on it is felt for."""
_FEELING: Final = 20.0
"""How much slower it grows there."""
_CALM: Final = 1.0
"""Seconds after a cut in which there is no other."""


class Concurrency(msgspec.Struct, frozen=True):
    """What is known of one function."""

    limit: float = FIRST
    cut_at: float = -1e9
    """When it was last lowered, in seconds of whoever asks."""
    ceiling: float = math.inf
    """Where it was too much."""

    def answered(self, *, running: int, most: int) -> Concurrency:
        """After a good answer, with so many running: grows only while the limit is what holds calls back."""
        if running + 1 < int(self.limit):
            return self
        step = 1.0 / self.limit
        if self.limit + step > self.ceiling * _NEAR:
            step /= _FEELING
        limit = min(self.limit + step, float(most))
        return Concurrency(limit, self.cut_at, math.inf if limit > self.ceiling + 1.0 else self.ceiling)

    def overloaded(self, now: float) -> Concurrency:
        """After an answer that says that it is too much."""
        if now - self.cut_at < _CALM:
            return self
        return Concurrency(max(LEAST, self.limit * _CUT), now, self.limit)
