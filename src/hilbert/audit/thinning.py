"""A bound on what refused callers can fill: each has some records a minute of its own, and what is more is counted.

Without one, a stranger who sends nonsense all day would push everybody else's history out of a log of bounded size.
What was counted is written down as a number, in the next record of the same caller or once a minute.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

BURST: Final = 60
"""Refusals of one caller, or of one source without credentials, that are written down at once."""
EVERY: Final = 1.0
"""Seconds after which one more is."""
STRANGERS: Final = 600
"""Of all sources without credentials together, with one more every `STRANGERS_EVERY` seconds."""
STRANGERS_EVERY: Final = 0.1
MOST_KEPT: Final = 4096
"""Callers and sources that are told apart."""


class _Bucket:
    __slots__ = ("at", "left", "suppressed")

    def __init__(self, burst: float, now: float) -> None:
        self.left = burst
        self.at = now
        self.suppressed = 0

    def take(self, now: float, burst: float, every: float) -> bool:
        self.left = min(burst, self.left + (now - self.at) / every)
        self.at = now
        if self.left < 1:
            return False
        self.left -= 1
        return True


class Thinning:
    """Decides which refusals are written down whole."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._strangers: _Bucket | None = None
        self.suppressed = 0
        """Counted and not yet written down, of sources that are not told apart any more."""

    def admit(self, who: str, now: float, *, stranger: bool) -> int | None:
        """How many of the same caller were only counted since its last record. None: count this one, too."""
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = _Bucket(BURST, now)
            while len(self._buckets) > MOST_KEPT:
                self.suppressed += self._buckets.popitem(last=False)[1].suppressed
        self._buckets.move_to_end(who)
        allowed = bucket.take(now, BURST, EVERY)
        if allowed and stranger:
            self._strangers = self._strangers or _Bucket(STRANGERS, now)
            allowed = self._strangers.take(now, STRANGERS, STRANGERS_EVERY)
        if not allowed:
            bucket.suppressed += 1
            return None
        counted, bucket.suppressed = bucket.suppressed, 0
        return counted

    def drain(self, most: int = 100) -> list[tuple[str, int]]:
        """What was counted and not written down, by caller, the greatest numbers first; the rest together, under no name."""
        counted = sorted(((one.suppressed, who) for who, one in self._buckets.items() if one.suppressed), reverse=True)
        for _, who in counted:
            self._buckets[who].suppressed = 0
        rest = self.suppressed + sum(count for count, _ in counted[most:])
        self.suppressed = 0
        told = [(who, count) for count, who in counted[:most]]
        return [*told, ("", rest)] if rest else told
