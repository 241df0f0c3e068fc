"""Carrying decisions out: for functions with load alone, by the leader alone, past a provider that refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import cast

import pytest

from hilbert.control.scaling.decide import STEP, Reason
from hilbert.control.scaling.scaler import Scaler
from hilbert.core.errors import BackendUnavailable, HilbertError, QuotaExceeded
from hilbert.core.model import EndpointSet, FunctionSpec, FunctionStatus
from hilbert.core.ports import Counted, Provider
from hilbert.core.settings import ScalingSettings
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.dataplane.feed.messages import Levels, RouteLevels
from hilbert.dataplane.feed.totals import Totals
from hilbert.kit.aio import ManualClock
from hilbert.providers.memory import MemoryProvider
from hilbert.testing.leader import ManualLeader

pytestmark = pytest.mark.anyio

BUSY = {
    "com.openfaas.scale.type": "capacity",
    "com.openfaas.scale.target": "1",
    "com.openfaas.scale.target-proportion": "1",
}


class Recording(MemoryProvider):
    """Writes down what it is asked, and refuses what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.noticed: list[tuple[str, str, str, bool]] = []
        self.refusals: dict[str, HilbertError] = {}

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        self.asked.append(str(ref.name))
        return await super().get(ref)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        if str(ref.name) in self.refusals:
            raise self.refusals[str(ref.name)]
        await super().scale(ref, replicas)
        self.scaled.append((str(ref.name), replicas))

    def notice(self, ref: FunctionRef, reason: str, message: str, *, warning: bool = False) -> None:
        self.noticed.append((str(ref.name), reason, message, warning))


class Elsewhere:
    """What other gateways count."""

    def __init__(self) -> None:
        self.calls: dict[FunctionRef, Counted] = {}

    def share_counts(self, read: Callable[[], Mapping[FunctionRef, Counted]]) -> None:
        raise AssertionError("it is not asked for")

    def counted_elsewhere(self, ref: FunctionRef) -> Counted:
        return self.calls.get(ref, Counted())

    def moved_elsewhere(self) -> set[FunctionRef]:
        return {ref for ref, calls in self.calls.items() if calls.inflight}


class World:
    """A scaler with a worker that counts."""

    def __init__(self, provider: Recording) -> None:
        self.provider = provider
        self.clock = ManualClock(1000.0)
        self.totals = Totals()
        self.leader = ManualLeader(leads=True)
        self.elsewhere = Elsewhere()
        self.settings = ScalingSettings()
        self.loads: dict[str, Mapping[FunctionRef, float] | HilbertError] = {}
        self.scaler = self.make()

    def make(self) -> Scaler:
        return Scaler(
            cast(Provider, self.provider),
            self.totals,
            self.settings,
            leader=self.leader,
            shared=self.elsewhere,
            query=self._query,
            notices=self.provider,
            clock=self.clock,
        )

    async def _query(self, kind: str) -> Mapping[FunctionRef, float]:
        answer = self.loads[kind]
        if isinstance(answer, HilbertError):
            raise answer
        return answer

    async def function(self, name: str, **labels: str) -> FunctionRef:
        ref = FunctionRef(NamespaceName("openfaas-fn"), FunctionName(name))
        spec = FunctionSpec(ref=ref, image="i", labels=labels)
        await self.provider.apply(spec)
        self.scaler.seen(EndpointSet(ref=ref, spec=spec))
        return ref

    def count(self, name: str, *, inflight: int = 0, started: int = 1) -> None:
        """A worker's report."""
        route = RouteLevels("openfaas-fn", name, 1, started, inflight, 0, 0, 0, {})
        self.totals.update("w", "0", Levels("e", [route], 0, 1, 1, 1), [route])

    async def step(self, seconds: float = STEP) -> None:
        await self.clock.advance(seconds)
        await self.scaler.step()


@pytest.fixture
async def world(anyio_backend: object) -> AsyncIterator[World]:
    provider = Recording()
    yield World(provider)
    await provider.close()


async def test_load_makes_replicas_and_says_why(world: World) -> None:
    ref = await world.function("f", **BUSY)
    world.count("f", inflight=3)
    await world.step()
    assert world.provider.scaled == [("f", 3)]
    state = world.scaler.explain(ref)
    assert state is not None
    (event,) = state.events
    assert (event.before, event.after, event.load, event.wanted, event.reason) == (1, 3, 3.0, 3, Reason.LOAD)
    assert "capacity 3" in event.message


