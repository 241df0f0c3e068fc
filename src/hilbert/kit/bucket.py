"""So many at once, and so many a second: a token bucket that fills by the time that it is told."""

from __future__ import annotations


class Bucket:
    """Full at first."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, most: float, rate: float, now: float) -> None:
        """`rate` is a second. `now` is in seconds of any clock that does not go back."""
        self._most = most
        self._rate = rate
        self._left = most
        self._at = now

    def take(self, now: float) -> bool:
        """Whether there was one left, which is taken then."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
