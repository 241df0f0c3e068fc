"""What functions use, from the cluster's metrics API (metrics-server), when there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from hilbert.core.errors import HilbertError
from hilbert.core.model import LABEL_FUNCTION, CpuTime, Usage
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName, Quantity
from hilbert.kit.aio import Clock, SingleFlight
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import Meta

_FRESH: Final = 10.0
"""Seconds; metrics-server itself measures every 15."""
_ABSENT: Final = 60.0
_LONGEST_GAP: Final = 120.0
"""Seconds: a rate of CPU time is not taken to have held for longer."""


class _ContainerUsage(msgspec.Struct):
    cpu: str = "0"
    memory: str = "0"


class _Container(msgspec.Struct):
    usage: _ContainerUsage


class _PodMetrics(msgspec.Struct):
    metadata: Meta
    containers: tuple[_Container, ...] = ()


class UsageReader:
    """Usage by function, one question a namespace at most every ten seconds."""

    def __init__(self, api: Api, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[float, Mapping[str, Usage]]] = {}
        self._absent_until = float("-inf")
        self._flights: SingleFlight[str, Mapping[str, Usage]] = SingleFlight()

    async def of(self, namespace: str) -> Mapping[str, Usage]:
        """Usage by function name; empty where it cannot be known."""
        now = self._clock.now()
        known = self._known.get(namespace)
        if known is not None and now - known[0] < _FRESH:
            return known[1]
        if now < self._absent_until:
            return {}
        return await self._flights.run(namespace, lambda: self._read(namespace))

    async def _read(self, namespace: str) -> Mapping[str, Usage]:
        try:
            page = await self._api.page(kinds.METRICS, namespace, selector=LABEL_FUNCTION, limit=0)
            found = _sum(page.items)
        except (Refused, Unreachable, msgspec.MsgspecError) as exc:
            is_absent = isinstance(exc, Refused) and exc.is_missing
            self._absent_until = self._clock.now() + (_ABSENT if is_absent else _FRESH)
            return {}
        self._known[namespace] = (self._clock.now(), found)
        if len(self._known) > 1000:
            self._known.pop(next(iter(self._known)))
        return found


class CpuClock:
    """Makes CPU time of functions of the rates that the metrics API tells: each holds for the time since the last look."""

    def __init__(self, usage: UsageReader, clock: Clock, *, who: str) -> None:
        """`who` is this gateway."""
        self._usage = usage
        self._clock = clock
        self._who = who
        self._seconds: dict[FunctionRef, float] = {}
        self._looked_at = clock.now()

    async def look(self, namespaces: Sequence[str]) -> Sequence[CpuTime]:
        """What is known so far, with what functions of these namespaces have used since the last look."""
        now = self._clock.now()
        passed, self._looked_at = min(now - self._looked_at, _LONGEST_GAP), now
        for namespace in namespaces:
            for name, usage in (await self._usage.of(namespace)).items():
                ref = FunctionRef(NamespaceName(namespace), FunctionName(name))
                self._seconds[ref] = self._seconds.get(ref, 0.0) + usage.cpu_millis / 1000 * passed
        return [CpuTime(ref, f"{self._who} {ref}", seconds) for ref, seconds in self._seconds.items()]


def _sum(items: tuple[msgspec.Raw, ...]) -> Mapping[str, Usage]:
    totals: dict[str, tuple[float, float]] = {}
    for item in items:
        pod = msgspec.json.decode(item, type=_PodMetrics)
        name = (pod.metadata.labels or {}).get(LABEL_FUNCTION)
        if name is None:
            continue
        cpu, memory = totals.get(name, (0.0, 0.0))
        for container in pod.containers:
            try:
                cpu += float(Quantity.parse(container.usage.cpu).amount) * 1000
                memory += float(Quantity.parse(container.usage.memory).amount)
            except HilbertError:
                continue
        totals[name] = (cpu, memory)
    return {name: Usage(cpu_millis=cpu, memory_bytes=memory) for name, (cpu, memory) in totals.items()}
