"""The loop that fires schedules: one entry in the queue for each tick, whoever dies, and nothing for what is gone."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from hilbert.control.delivery.request import QueuedRequest
from hilbert.control.delivery.room import Room
from hilbert.control.schedules.firing import Firing, lateness_classes
from hilbert.control.schedules.ticks import call_of
from hilbert.core.errors import BackendUnavailable, Conflict, Invalid, NotFound
from hilbert.core.model import EndpointSet, FunctionSpec, Synced
from hilbert.core.ports.queue import CallRecord, Finished, QueueBounds
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import ManualClock
from hilbert.queues.memory import MemoryQueue
from hilbert.testing.leader import ManualLeader

pytestmark = pytest.mark.anyio

HERE = NamespaceName("here")
F, G = FunctionRef.parse("f.here"), FunctionRef.parse("g.here")
NOON = 1_800_014_400.0
BOUNDS = QueueBounds()
EACH_MINUTE = {"topic": "cron-function", "schedule": "* * * * *"}


class Functions:
    """The part of a provider that schedules see."""

    def __init__(self) -> None:
        self.annotations: dict[FunctionRef, Mapping[str, str]] = {}
        self._news: list[asyncio.Queue[EndpointSet]] = []

    async def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        news: asyncio.Queue[EndpointSet] = asyncio.Queue()
        self._news.append(news)
        for ref in list(self.annotations):
            yield self._set(ref)
        yield Synced()
        while True:
            yield await news.get()

    def put(self, ref: FunctionRef, annotations: Mapping[str, str] | None) -> None:
        """Deploy a function, or remove it."""
        if annotations is None:
            del self.annotations[ref]
        else:
            self.annotations[ref] = annotations
        for news in self._news:
            news.put_nowait(self._set(ref))

    def _set(self, ref: FunctionRef) -> EndpointSet:
        said = self.annotations.get(ref)
        return EndpointSet(ref=ref, spec=None if said is None else FunctionSpec(ref=ref, image="i", annotations=said))


class AnyRoom:
    """Nobody is held to less than the queue itself holds."""

    def room(self, function: Mapping[str, str], namespace: Mapping[str, str]) -> Room:
        return Room(bounds=BOUNDS)


class World:
    """A queue, functions, and any number of gateways over them, on one clock."""

    def __init__(self) -> None:
        self.queue = MemoryQueue()
        self.functions = Functions()
        self.clock = ManualClock()
        self.shift = 0.0
        """By which the wall clock was put forward."""
        self.gateways: list[Firing] = []

    def wall(self) -> float:
        return NOON + self.clock.now() + self.shift

    async def gateway(self, leader: ManualLeader | None = None) -> Firing:
        firing = Firing(self.queue, self.functions, leader=leader or ManualLeader(leads=True), rooms=AnyRoom(), clock=self.clock, wall=self.wall)  # type: ignore[arg-type]  # fmt: skip
        firing.start()
        self.gateways.append(firing)
        await self.settle()
        return firing

    async def close(self) -> None:
        for firing in self.gateways:
            await firing.stop()

    async def settle(self) -> None:
        for _ in range(60):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.clock.advance(1)
            await self.settle()

    async def calls(self, ref: FunctionRef = F) -> list[CallRecord]:
        return list(await self.queue.list_calls(ref.namespace, function=ref.name, limit=1000))

    async def times(self, ref: FunctionRef = F) -> list[str]:
        """What its calls say they are for."""
        found = []
        for record in await self.calls(ref):
            request = QueuedRequest.load(await self.queue.body(ref.namespace, record.id))
            found.append(dict(request.fields)[b"X-Scheduled-Time"].decode())
        return found


@pytest.fixture
async def world() -> AsyncIterator[World]:
    found = World()
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(found.close)
        yield found


async def test_a_tick_is_a_call_as_cron_connector_makes_it(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.body": "hello", "com.hilbert.schedule.content-type": "text/plain"})  # fmt: skip
    await world.gateway()
    await world.pass_time(61)
    (record,) = await world.calls()
    request = QueuedRequest.load(await world.queue.body(HERE, record.id))
    assert (request.method, request.target, request.body) == ("POST", b"/", b"hello")
    assert dict(request.fields) == {
        b"X-Topic": b"cron-function",
        b"X-Connector": b"cron-connector",
        b"X-Scheduled-Time": b"2027-01-15T12:01:00Z",
        b"Content-Type": b"text/plain",
    }


async def test_each_tick_once_through_restarts(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    for seconds in (100, 30, 50, 61, 59):
        firing = await world.gateway()
        await world.pass_time(seconds)
        await firing.stop()
    assert await world.times() == [f"2027-01-15T12:0{n}:00Z" for n in range(1, 6)]


async def test_a_crash_between_queueing_and_knowing_it_fires_once(world: World) -> None:
    """The answer to the write is lost; whoever comes next finds the tick done."""
    world.functions.put(F, EACH_MINUTE)
    firing = await world.gateway()
    advance = world.queue.advance

    async def dies(mark: Any, call: Any = None, *, now: float, bounds: Any) -> bool:
        await advance(mark, call, now=now, bounds=bounds)
        if call is None:
            return True
        raise asyncio.CancelledError

    world.queue.advance = dies  # type: ignore[method-assign]
    await world.pass_time(61)
    await firing.stop()
    world.queue.advance = advance  # type: ignore[method-assign]
    await world.gateway()
    await world.pass_time(20)
    assert len(await world.calls()) == 1


async def test_two_gateways_that_both_think_they_lead_fire_once(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    world.functions.put(G, {**EACH_MINUTE, "schedule": "@every 20s"})
    for _ in range(2):
        await world.gateway()
    await world.pass_time(125)
    assert await world.times() == ["2027-01-15T12:01:00Z", "2027-01-15T12:02:00Z"]
    assert len(await world.calls(G)) == 6


async def test_only_the_leader_fires_and_the_next_one_goes_on(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    first, second = ManualLeader(leads=True), ManualLeader()
    for leader in (first, second):
        await world.gateway(leader)
    await world.pass_time(61)
    first.take()
    await world.pass_time(70)
    assert len(await world.calls()) == 1
    second.give()
    await world.pass_time(5)
    assert await world.times() == ["2027-01-15T12:01:00Z", "2027-01-15T12:02:00Z"]


async def test_a_lost_mark_makes_no_second_call(world: World) -> None:
    """The tick's own key is known as long as its call is."""
    world.functions.put(F, {**EACH_MINUTE, "schedule": "@every 30s"})
    firing = await world.gateway()
    await world.pass_time(31)
    (mark,) = await world.queue.marks()
    (record,) = await world.calls()
    await world.queue.forget_marks(F)
    (schedule,) = [shown.schedule for shown in await firing.list(HERE)]
    again = msgspec.structs.replace(mark, version=1)
    assert await world.queue.advance(again, call_of(schedule, mark.tick, now=world.wall()), now=world.wall())
    assert [found.id for found in await world.calls()] == [record.id]


