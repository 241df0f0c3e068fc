"""The sum of all workers' counters. It never goes backwards: what a worker that is gone had counted is kept."""

from __future__ import annotations

import time
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

from hilbert.dataplane.messages import RouteTotals, Totals

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds in seconds of the duration buckets: Prometheus's usual ones."""

Key = tuple[str, str]

_FOLD_AFTER: Final = 120.0
"""Seconds after which a worker that has left is taken to be gone for good."""


@dataclass
class FunctionCalls:
    """What all workers together have counted of one function."""

    started: int = 0
    inflight: int = 0
    waiting: int = 0
    cold_starts: int = 0
    retries: int = 0
    seconds: float = 0.0
    codes: dict[int, int] = field(default_factory=dict)
    buckets: dict[int, list[int]] = field(default_factory=dict)

    def add(self, other: RouteTotals | FunctionCalls, *, ended: bool = False) -> None:
        """Add another's counters; its gauges too unless it has ended."""
        self.started += other.started
        self.cold_starts += other.cold_starts
        self.retries += other.retries
        self.seconds += other.seconds
        if not ended:
            self.inflight += other.inflight
            self.waiting += other.waiting
        for code, count in other.codes.items():
            self.codes[code] = self.codes.get(code, 0) + count
        for code, counts in other.buckets.items():
            mine = self.buckets.setdefault(code, [0] * len(counts))
            for position, count in enumerate(counts):
                mine[position] += count

    @property
    def completed(self) -> int:
        """Calls that have ended, whatever their status."""
        return sum(self.codes.values())


class CallTotals:
    """Merges the levels that workers report, by incarnation."""

    def __init__(self) -> None:
        self._ended: dict[Key, FunctionCalls] = {}
        self._live: dict[str, dict[Key, RouteTotals]] = {}
        self._drift: dict[str, int] = {}
        self._drift_ended = 0
        self._connections: dict[str, int] = {}
        self._left: dict[str, float] = {}

    def update(self, incarnation: str, totals: Totals, *, known: Container[Key]) -> None:
        """Take one report. Functions that are not `known` are left out: they were removed meanwhile."""
        self._left.pop(incarnation, None)
        self._fold()
        mine = self._live.setdefault(incarnation, {})
        for route in totals.routes:
            key = (route.namespace, route.name)
            if key in known:
                mine[key] = route
        self._drift[incarnation] = totals.drift
        self._connections[incarnation] = totals.connections

    def retire(self, incarnation: str) -> None:
        """A worker has left. It may come back: after a lost connection it is still the same, with the same levels."""
        self._left[incarnation] = time.monotonic()
        self._connections.pop(incarnation, None)

    def _fold(self) -> None:
        """Keep what workers that are gone for good had counted, and forget the workers."""
        now = time.monotonic()
        for incarnation in [name for name, left in self._left.items() if now - left > _FOLD_AFTER]:
            del self._left[incarnation]
            for key, route in self._live.pop(incarnation, {}).items():
                self._ended.setdefault(key, FunctionCalls()).add(route, ended=True)
            self._drift_ended += self._drift.pop(incarnation, 0)

    def forget(self, key: Key) -> None:
        """A function is gone: one made later under its name starts from zero."""
        self._ended.pop(key, None)
        for routes in self._live.values():
            routes.pop(key, None)

    def of(self, key: Key) -> FunctionCalls:
        """One function's counters."""
        calls = FunctionCalls()
        if key in self._ended:
            calls.add(self._ended[key])
        for incarnation, routes in self._live.items():
            if key in routes:
                calls.add(routes[key], ended=incarnation in self._left)
        return calls

    def keys(self) -> set[Key]:
        """Functions with counters."""
        return set(self._ended).union(*self._live.values())

    @property
    def drift(self) -> int:
        """Times that a worker's table was found to differ from the control process's."""
        return self._drift_ended + sum(self._drift.values())

    @property
    def connections(self) -> int:
        """Client connections open now."""
        return sum(self._connections.values())