async def test_calls_of_other_gateways_count_too(world: World) -> None:
    """The sum is what a function is scaled by, and what keeps it from going to zero."""
    ref = await world.function(
        "f", **BUSY, **{"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "1m"}
    )
    world.elsewhere.calls[ref] = Counted(started=2, inflight=2)
    world.count("f", inflight=1)
    await world.step()
    assert world.provider.scaled == [("f", 3)]
    world.count("f", inflight=0)
    for _ in range(60):
        await world.step()
    assert world.provider.scaled == [("f", 3), ("f", 2)]
    world.elsewhere.calls[ref] = Counted(started=2, finished=2)
    for _ in range(120):
        await world.step()
    assert world.provider.scaled[-1] == ("f", 0)


async def test_functions_without_load_are_not_looked_at(world: World) -> None:
    for number in range(50):
        await world.function(f"idle-{number}", **BUSY)
    await world.function("plain")
    await world.function("busy", **BUSY)
    await world.step()  # Each is looked at once, when it is made.
    world.provider.asked.clear()
    for _ in range(20):
        world.count("busy", inflight=1)
        await world.step()
    assert set(world.provider.asked) == {"busy"}


async def test_an_idle_function_goes_to_zero_and_costs_nothing_until_then(world: World) -> None:
    await world.function("f", **{"com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "10m"})
    world.count("f", started=1)
    await world.step()
    await world.step()
    before = world.scaler.looks
    for _ in range(290):
        await world.step()
    assert world.provider.scaled == []
    assert world.scaler.looks == before
    await world.step(30)
    assert world.provider.scaled == [("f", 0)]


async def test_only_the_leader_scales(world: World) -> None:
    world.leader.take()
    await world.function("f", **BUSY)
    world.count("f", inflight=3)
    await world.step()
    assert world.provider.scaled == []
    world.leader.give()
    await world.step()
    assert world.provider.scaled == [("f", 3)]


async def test_a_new_leader_takes_nothing_away_before_it_knows_enough(world: World) -> None:
    ref = await world.function("f", **BUSY)
    await world.provider.scale(ref, 7)
    world.provider.scaled.clear()
    world.leader.take()
    await world.step(3600)
    world.leader.give()
    for _ in range(20):
        world.count("f", inflight=1)
        await world.step()
    assert world.provider.scaled == []
    for _ in range(4):
        world.count("f", inflight=1)
        await world.step()
    assert world.provider.scaled == [("f", 1)]


async def test_a_refusal_is_told_tried_later_and_costs_no_other_function(world: World) -> None:
    ref = await world.function("greedy", **BUSY)
    await world.function("modest", **BUSY)
    world.provider.refusals["greedy"] = QuotaExceeded("the namespace has room for 2 replicas")
    for name in ("greedy", "modest"):
        world.count(name, inflight=4)
    await world.step()
    assert world.provider.scaled == [("modest", 4)]
    state = world.scaler.explain(ref)
    assert state is not None
    assert state.refused == "the namespace has room for 2 replicas"
    world.provider.refusals.clear()
    world.count("greedy", inflight=4)
    await world.step()
    assert ("greedy", 4) in world.provider.scaled
    state = world.scaler.explain(ref)
    assert state is not None
    assert not state.refused


async def test_a_query_that_fails_changes_nothing_and_is_asked_again(world: World) -> None:
    ref = await world.function("f", **{"com.openfaas.scale.type": "depth", "com.openfaas.scale.target": "10"})
    world.loads["depth"] = BackendUnavailable("no answer")
    await world.step()
    assert world.provider.scaled == []
    state = world.scaler.explain(ref)
    assert state is not None
    assert state.decision is not None
    assert state.decision.reason is Reason.UNKNOWN
    world.loads["depth"] = {ref: 36.0}
    await world.step()
    assert world.provider.scaled == [("f", 4)]


async def test_a_removed_function_is_forgotten(world: World) -> None:
    ref = await world.function("f", **BUSY)
    await world.provider.remove(ref)
    world.count("f", inflight=3)
    await world.step()
    assert world.scaler.explain(ref) is None
    other = await world.function("g", **BUSY)
    world.scaler.seen(EndpointSet(ref=other, spec=None))
    assert world.scaler.explain(other) is None


async def test_another_type_drops_what_was_known(world: World) -> None:
    ref = await world.function("f", **BUSY)
    world.count("f", inflight=9)
    await world.step()
    await world.function("f", **{**BUSY, "com.openfaas.scale.type": "rps", "com.openfaas.scale.max": "4"})
    await world.step()
    assert (await world.provider.get(ref)).replicas == 4


async def test_an_alert_holds_what_load_would_take_away(world: World) -> None:
    ref = await world.function("f", **BUSY)
    plain = await world.function("plain")
    assert not world.scaler.alert(plain, 3)
    assert world.scaler.alert(ref, 3)
    for _ in range(40):
        world.count("f", inflight=1)
        await world.step()
    assert (await world.provider.get(ref)).replicas == 3
    world.scaler.alert(ref, 0)
    await world.step()
    await world.step()
    assert (await world.provider.get(ref)).replicas == 1


async def test_each_change_is_noticed_with_its_reason(world: World) -> None:
    ref = await world.function(
        "f", **{**BUSY, "com.openfaas.scale.zero": "true", "com.openfaas.scale.zero-duration": "60s"}
    )
    world.count("f", inflight=3)
    await world.step()
    world.provider.refusals["f"] = QuotaExceeded("the quota is used up")
    world.count("f", inflight=5)
    await world.step()
    del world.provider.refusals["f"]
    world.count("f", inflight=0)
    while (await world.provider.get(ref)).replicas:
        await world.step(10.0)
    told = [(reason, warning) for _, reason, _, warning in world.provider.noticed]
    assert told[:2] == [("ScaledUp", False), ("NotScaled", True)]
    assert told[-1] == ("ScaledToZero", False)
    assert world.provider.noticed[0][2] == "1 => 3 replicas (Load: capacity 3, for 1 a replica)"
    assert world.provider.noticed[1][2] == "3 => 5 replicas: the quota is used up"


async def test_without_scaling_by_load_alerts_alone_scale(world: World) -> None:
    """The end of one has to be followed by whoever heard of it."""
    world.settings = ScalingSettings(by_load=False)
    world.scaler = world.make()
    ref = await world.function("f", **BUSY)
    assert not world.scaler.alert(ref, 3)
    assert not world.scaler.alert(ref, 0)


async def test_memory_of_planned_looks_is_bounded(world: World) -> None:
    await world.function("f", **BUSY)
    for count in range(2000):
        world.count("f", inflight=1, started=count)
        await world.step(0.01)
    assert len(world.scaler._due) < 100
