"""How many bytes a second may be taken: a bound of one function or namespace, and how it is used."""

from __future__ import annotations

import time
from typing import Final

_SPAN: Final = 10.0
"""Seconds over which it is told how a bound is used."""


class ByteRate:
    """So many bytes a second of one function or namespace, of which a second's worth may come together."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.waited = 0
        """How often somebody had to wait for it."""
        self._left = float(rate)
        self._at = time.monotonic()
        self._span = int(self._at // _SPAN)
        self._taken = self._taken_before = 0
        """Bytes in this span and the one before."""

    def take(self, count: int) -> None:
        self._left -= count
        self._turn(time.monotonic())
        self._taken += count

    def used(self) -> float:
        """Bytes a second, over the last `_SPAN` seconds: as if those of the span before had come evenly."""
        now = time.monotonic()
        self._turn(now)
        return (self._taken + self._taken_before * (1 - now % _SPAN / _SPAN)) / _SPAN

    def _turn(self, now: float) -> None:
        span = int(now // _SPAN)
        if span != self._span:
            self._taken_before = self._taken if span == self._span + 1 else 0
            self._taken = 0
            self._span = span

    def wait(self) -> float:
        """Seconds until there is something left; 0 if there is."""
        now = time.monotonic()
        self._left = min(self.rate, self._left + (now - self._at) * self.rate)
        self._at = now
        return 0.0 if self._left > 0 else -self._left / self.rate
