"""Gateways that count together: nothing twice, nothing left out, over restarts, and over namespaces of an old name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import pytest

from hilbert.control.usage import Ledger
from hilbert.core.errors import BackendUnavailable
from hilbert.core.model import CpuTime
from hilbert.core.values import FunctionRef
from hilbert.server.shared_usage import SharedLedger

pytestmark = pytest.mark.anyio

F = FunctionRef("dev", "f")  # type: ignore[arg-type]


class Code(msgspec.Struct):
    count: int
    seconds: float
    buckets: tuple[int, ...] = ()


class Calls(msgspec.Struct):
    codes: dict[int, Code]
    started: int = 0
    inflight: int = 0
    waiting: int = 0
    cold_starts: int = 0
    retries: int = 0
    received: int = 0
    sent: int = 0


def calls(count: int) -> Calls:
    return Calls({200: Code(count, float(count))}, received=10 * count)


class Place:
    """What the gateways have in common."""

    def __init__(self) -> None:
        self.parts: dict[tuple[str, str], bytes] = {}
        self.ids = {"dev": "one"}
        self.away = False


class Process:
    """One gateway's process; it sees the place as its provider shows it."""

    def __init__(self, place: Place, who: str, now: dict[FunctionRef, Any]) -> None:
        self.place, self.who, self.now = place, who, now
        self.kept_counters = 0
        self.seconds = 0.0
        self.ledger = Ledger(lambda: self.now, default_memory=2**30)
        self.shared = SharedLedger(self.ledger, self, cpu=self, keep_counters=self._count)

    def _count(self) -> None:
        self.kept_counters += 1

    async def keep_usage(self, day: str, part: bytes) -> None:
        if self.place.away:
            raise BackendUnavailable("away")
        self.place.parts[day, self.who] = part

    async def usage_elsewhere(self) -> Sequence[tuple[str, bytes]]:
        return [(day, part) for (day, who), part in self.place.parts.items() if who != self.who]

    async def forget_usage(self, before: str) -> None:
        del before

    def namespace_ids(self) -> Mapping[str, str]:
        return self.place.ids

    async def cpu_times(self) -> Sequence[CpuTime]:
        return [CpuTime(F, f"{self.who}-1", self.seconds)]

    async def used(self) -> tuple[int, int]:
        """Calls of the namespace as it is, and of former ones of its name."""
        days, former = await self.shared.read()
        return sum(one["dev"].calls for one in days.values()), sum(one["dev"].calls for one in former.values())


async def test_the_sum_whoever_is_asked() -> None:
    place = Place()
    one, two = Process(place, "a", {}), Process(place, "b", {})
    one.now[F], two.now[F] = calls(3), calls(4)
    one.seconds = 1.5
    for process in (one, two):
        await process.shared.save()
    assert [await one.used(), await two.used()] == [(7, 0), (7, 0)]
    days, _ = await two.shared.read()
    (day,) = days.values()
    assert (day["dev"].cpu_seconds, day["dev"].received, day["dev"].gb_seconds) == (1.5, 70, 7.0)
    assert await Process(place, "c", {}).used() == (7, 0), "also one that has just come"


async def test_a_process_after_another_counts_nothing_again() -> None:
    """The counters outlive a process, in a file beside the workers."""
    place = Place()
    before = Process(place, "a", {})
    before.now[F] = calls(5)
    await before.shared.save()
    assert before.kept_counters == 1
    after = Process(place, "b", {F: calls(5)})
    after.now[F] = calls(6)
    await after.shared.save()
    assert await after.used() == (6, 0)


async def test_a_cluster_that_is_away_costs_nothing() -> None:
    place = Place()
    one = Process(place, "a", {})
    one.now[F] = calls(2)
    place.away = True
    await one.shared.save()
    one.now[F] = calls(3)
    place.away = False
    await one.shared.save()
    assert await Process(place, "b", {}).used() == (3, 0)


async def test_a_namespace_of_the_same_name_begins_with_nothing() -> None:
    """Whether the gateway that counted is still there or not, and whoever removed it: kubectl, too."""
    place = Place()
    gone, here = Process(place, "a", {}), Process(place, "b", {})
    gone.now[F], here.now[F] = calls(2), calls(3)
    await gone.shared.save()
    await here.shared.save()
    place.ids = {"dev": "two"}
    await here.shared.save()
    here.ledger.gone(_gone(), "2026-01-01")
    here.now[F] = calls(1)
    await here.shared.save()
    assert await here.used() == (1, 5)
    assert await Process(place, "c", {}).used() == (1, 5)
    place.ids = {}
    await here.shared.save()
    assert (await Process(place, "c", {}).shared.read())[0] == {}


def _gone() -> Any:
    from hilbert.core.model import EndpointSet

    return EndpointSet(ref=F, spec=None)
