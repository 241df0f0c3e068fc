"""How many calls of a function are made at once: as many as it answers without saying that it is too much. Pure.

Additive increase, multiplicative decrease: one more for each round of good answers while the limit is in use, a third
fewer after 429 or 503, at most once in a while, since calls that were under way together fail together.
"""

from __future__ import annotations

from typing import Final

import msgspec

FIRST: Final = 4.0
LEAST: Final = 1.0
_CUT: Final = 0.7
_CALM: Final = 1.0
"""Seconds after a cut in which there is no other."""


class Concurrency(msgspec.Struct, frozen=True):
    """What is known of one function."""

    limit: float = FIRST
    cut_at: float = -1e9
    """When it was last lowered, in seconds of whoever asks."""

    def answered(self, *, running: int, most: int) -> Concurrency:
        """After a good answer, with so many running: grows only while the limit is what holds calls back."""
        if running + 1 < int(self.limit):
            return self
        return Concurrency(min(self.limit + 1.0 / self.limit, float(most)), self.cut_at)

    def overloaded(self, now: float) -> Concurrency:
        """After an answer that says that it is too much."""
        if now - self.cut_at < _CALM:
            return self
        return Concurrency(max(LEAST, self.limit * _CUT), now)
