"""Counters of one route in one worker: plain numbers, read once a second."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from hilbert.dataplane.feed.messages import CodeLevels, RouteLevels

BOUNDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds of the duration buckets: Prometheus's usual ones. One more bucket has no bound."""

Owner = TypeVar("Owner")


class RouteCounters(Generic[Owner]):
    """Totals since the worker's start."""

    __slots__ = (
        "_marked",
        "_on_change",
        "_owner",
        "codes",
        "cold_starts",
        "inflight",
        "received",
        "retries",
        "sent",
        "started",
    )

    def __init__(self, on_change: Callable[[Owner], None], owner: Owner) -> None:
        """`on_change(owner)` is called when they begin to differ from what was last reported."""
        self._on_change = on_change
        self._owner = owner
        self._marked = False
        self.started = 0
        self.inflight = 0
        self.cold_starts = 0
        self.retries = 0
        self.received = self.sent = 0
        self.codes: dict[int, CodeLevels] = {}

    def begin(self) -> None:
        self.started += 1
        self.inflight += 1
        if not self._marked:
            self.mark()

    def end(self, code: int, seconds: float, received: int = 0, sent: int = 0) -> None:
        """A call has ended with `code`; 499 when the client left before it was answered. `received` and `sent` are bytes of bodies."""
        self.inflight -= 1
        self.received += received
        self.sent += sent
        if not self._marked:
            self.mark()
        levels = self.codes.get(code)
        if levels is None:
            levels = self.codes[code] = CodeLevels(count=0, seconds=0.0, buckets=[0] * (len(BOUNDS) + 1))
        levels.count += 1
        levels.seconds += seconds
        levels.buckets[bisect_left(BOUNDS, seconds)] += 1

    def mark(self) -> None:
        """Report these counters next time."""
        if not self._marked:
            self._marked = True
            self._on_change(self._owner)

    def report(
        self, namespace: str, name: str, *, born: int, waiting: int, busy: Mapping[str, int] | None = None
    ) -> RouteLevels:
        self._marked = False
        return RouteLevels(
            namespace=namespace,
            name=name,
            born=born,
            started=self.started,
            inflight=self.inflight,
            waiting=waiting,
            cold_starts=self.cold_starts,
            retries=self.retries,
            codes=self.codes,
            busy=busy or {},
            received=self.received,
            sent=self.sent,
        )
