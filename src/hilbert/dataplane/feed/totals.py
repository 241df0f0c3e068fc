"""The sum of all workers' counters. It never goes backwards: what a worker that is gone had counted is kept.

What the control plane reads (`control.call_counts.CallTotals` is the shape), fed by `dataplane.feed`.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.dataplane.counters import BOUNDS
from hilbert.dataplane.feed.messages import CodeLevels, Levels, RouteLevels

Key = tuple[str, str]

_FOLD_AFTER: Final = 120.0
"""Seconds after which a worker that has left is taken to be gone for good."""


class CodeCalls(msgspec.Struct):
    """Finished calls of one function with one status code."""

    count: int = 0
    seconds: float = 0.0
    parts: list[int] = msgspec.field(default_factory=lambda: [0] * (len(BOUNDS) + 1))

    @property
    def buckets(self) -> Sequence[int]:
        """Cumulative, one for each bound."""
        return list(itertools.accumulate(self.parts[:-1]))

    def add(self, levels: CodeLevels) -> None:
        self.count += levels.count
        self.seconds += levels.seconds
        for position, count in enumerate(levels.buckets):
            self.parts[position] += count


class FunctionCalls(msgspec.Struct):
    """What all workers together have counted of one function."""

    started: int = 0
    inflight: int = 0
    waiting: int = 0
    cold_starts: int = 0
    retries: int = 0
    received: int = 0
    sent: int = 0
    codes: dict[int, CodeCalls] = msgspec.field(default_factory=dict)

    def add(self, levels: RouteLevels, *, live: bool) -> None:
        """Add one worker's counters; its gauges only while it lives."""
        self.started += levels.started
        self.cold_starts += levels.cold_starts
        self.retries += levels.retries
        self.received += levels.received
        self.sent += levels.sent
        if live:
            self.inflight += levels.inflight
            self.waiting += levels.waiting
        for code, counts in levels.codes.items():
            self.codes.setdefault(code, CodeCalls()).add(counts)


