"""What each namespace's functions have used, by day: calls, their seconds and bytes, gigabyte-seconds as OpenFaaS counts them, CPU time.

It is the growth of the data plane's counters, which go on over restarts, and of the CPU time of each replica. A day is one of
UTC, and growth counts for the day on which it is seen.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Final

import msgspec

from hilbert.control.call_counts import FunctionTotals, finished
from hilbert.core.model import CpuTime, EndpointSet
from hilbert.core.values import FunctionRef, NamespaceName

DAYS_KEPT: Final = 400
GIB: Final = 2**30
_MISSED: Final = 100
"""Looks at replicas after which one that was not among them is forgotten: a measurement can fail now and then."""


class Use(msgspec.Struct, array_like=True):
    """Of one namespace on one day."""

    calls: int = 0
    """Finished ones, whatever their status."""
    seconds: float = 0.0
    gb_seconds: float = 0.0
    """Seconds times the memory limit, in GiB."""
    cpu_seconds: float = 0.0
    received: int = 0
    """Bytes of the bodies of requests."""
    sent: int = 0
    """Bytes of the bodies of answers."""

    def add(self, other: Use) -> None:
        self.calls += other.calls
        self.seconds += other.seconds
        self.gb_seconds += other.gb_seconds
        self.cpu_seconds += other.cpu_seconds
        self.received += other.received
        self.sent += other.sent


def today() -> str:
    return time.strftime("%Y-%m-%d", time.gmtime())


Days = dict[str, dict[str, Use]]
"""By day and namespace."""


class _Kept(msgspec.Struct, array_like=True):
    days: Days
    seen: dict[str, list[int | float]]
    former: Days = {}
    cpu: dict[str, tuple[float, int]] = {}


class Ledger:
    """Adds up. `default_memory` (bytes) is the limit of functions that name none; 0 is none, and counts as nothing."""

    def __init__(self, totals: Callable[[], Mapping[FunctionRef, FunctionTotals]], *, default_memory: int) -> None:
        self._totals = totals
        self._default = default_memory
        self._memory: dict[FunctionRef, int] = {}
        self._days: Days = {}
        self._former: Days = {}
        self._leaving: set[FunctionRef] = set()
        """Functions of namespaces that were deleted, which are still being removed."""
        self._seen: dict[str, list[int | float]] = {}
        self._cpu: dict[str, tuple[float, int]] = {}
        """By replica: seconds that were counted, and how often in a row it was not heard of since."""
        self.changed = False
        """Whether there is anything that `dump` has not written."""

    def follow(self, change: EndpointSet) -> None:
        """Told of every change of a function, before its counters are forgotten."""
        if change.spec is not None:
            limit = change.spec.limits.memory if change.spec.limits is not None else None
            self._memory[change.ref] = int(limit.units) if limit is not None else self._default

    def memory_of(self, ref: FunctionRef) -> int:
        """The function's memory limit in bytes, as it is reckoned with."""
        return self._memory.get(ref, self._default)

    def gone(self, change: EndpointSet, day: str) -> None:
        """A function may be gone: count what is left of it, and begin anew for one of its name."""
        if change.spec is None:
            found = self._totals().get(change.ref)
            if found is not None:
                self._add(change.ref, found, day)
            self._memory.pop(change.ref, None)
            self._leaving.discard(change.ref)
            if self._seen.pop(str(change.ref), None) is not None:
                self.changed = True

    def retire(self, namespace: NamespaceName, day: str) -> None:
        """A namespace was deleted: one made later under its name has used nothing. What this one has used is still owed."""
        for ref, found in self._totals().items():
            if ref.namespace == namespace:
                self._add(ref, found, day)
                self._leaving.add(ref)
        for when, spaces in self._days.items():
            if (use := spaces.pop(namespace, None)) is not None:
                self._former.setdefault(when, {}).setdefault(namespace, Use()).add(use)
                self.changed = True

    def retire_others(self, namespaces: Container[str], day: str) -> None:
        """Namespaces that are not among these were deleted while nobody listened."""
        for name in {name for spaces in self._days.values() for name in spaces if name not in namespaces}:
            self.retire(NamespaceName(name), day)

    def skip(self) -> None:
        """What the counters say now was counted by somebody else."""
        for ref, found in self._totals().items():
            self._seen[str(ref)] = self._levels(found)

    def note(self, day: str) -> None:
        """Count what has come since the last time for this day (`2026-01-31`)."""
        functions = self._totals()
        for ref, found in functions.items():
            self._add(ref, found, day)
        present = {str(ref) for ref in functions}
        for name in [name for name in self._seen if name not in present]:
            del self._seen[name]
        for days in (self._days, self._former):
            for old in sorted(days)[:-DAYS_KEPT]:
                del days[old]

    def note_cpu(self, times: Iterable[CpuTime], day: str) -> None:
        """Count the CPU time of replicas since the last time. `times` are those of all that run, and of some that have ended."""
        kept = {replica: (seconds, missed + 1) for replica, (seconds, missed) in self._cpu.items() if missed < _MISSED}
        for one in times:
            before = self._cpu.get(one.replica, (0.0, 0))[0]
            if one.seconds > before:
                self._use(one.ref, day).cpu_seconds += one.seconds - before
                self.changed = True
            kept[one.replica] = (max(one.seconds, before), 0)
            if one.ended:
                del kept[one.replica]
        self._cpu = kept

    def days(self) -> Days:
        """By day and namespace."""
        return self._days

    def former(self) -> Days:
        """The same of namespaces that were deleted, under the names that they had."""
        return self._former

    def dump(self) -> bytes:
        self.changed = False
        return msgspec.msgpack.encode(_Kept(self._days, self._seen, self._former, self._cpu))

    def restore(self, data: bytes) -> None:
        """Raises `msgspec.MsgspecError`."""
        kept = msgspec.msgpack.decode(data, type=_Kept)
        self._days, self._seen, self._former, self._cpu = kept.days, kept.seen, kept.former, kept.cpu

    @staticmethod
    def _levels(found: FunctionTotals) -> list[int | float]:
        return [finished(found), sum(code.seconds for code in found.codes.values()), found.received, found.sent]

    def _use(self, ref: FunctionRef, day: str) -> Use:
        days = self._former if ref in self._leaving else self._days
        return days.setdefault(day, {}).setdefault(str(ref.namespace), Use())

    def _add(self, ref: FunctionRef, found: FunctionTotals, day: str) -> None:
        now = self._levels(found)
        before = [*self._seen.get(str(ref), ()), 0, 0, 0, 0]
        # Counters that a crash has set back are waited for.
        count, seconds, received, sent = (max(0, new - old) for new, old in zip(now, before, strict=False))
        if not (count or received or sent):
            return
        use = self._use(ref, day)
        use.calls += int(count)
        use.seconds += seconds
        use.gb_seconds += seconds * self.memory_of(ref) / GIB
        use.received += int(received)
        use.sent += int(sent)
        self._seen[str(ref)] = [max(new, old) for new, old in zip(now, before, strict=False)]
        self.changed = True
