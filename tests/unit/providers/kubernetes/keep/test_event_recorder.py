"""How many events there are, whatever happens to functions."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from hilbert.core.values import FunctionRef
from hilbert.kit.aio import ManualClock
from hilbert.providers.kubernetes.cluster.errors import Unreachable
from hilbert.providers.kubernetes.cluster.objects import Meta, Object
from hilbert.providers.kubernetes.keep import event_recorder as module
from hilbert.providers.kubernetes.keep.event_recorder import EventRecorder
from hilbert.testing.harness import eventually

pytestmark = pytest.mark.anyio

REF = FunctionRef.parse("echo.dev")


class Cluster:
    """Keeps events, and counts requests."""

    def __init__(self) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.requests = 0
        self.away = False

    def function(self, key: tuple[str, str]) -> Object:
        return Object(metadata=Meta(name=key[1], namespace=key[0], uid=f"uid of {key[1]}"))

    async def create(self, _kind: object, manifest: dict[str, Any], _namespace: str) -> None:
        self._asked()
        self.events[manifest["metadata"]["name"]] = dict(manifest)

    async def adjust(self, _kind: object, name: str, change: dict[str, Any], _namespace: str) -> object:
        self._asked()
        if name not in self.events:
            return None
        self.events[name].update(change)
        return SimpleNamespace()

    def _asked(self) -> None:
        self.requests += 1
        if self.away:
            raise Unreachable("away")

    def counts(self) -> dict[str, int]:
        return {event["message"]: event["count"] for event in self.events.values()}


class Bench:
    def __init__(self) -> None:
        self.cluster = Cluster()
        self.clock = ManualClock(1000.0)
        self.recorder = EventRecorder(
            cast(Any, self.cluster), cast(Any, self.cluster), identity="gateway-1", clock=self.clock
        )

    async def tell(self, message: str, *, ref: FunctionRef = REF, after: float = 0.0) -> None:
        await self.clock.advance(after)
        self.recorder.record(ref, "ScaledUp", message)
        await eventually(
            lambda: not self.recorder._waiting and (self.recorder._task is None or self.recorder._task.done())
        )


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_many_that_differ_in_their_words_become_one(bench: Bench) -> None:
    for number in range(30):
        await bench.tell(f"1 => {number} replicas", after=35.0)
    counts = bench.cluster.counts()
    (combined,) = [message for message in counts if message.startswith("(combined")]
    assert combined == "(combined from similar events): 1 => 29 replicas"
    assert sum(counts.values()) == 30
    assert len(counts) <= 21, "ten each ten minutes, and one"


@pytest.mark.bound("scaling-events")
async def test_a_function_that_is_scaled_to_and_fro_is_told_of_now_and_then(bench: Bench) -> None:
    for number in range(1000):
        await bench.tell(f"{1 + number % 2} => {2 - number % 2} replicas", after=2.0)
    assert len(bench.cluster.events) == 2
    assert 20 <= bench.cluster.requests <= 20 + 2000 / 30 + 1
    await bench.tell("1 => 2 replicas", ref=FunctionRef.parse("calm.dev"))
    assert len(bench.cluster.events) == 3


@pytest.mark.bound("scaling-events")
async def test_all_functions_together_cost_the_cluster_little(bench: Bench) -> None:
    for number in range(1000):
        await bench.tell("1 => 2 replicas", ref=FunctionRef.parse(f"f{number}.dev"))
    assert bench.cluster.requests == 100
    await bench.clock.advance(2.0)
    for number in range(100):
        await bench.tell("1 => 2 replicas", ref=FunctionRef.parse(f"g{number}.dev"))
    assert bench.cluster.requests == 110


async def test_an_hour_later_it_is_another_event(bench: Bench) -> None:
    await bench.tell("1 => 2 replicas")
    await bench.tell("1 => 2 replicas", after=3599.0)
    await bench.tell("1 => 2 replicas", after=3600.0)
    assert [event["count"] for event in bench.cluster.events.values()] == [2, 1]


@pytest.mark.bound("scaling-events")
async def test_what_is_held_has_a_bound(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BURST_OF_ALL", 1e9)
    bench.recorder = EventRecorder(cast(Any, bench.cluster), cast(Any, bench.cluster), identity="", clock=bench.clock)
    for number in range(3000):
        bench.recorder.record(FunctionRef.parse(f"f{number}.dev"), "ScaledUp", "x" * 5000)
    assert len(bench.recorder._waiting) <= module._MOST_WAITING
    assert len(bench.recorder._told) <= module._MOST_FUNCTIONS
    await bench.recorder.stop()
    assert not bench.recorder._waiting


async def test_a_cluster_that_is_away_costs_an_event(bench: Bench) -> None:
    bench.cluster.away = True
    await bench.tell("1 => 2 replicas")
    bench.cluster.away = False
    await bench.tell("1 => 3 replicas")
    assert bench.cluster.counts() == {"1 => 3 replicas": 1}
    assert all(len(event["message"].encode()) <= 1024 for event in bench.cluster.events.values())


async def test_a_long_message_is_cut_between_letters(bench: Bench) -> None:
    await bench.tell("ä" * 2000)
    (message,) = bench.cluster.counts()
    assert message == "ä" * 500
