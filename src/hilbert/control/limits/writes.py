"""How many changes a namespace may have made through the REST API in a time: GCRA, one number for each namespace."""

from __future__ import annotations

from typing import Final

from hilbert.core.errors import RateLimited
from hilbert.core.limits import API_WRITES, PREFIX, WRITES_BURST, told
from hilbert.core.values import NamespaceName
from hilbert.kit.aio import Clock, RealClock

_MOST_KEPT: Final = 1024
"""Namespaces whose numbers are kept before those that say nothing any more are looked for."""


class Writes:
    """Of one gateway."""

    def __init__(self, *, clock: Clock | None = None) -> None:
        self._clock = clock or RealClock()
        self._due: dict[NamespaceName, float] = {}
        """When the next change would be exactly on time."""
        self._refused: dict[NamespaceName, int] = {}

    def take(self, namespace: NamespaceName, rate: float) -> None:
        """Count one change; `rate` is a second, 0 no limit. Raises `RateLimited`, and then counts nothing."""
        if not rate:
            return
        now = self._clock.now()
        due = max(self._due.get(namespace, 0.0), now) + 1 / rate
        wait = due - now - max(WRITES_BURST, 1 / rate)
        if wait > 1e-9:
            self._refused[namespace] = self._refused.get(namespace, 0) + 1
            raise RateLimited(
                f"namespace {namespace} has reached its limit of {told(API_WRITES, rate)}",
                hint=f"try again in {wait:.1f} s; an administrator can raise its annotation {PREFIX}{API_WRITES}",
                retry_after=wait,
                policy=(f"namespace-{API_WRITES}", max(1, round(rate * WRITES_BURST)), int(WRITES_BURST)),
            )
        self._due[namespace] = due
        if len(self._due) > _MOST_KEPT:
            self._due = {name: one for name, one in self._due.items() if one > now}

    def used(self, namespace: NamespaceName, rate: float) -> tuple[float, int]:
        """Changes that count now, out of the rate's `WRITES_BURST` seconds, and how many were refused."""
        ahead = max(0.0, self._due.get(namespace, 0.0) - self._clock.now()) * rate
        return ahead, self._refused.get(namespace, 0)

    def forget(self, namespace: NamespaceName) -> None:
        """The namespace is gone."""
        self._due.pop(namespace, None)
        self._refused.pop(namespace, None)
