"""So many places, and of them a share for each source: connections, tunnels, calls of the REST API."""

from __future__ import annotations

from typing import Final

SHARE: Final = 8
"""One source gets all but an eighth of the places, unless a setting says how many."""


class Places:
    """Counts what is taken, in all and by each source. The source "" counts in all only: a trusted proxy."""

    __slots__ = ("_sources", "most", "most_of_source", "taken")

    def __init__(self, most: int, most_of_source: int = 0) -> None:
        """`most_of_source` 0 is a share of `most`."""
        self.most = most
        self.most_of_source = most_of_source or max(1, most - most // SHARE)
        self.taken = 0
        self._sources: dict[str, int] = {}

    @property
    def full(self) -> bool:
        return self.taken >= self.most

    def take(self, source: str) -> bool:
        """One more of a source. False: there is no place, or the source has its share."""
        if self.full or self.has(source) >= self.most_of_source:
            return False
        self.taken += 1
        if source:
            self._sources[source] = self.has(source) + 1
        return True

    def give_back(self, source: str) -> None:
        """One less of a source that has taken one."""
        self.taken -= 1
        if self.has(source) > 1:
            self._sources[source] -= 1
        else:
            self._sources.pop(source, None)

    def has(self, source: str) -> int:
        """How many a source has."""
        return self._sources.get(source, 0)

    def has_little(self, source: str) -> bool:
        """Whether a source has less than half of an equal part."""
        return self.has(source) < self.most // (2 * (len(self._sources) + 1))