async def test_what_is_removed_fires_no_more(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    world.functions.put(G, {**EACH_MINUTE, "schedule": "* * * * *; @every 10s"})
    firing = await world.gateway()
    await world.pass_time(61)
    world.functions.put(F, None)
    world.functions.put(G, EACH_MINUTE)
    await world.pass_time(60)
    assert len(await world.calls()) == 1
    assert [(mark.ref, mark.index) for mark in await world.queue.marks()] == [(G, 0)]
    assert all(ref != F for ref, _ in firing.ticks)
    world.functions.put(F, EACH_MINUTE)
    await world.pass_time(60)
    assert await world.times() == ["2027-01-15T12:01:00Z", "2027-01-15T12:03:00Z"]


async def test_marks_of_what_went_while_nobody_looked_are_forgotten(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    firing = await world.gateway()
    await world.pass_time(2)
    await firing.stop()
    world.functions.put(F, None)
    await world.gateway()
    await world.pass_time(2)
    assert await world.queue.marks() == []


async def test_a_schedule_that_is_edited_at_the_very_minute_fires_once(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    await world.gateway()
    await world.pass_time(60)
    world.functions.put(F, {**EACH_MINUTE, "schedule": "*/1 * * * *"})
    await world.pass_time(30)
    assert await world.times() == ["2027-01-15T12:01:00Z"]
    await world.pass_time(31)
    assert len(await world.times()) == 2


@pytest.mark.parametrize("change", ["pause", "edit", "remove", "body"])
async def test_what_changes_when_a_call_is_ready_already(world: World, change: str) -> None:
    """Calls are made ready some seconds before their tick."""
    world.functions.put(F, EACH_MINUTE)
    firing = await world.gateway()
    await world.pass_time(58)
    if change == "pause":
        await firing.pause(F, paused=True)
    elif change == "body":
        world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.body": "new"})
    else:
        world.functions.put(F, {**EACH_MINUTE, "schedule": "0 0 1 1 *"} if change == "edit" else None)
    await world.settle()
    await world.pass_time(10)
    calls = await world.calls()
    assert len(calls) == (change == "body")
    if calls:
        assert QueuedRequest.load(await world.queue.body(HERE, calls[0].id)).body == b"new"


async def test_a_clock_that_is_put_back_or_forward(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    await world.gateway()
    await world.pass_time(61)
    world.shift = -3600
    await world.pass_time(120)
    assert len(await world.calls()) == 1
    world.shift = 2 * 3600
    await world.pass_time(2)
    assert await world.times() == ["2027-01-15T12:01:00Z", "2027-01-15T14:03:00Z"]


async def test_pause_resume_and_run(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.catch-up": "1h"})
    firing = await world.gateway()
    assert await firing.pause(F, paused=True) == 1
    await world.pass_time(125)
    assert await world.calls() == []
    (shown,) = await firing.list(HERE)
    assert (shown.next, shown.mark.paused if shown.mark else None) == ((), True)
    number = await firing.run(F)
    assert [record.id for record in await world.calls()] == [number], "it can be run by hand all the same"
    await firing.pause(F, paused=False)
    await world.pass_time(2)
    assert len(await world.calls()) == 1, "what was missed is not made up for"
    await world.pass_time(60)
    assert len(await world.calls()) == 2
    (shown,) = await firing.list(HERE)
    assert shown.next[0] == NOON + 240


async def test_a_pause_outlives_a_restart_and_a_deploy_but_not_a_removal(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    firing = await world.gateway()
    await firing.pause(F, paused=True)
    await firing.stop()
    firing = await world.gateway()
    world.functions.put(F, {**EACH_MINUTE, "schedule": "*/1 * * * *"})
    await world.pass_time(61)
    assert await world.calls() == []
    world.functions.put(F, None)
    await world.pass_time(2)
    world.functions.put(F, EACH_MINUTE)
    await world.pass_time(61)
    assert len(await world.calls()) == 1


async def test_what_cannot_be_asked(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.paused": "true"})
    world.functions.put(G, {**EACH_MINUTE, "schedule": "@daily; @hourly; nonsense"})
    firing = await world.gateway()
    with pytest.raises(Conflict, match="paused by an annotation"):
        await firing.pause(F, paused=False)
    with pytest.raises(Invalid, match="has 2 schedules"):
        await firing.run(G)
    with pytest.raises(NotFound, match="index 2"):
        await firing.run(G, index=2)
    with pytest.raises(NotFound, match="has no schedule"):
        await firing.run(FunctionRef.parse("f.there"))
    ((ref, wrong),) = firing.all_wrong(HERE)
    assert (ref, len(wrong)) == (G, 1)
    assert len(await firing.list(HERE, function="g")) == 2
    assert await firing.list(NamespaceName("there")) == []


async def test_one_waits_for_the_other(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.overlap": "queue-one"})
    await world.gateway()
    await world.pass_time(61)
    (lease,) = await world.queue.lease(F, count=1, now=world.wall(), until=world.wall() + 9999)
    await world.pass_time(150)
    assert len(await world.calls()) == 1
    await world.queue.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=world.wall())
    await world.pass_time(3)
    waiting = [record for record in await world.calls() if record.id != lease.call.id]
    request = QueuedRequest.load(await world.queue.body(HERE, waiting[0].id))
    assert dict(request.fields)[b"X-Scheduled-Time"] == b"2027-01-15T12:02:00Z"
    assert len(waiting) == 1


async def test_skipped_ticks_are_counted(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.overlap": "skip"})
    firing = await world.gateway()
    await world.pass_time(181)
    assert len(await world.calls()) == 1
    assert firing.ticks == Counter({(F, "fired"): 1, (F, "skipped"): 2})


async def test_jitter_puts_calls_off_each_by_another_time(world: World) -> None:
    world.functions.put(F, {**EACH_MINUTE, "com.hilbert.schedule.jitter": "30s"})
    await world.gateway()
    await world.pass_time(301)
    offsets = [record.due - NOON - 60 * (n + 1) for n, record in enumerate(await world.calls())]
    assert len(offsets) == len(set(offsets)) == 5
    assert all(0 <= offset <= 31 for offset in offsets)


async def test_a_queue_that_is_away_delays_a_tick_and_the_log_says_it_once(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    firing = await world.gateway()
    await world.pass_time(30)
    advance = world.queue.advance

    async def away(*_: Any, **__: Any) -> bool:
        raise BackendUnavailable("the disk is away")

    world.queue.advance = away  # type: ignore[method-assign]
    with capture_logs() as logs:
        await world.pass_time(60)
    assert sum(entry["event"] == "scheduled call not queued" for entry in logs) == 1
    world.queue.advance = advance  # type: ignore[method-assign]
    await world.pass_time(2)
    assert await world.times() == ["2027-01-15T12:01:00Z"]
    classes = dict(lateness_classes(firing.lateness))
    assert (classes["15.0"], classes["60.0"], classes["+Inf"]) == (0, 1, 1)
    assert firing.late_seconds > 30


async def test_one_schedule_that_fails_does_not_stop_the_others(world: World) -> None:
    world.functions.put(F, EACH_MINUTE)
    world.functions.put(G, EACH_MINUTE)
    await world.gateway()
    await world.pass_time(2)
    advance = world.queue.advance

    async def breaks(mark: Any, call: Any = None, *, now: float, bounds: Any) -> bool:
        if mark.ref == F:
            raise RuntimeError("no")
        return await advance(mark, call, now=now, bounds=bounds)

    world.queue.advance = breaks  # type: ignore[method-assign]
    with capture_logs():
        await world.pass_time(125)
    assert len(await world.calls(G)) == 2


async def test_many_schedules_at_one_minute(world: World) -> None:
    for number in range(500):
        world.functions.put(FunctionRef.parse(f"f{number}.here"), EACH_MINUTE)
    await world.gateway()
    await world.pass_time(61)
    assert len(await world.queue.list_calls(HERE, limit=1000)) == 500
