"""Counters of one route in one worker: plain numbers, read once a second."""

from __future__ import annotations

from bisect import bisect_left

from hilbert.dataplane.messages import RouteTotals
from hilbert.dataplane.totals import BUCKETS


class RouteCounters:
    """Totals since the worker's start; `changed` since they were last read."""

    __slots__ = ("buckets", "changed", "codes", "cold_starts", "inflight", "retries", "seconds", "started")

    def __init__(self) -> None:
        self.started = 0
        self.inflight = 0
        self.cold_starts = 0
        self.retries = 0
        self.seconds = 0.0
        self.codes: dict[int, int] = {}
        self.buckets: dict[int, list[int]] = {}
        self.changed = False

    def begin(self) -> None:
        self.started += 1
        self.inflight += 1
        self.changed = True

    def end(self, code: int, seconds: float) -> None:
        """A call has ended with `code`; 499 when the client left before it was answered."""
        self.inflight -= 1
        self.seconds += seconds
        self.changed = True
        codes = self.codes
        if code in codes:
            codes[code] += 1
            self.buckets[code][bisect_left(BUCKETS, seconds)] += 1
        else:
            codes[code] = 1
            counts = self.buckets[code] = [0] * (len(BUCKETS) + 1)
            counts[bisect_left(BUCKETS, seconds)] = 1

    def report(self, namespace: str, name: str, *, waiting: int) -> RouteTotals:
        self.changed = False
        return RouteTotals(
            namespace=namespace,
            name=name,
            started=self.started,
            inflight=self.inflight,
            waiting=waiting,
            cold_starts=self.cold_starts,
            retries=self.retries,
            seconds=self.seconds,
            codes=self.codes,
            buckets=self.buckets,
        )
