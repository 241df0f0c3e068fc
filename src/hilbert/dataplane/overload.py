"""What a worker refuses when it has nearly as many calls as it can have: the least urgent first, and never one under way.

In this order: queued calls, which are tried again; calls that would start a function from zero; calls of namespaces that
have more than their share. A share is weighted max-min: whoever has less than an equal part by weight keeps it, and the
others divide the rest. Requests for the REST API, health checks and metrics have places of their own.

The last eighth is for whoever has less than its share. Nothing is worked out before three quarters are taken: until then
a call costs an addition, a subtraction and a comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Final

from hilbert.dataplane import failures
from hilbert.dataplane.failures import Failure

_QUEUED: Final = 12 / 16
_COLD: Final = 13 / 16
_SHARED: Final = 14 / 16
"""Parts of all places from which on each kind is refused."""
_FRESH: Final = 0.1
"""Seconds for which shares hold: working them out costs time for each function that is called."""

Demand = Mapping[str, tuple[int, float]]
"""Calls under way and weight, by namespace."""


class Overload:
    """The calls under way in one worker."""

    def __init__(self, most: int, demand: Callable[[], Demand]) -> None:
        """`most` is how many there can be; `demand` tells who has them."""
        self.under_way = 0
        self.begins = max(1, int(most * _QUEUED))
        """From so many on, `refuses` has to be asked."""
        self._cold = max(1, int(most * _COLD))
        self._shared = max(1, int(most * _SHARED))
        self._demand = demand
        self._shares: Mapping[str, float] = {}
        self._counts: Demand = {}
        self._looked_at = -_FRESH

    def refuses(self, namespace: str, *, queued: bool, cold: bool) -> Failure | None:
        """Why a call may not come in now."""
        if self.under_way < self.begins:
            return None
        if queued:
            return failures.overloaded("queued calls wait")
        if cold and self.under_way >= self._cold:
            return failures.overloaded("no function is started from zero")
        if self.under_way >= self._shared and self._is_beyond(namespace):
            return failures.overloaded(f"namespace {namespace} has its share of the calls")
        return None

    def _is_beyond(self, namespace: str) -> bool:
        now = monotonic()
        if now - self._looked_at >= _FRESH:
            self._looked_at = now
            self._counts = self._demand()
            self._shares = shares(self._shared, self._counts)
        if namespace not in self._shares:  # It has none: its part is one among all.
            return False
        return self._counts[namespace][0] >= max(1.0, self._shares[namespace]) and len(self._shares) > 1


def shares(most: float, demand: Demand) -> dict[str, float]:
    """Weighted max-min: what each gets of `most`, given what it wants. Who is content gets what it has and may grow to
    its part; the others get equal parts by weight of what is left."""
    found: dict[str, float] = {}
    rest, weights = float(most), sum(weight for _, weight in demand.values())
    for name, (wants, weight) in sorted(demand.items(), key=lambda one: one[1][0] / one[1][1]):
        part = rest * weight / weights
        found[name] = part
        rest -= min(part, wants)
        weights -= weight
    return found
