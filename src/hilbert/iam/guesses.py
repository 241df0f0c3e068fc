"""Wrong passwords, slowed down by source: after a few at once, one every few seconds.

Pure: time is an argument. Each source has a budget of its own, so none can use up another's.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

BURST: Final = 10
"""Wrong passwords from one source before it has to wait."""

INTERVAL: Final = 3.0
"""Seconds in which a source earns one more."""

MOST_SOURCES: Final = 10_000
"""Sources that are remembered, about 200 bytes each; the one that was wrong longest ago is forgotten first."""


class WrongGuesses:
    """When each source may try again (GCRA: one number a source says it all)."""

    def __init__(self, *, burst: int = BURST, interval: float = INTERVAL, most: int = MOST_SOURCES) -> None:
        self._tolerance = (burst - 1) * interval
        self._interval = interval
        self._most = most
        self._due: OrderedDict[str, float] = OrderedDict()
        """For each source, when its budget is full again."""

    def __len__(self) -> int:
        return len(self._due)

    def wait(self, source: str, now: float) -> float:
        """Seconds until the source may try again; 0 or less if it may now."""
        return self._due.get(source, 0.0) - now - self._tolerance

    def failed(self, source: str, now: float) -> None:
        """Note a wrong password."""
        due = max(self._due.pop(source, 0.0), now) + self._interval
        self._due[source] = due
        while len(self._due) > self._most:
            self._due.popitem(last=False)