class WorkerLevels(msgspec.Struct, frozen=True):
    """One worker that is connected now."""

    table_version: int
    table_size: int
    connections: int


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What outlives a control process."""

    ended: list[RouteLevels]
    workers: dict[str, list[RouteLevels]]
    """By incarnation: those that are still there report to the next control process, and are not counted twice."""


class Totals:
    """Merges the levels that workers report, by incarnation."""

    bounds: Sequence[float] = BOUNDS

    def __init__(self) -> None:
        self._ended: dict[Key, list[RouteLevels]] = {}
        self._live: dict[str, dict[Key, RouteLevels]] = {}
        self._workers: dict[str, WorkerLevels] = {}
        self._names: dict[str, str] = {}
        self._drift: dict[str, int] = {}
        self._left: dict[str, float] = {}
        self._moved: set[Key] = set()
        self.changed = False
        """Whether there is anything that `dump` has not written."""

    def dump(self) -> bytes:
        """Everything that was counted, for `restore` in the next control process."""
        self.changed = False
        ended = [part for parts in self._ended.values() for part in parts]
        return msgspec.msgpack.encode(_Kept(ended, {name: list(mine.values()) for name, mine in self._live.items()}))

    def restore(self, data: bytes) -> None:
        """Go on from what `dump` has written. Raises `msgspec.MsgspecError`."""
        kept = msgspec.msgpack.decode(data, type=_Kept)
        for route in kept.ended:
            self._ended.setdefault((route.namespace, route.name), []).append(route)
        now = time.monotonic()
        for incarnation, routes in kept.workers.items():
            self._live[incarnation] = {(route.namespace, route.name): route for route in routes}
            self._left[incarnation] = now

    def retain(self, keys: Container[Key]) -> None:
        """Forget all functions but these."""
        for key in self.keys():
            if key not in keys:
                self.forget(key)

    def update(self, incarnation: str, name: str, levels: Levels, counted: Iterable[RouteLevels]) -> None:
        """Take one report: `counted` are those of its functions that are still there."""
        self._left.pop(incarnation, None)
        self.changed = True
        self._fold()
        mine = self._live.setdefault(incarnation, {})
        for route in counted:
            key = (route.namespace, route.name)
            mine[key] = route
            self._moved.add(key)
        self._drift[incarnation] = levels.drift
        self._names[incarnation] = name
        self._workers[incarnation] = WorkerLevels(levels.version, levels.size, levels.connections)

    def applied(self, incarnation: str, version: int) -> None:
        """A worker's table has reached `version`."""
        levels = self._workers.get(incarnation)
        if levels is not None:
            self._workers[incarnation] = msgspec.structs.replace(levels, table_version=version)

    def retire(self, incarnation: str) -> None:
        """A worker has left. It may come back: after a lost connection it is still the same, with the same levels."""
        self._left[incarnation] = time.monotonic()
        self._workers.pop(incarnation, None)

    def forget(self, key: Key) -> None:
        """A function is gone: one made later under its name starts from zero."""
        self.changed = True
        self._moved.discard(key)
        self._ended.pop(key, None)
        for routes in self._live.values():
            routes.pop(key, None)

    def take_moved(self) -> set[Key]:
        """Functions whose counters were reported since this was last asked."""
        moved, self._moved = self._moved, set()
        return moved

    def functions(self) -> Mapping[FunctionRef, FunctionCalls]:
        """Counters by function; each is summed when it is asked for."""
        return _Functions(self)

    def workers(self) -> Mapping[str, WorkerLevels]:
        """By name."""
        return {self._names[incarnation]: levels for incarnation, levels in self._workers.items()}

    @property
    def route_drift(self) -> int:
        """Times that a worker's table was found to differ from the control process's."""
        return sum(self._drift.values())

    def of(self, key: Key) -> FunctionCalls | None:
        """One function's counters, or None if it was never called."""
        levels = [(part, False) for part in self._ended.get(key, ())]
        levels += [(routes[key], name not in self._left) for name, routes in self._live.items() if key in routes]
        if not levels:
            return None
        calls = FunctionCalls()
        for part, live in levels:
            calls.add(part, live=live)
        return calls

    def busy(self, key: Key) -> Mapping[str, int]:
        """Calls under way by the address of the replica that has them, as workers that are connected have last said."""
        found: Counter[str] = Counter()
        for name, routes in self._live.items():
            if key in routes and name not in self._left:
                found.update(routes[key].busy)
        return found

    def keys(self) -> set[Key]:
        """Functions with counters."""
        return set(self._ended).union(*self._live.values())

    def _fold(self) -> None:
        """Keep what workers that are gone for good had counted, and forget the workers."""
        now = time.monotonic()
        for incarnation in [name for name, left in self._left.items() if now - left > _FOLD_AFTER]:
            del self._left[incarnation]
            self._names.pop(incarnation, None)
            for key, route in self._live.pop(incarnation, {}).items():
                self._ended.setdefault(key, []).append(route)
                if len(self._ended[key]) > 1:
                    self._ended[key] = [_merged(self._ended[key])]


def _merged(parts: list[RouteLevels]) -> RouteLevels:
    """Several ended workers' counters as one."""
    calls = FunctionCalls()
    for part in parts:
        calls.add(part, live=False)
    return RouteLevels(
        namespace=parts[0].namespace,
        name=parts[0].name,
        born=parts[0].born,
        started=calls.started,
        inflight=0,
        waiting=0,
        cold_starts=calls.cold_starts,
        retries=calls.retries,
        codes={code: CodeLevels(one.count, one.seconds, one.parts) for code, one in calls.codes.items()},
        received=calls.received,
        sent=calls.sent,
    )


class _Functions(Mapping[FunctionRef, FunctionCalls]):
    """A view on totals."""

    def __init__(self, totals: Totals) -> None:
        self._totals = totals

    def __getitem__(self, ref: FunctionRef) -> FunctionCalls:
        calls = self._totals.of((ref.namespace, ref.name))
        if calls is None:
            raise KeyError(ref)
        return calls

    def __iter__(self) -> Iterator[FunctionRef]:
        for namespace, name in sorted(self._totals.keys()):
            yield FunctionRef(NamespaceName(namespace), FunctionName(name))

    def __len__(self) -> int:
        return len(self._totals.keys())
