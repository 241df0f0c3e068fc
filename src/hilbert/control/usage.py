"""What each namespace's functions have used, by day: calls, their seconds, and gigabyte-seconds as OpenFaaS reckons them.

It is the growth of the data plane's counters, which go on over restarts. A day is one of UTC, and growth counts for the day
on which it is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from hilbert.control.call_counts import FunctionTotals, finished
from hilbert.core.model import EndpointSet
from hilbert.core.values import FunctionRef

DAYS_KEPT: Final = 400
GIB: Final = 2**30


class Use(msgspec.Struct, array_like=True):
    """Of one namespace on one day."""

    calls: int = 0
    """Finished ones, whatever their status."""
    seconds: float = 0.0
    gb_seconds: float = 0.0
    """Seconds times the memory limit, in GiB."""


class _Kept(msgspec.Struct, array_like=True):
    days: dict[str, dict[str, Use]]
    seen: dict[str, tuple[int, float]]


class Ledger:
    """Adds up. `default_memory` (bytes) is the limit of functions that name none; 0 is none, and counts as nothing."""

    def __init__(self, totals: Callable[[], Mapping[FunctionRef, FunctionTotals]], *, default_memory: int) -> None:
        self._totals = totals
        self._default = default_memory
        self._memory: dict[FunctionRef, int] = {}
        self._days: dict[str, dict[str, Use]] = {}
        self._seen: dict[str, tuple[int, float]] = {}
        self.changed = False
        """Whether there is anything that `dump` has not written."""

    def follow(self, change: EndpointSet) -> None:
        """Told of every change of a function, before its counters are forgotten."""
        if change.spec is not None:
            limit = change.spec.limits.memory if change.spec.limits is not None else None
            self._memory[change.ref] = int(limit.units) if limit is not None else self._default

    def gone(self, change: EndpointSet, day: str) -> None:
        """A function may be gone: count what is left of it, and begin anew for one of its name."""
        if change.spec is None:
            found = self._totals().get(change.ref)
            if found is not None:
                self._add(change.ref, found, day)
            self._memory.pop(change.ref, None)
            if self._seen.pop(str(change.ref), None) is not None:
                self.changed = True

    def note(self, day: str) -> None:
        """Count what has come since the last time for this day (`2026-01-31`)."""
        functions = self._totals()
        for ref, found in functions.items():
            self._add(ref, found, day)
        present = {str(ref) for ref in functions}
        for name in [name for name in self._seen if name not in present]:
            del self._seen[name]
        for old in sorted(self._days)[:-DAYS_KEPT]:
            del self._days[old]

    def days(self) -> Mapping[str, Mapping[str, Use]]:
        """By day and namespace."""
        return self._days

    def dump(self) -> bytes:
        self.changed = False
        return msgspec.msgpack.encode(_Kept(self._days, self._seen))

    def restore(self, data: bytes) -> None:
        """Raises `msgspec.MsgspecError`."""
        kept = msgspec.msgpack.decode(data, type=_Kept)
        self._days, self._seen = kept.days, kept.seen

    def _add(self, ref: FunctionRef, found: FunctionTotals, day: str) -> None:
        count, seconds = finished(found), sum(code.seconds for code in found.codes.values())
        before, already = self._seen.get(str(ref), (0, 0.0))
        if count <= before:
            return
        use = self._days.setdefault(day, {}).setdefault(str(ref.namespace), Use())
        took = max(0.0, seconds - already)
        use.calls += count - before
        use.seconds += took
        use.gb_seconds += took * self._memory.get(ref, self._default) / GIB
        self._seen[str(ref)] = count, max(seconds, already)
        self.changed = True
