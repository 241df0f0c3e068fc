"""A bound on what refused callers can fill: each has some records a minute of its own, and what is more is counted.

Without one, a stranger who sends nonsense all day would push everybody else's history out of a log of bounded size.
What was counted is written down as a number, in the next record of the same caller or once a minute.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from hilbert.kit.bucket import Bucket

BURST: Final = 60
"""Refusals of one caller, or of one source without credentials, that are written down at once."""
EVERY: Final = 1.0
"""Seconds after which one more is."""
STRANGERS: Final = 600
"""Of all sources without credentials together, with one more every `STRANGERS_EVERY` seconds."""
STRANGERS_EVERY: Final = 0.1
MOST_KEPT: Final = 4096
"""Callers and sources that are told apart."""


class _Caller:
    __slots__ = ("bucket", "suppressed")

    def __init__(self, now: float) -> None:
        self.bucket = Bucket(BURST, 1 / EVERY, now)
        self.suppressed = 0


class Thinning:
    """Decides which refusals are written down whole."""

    def __init__(self) -> None:
        self._callers: OrderedDict[str, _Caller] = OrderedDict()
        self._strangers: Bucket | None = None
        self.suppressed = 0
        """Counted and not yet written down, of sources that are not told apart any more."""

    def admit(self, who: str, now: float, *, stranger: bool) -> int | None:
        """How many of the same caller were only counted since its last record. None: count this one, too."""
        caller = self._callers.get(who)
        if caller is None:
            caller = self._callers[who] = _Caller(now)
            while len(self._callers) > MOST_KEPT:
                self.suppressed += self._callers.popitem(last=False)[1].suppressed
        self._callers.move_to_end(who)
        allowed = caller.bucket.take(now)
        if allowed and stranger:
            self._strangers = self._strangers or Bucket(STRANGERS, 1 / STRANGERS_EVERY, now)
            allowed = self._strangers.take(now)
        if not allowed:
            caller.suppressed += 1
            return None
        counted, caller.suppressed = caller.suppressed, 0
        return counted

    def drain(self, most: int = 100) -> list[tuple[str, int]]:
        """What was counted and not written down, by caller, the greatest numbers first; the rest together, under no name."""
        counted = sorted(((one.suppressed, who) for who, one in self._callers.items() if one.suppressed), reverse=True)
        for _, who in counted:
            self._callers[who].suppressed = 0
        rest = self.suppressed + sum(count for count, _ in counted[most:])
        self.suppressed = 0
        told = [(who, count) for count, who in counted[:most]]
        return [*told, ("", rest)] if rest else told
