"""Counters of one route in one worker: plain numbers, read once a second."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from hilbert.dataplane.messages import CodeLevels, RouteLevels

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds of the duration buckets: Prometheus's usual ones. One more bucket has no bound."""


class RouteCounters:
    """Totals since the worker's start; `changed` since they were last read."""

    __slots__ = ("changed", "codes", "cold_starts", "inflight", "retries", "started")

    def __init__(self) -> None:
        self.started = 0
        self.inflight = 0
        self.cold_starts = 0
        self.retries = 0
        self.codes: dict[int, CodeLevels] = {}
        self.changed = False

    def begin(self) -> None:
        self.started += 1
        self.inflight += 1
        self.changed = True

    def end(self, code: int, seconds: float) -> None:
        """A call has ended with `code`; 499 when the client left before it was answered."""
        self.inflight -= 1
        self.changed = True
        levels = self.codes.get(code)
        if levels is None:
            levels = self.codes[code] = CodeLevels(count=0, seconds=0.0, buckets=[0] * (len(BOUNDS) + 1))
        levels.count += 1
        levels.seconds += seconds
        levels.buckets[bisect_left(BOUNDS, seconds)] += 1

    def report(self, namespace: str, name: str, *, waiting: int) -> RouteLevels:
        self.changed = False
        return RouteLevels(
            namespace=namespace,
            name=name,
            started=self.started,
            inflight=self.inflight,
            waiting=waiting,
            cold_starts=self.cold_starts,
            retries=self.retries,
            codes=self.codes,
        )
