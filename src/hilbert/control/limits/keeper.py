"""Divides limits over the workers each second, by what each was asked for, and knows how they are used."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from hilbert.control.limits.shares import divide, divide_whole
from hilbert.core.limits import CONCURRENCY, CallLimits, Scope, ScopeShare, ScopeUse
from hilbert.kit.aio import Clock, RealClock, cancel, spawn

_EVERY: Final = 1.0
"""Seconds between two divisions."""
_FORGET_AFTER: Final = 60.0
"""Seconds after which a scope that nobody calls is forgotten: its workers divide it as at first."""


class Enforcers(Protocol):
    """The workers that are connected."""

    on_use: Callable[[str, Sequence[ScopeUse]], None]
    """Called with a worker's name and the limits whose use has changed."""

    def enforcing(self) -> Sequence[str]:
        """Names of the workers that are connected now."""
        ...

    def share(self, worker: str, shares: Sequence[ScopeShare]) -> None:
        """Tell a worker its parts. One that is gone is not told."""
        ...


class LimitUse(msgspec.Struct, frozen=True):
    """How a limit is used, over all workers that are connected."""

    limits: CallLimits
    rate: float
    """Calls that came in the last second, refused ones included."""
    used: Mapping[str, int] = {}
    """How much there is now, by the name of the limit."""
    refused: Mapping[str, int] = {}
    """How often it was refused since the workers' start, by the name of the limit."""


class _Seen:
    """One worker's use of one scope."""

    __slots__ = ("asked", "before", "use")

    def __init__(self, use: ScopeUse) -> None:
        self.use = use
        self.before = use.asked
        self.asked = 0.0
        """In the last second."""

    def wants(self, kind: str) -> float:
        """How much this worker may need of what is limited at once: what it has, and more if it is asked much."""
        has = float(self.use.used.get(kind, 0))
        return has + self.asked / 10 if kind == CONCURRENCY else has


class Limits:
    """Of one gateway."""

    def __init__(self, workers: Enforcers, *, clock: Clock | None = None) -> None:
        self._workers = workers
        self._clock = clock or RealClock()
        self._scopes: dict[Scope, dict[str, _Seen]] = {}
        self._used_at: dict[Scope, float] = {}
        self._task: asyncio.Task[None] | None = None
        workers.on_use = self.used

    def start(self) -> None:
        self._task = spawn(self._run(), name="limits")

    async def stop(self) -> None:
        await cancel(self._task)
        self._task = None

    def used(self, worker: str, uses: Sequence[ScopeUse]) -> None:
        """A worker says what its limits were asked for."""
        now = self._clock.now()
        for use in uses:
            seen = self._scopes.setdefault(use.scope, {}).get(worker)
            if seen is None:
                seen = self._scopes[use.scope][worker] = _Seen(use)
                seen.before = 0
            seen.use = use
            self._used_at[use.scope] = now

    def uses(self) -> Mapping[Scope, LimitUse]:
        """Limits that were used lately."""
        return {scope: _sum(workers) for scope, workers in self._scopes.items()}

    def divide(self) -> None:
        """Tell each worker its parts of the limits that are used."""
        now = self._clock.now()
        names = list(self._workers.enforcing())
        told: dict[str, list[ScopeShare]] = {name: [] for name in names}
        for scope, workers in list(self._scopes.items()):
            for gone in workers.keys() - told.keys():
                del workers[gone]
            idle = not any(any(seen.use.used.values()) for seen in workers.values())
            if not workers or (idle and now - self._used_at[scope] > _FORGET_AFTER):
                del self._scopes[scope], self._used_at[scope]
                continue
            for seen in workers.values():
                seen.asked, seen.before = float(seen.use.asked - seen.before), seen.use.asked
            limits = next(iter(workers.values())).use.limits
            rates = divide(limits.rate, [workers[name].asked if name in workers else 0.0 for name in names])
            places: list[dict[str, int]] = [{} for _ in names]
            for kind, most in limits.places().items():
                wanted = [workers[name].wants(kind) if name in workers else 0.0 for name in names]
                for mine, part in zip(places, divide_whole(most, wanted), strict=True):
                    mine[kind] = part
            for name, rate, mine in zip(names, rates, places, strict=True):
                told[name].append(ScopeShare(scope, rate, mine))
        for name, shares in told.items():
            if shares:
                self._workers.share(name, shares)

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(_EVERY)
            self.divide()


def _sum(workers: Mapping[str, _Seen]) -> LimitUse:
    uses = [seen.use for seen in workers.values()]
    used: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    for use in uses:
        used.update(use.used)
        refused.update(use.refused)
    return LimitUse(uses[0].limits, sum(seen.asked for seen in workers.values()), used, refused)
