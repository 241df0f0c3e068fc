"""The route table follows the provider: whole at first, line by line after, and right again after any failure."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from typing import cast

import pytest
from structlog.testing import capture_logs

from hilbert.control.routing import Routing
from hilbert.core.model import Endpoint, EndpointSet, FunctionSpec, Route, StartFault, Synced
from hilbert.core.ports import Provider
from hilbert.core.settings import GatewaySettings
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import ManualClock

pytestmark = pytest.mark.anyio

A, B, C = (FunctionRef.parse(f"{name}.dev") for name in "abc")


def seen(ref: FunctionRef, *endpoints: str, annotations: dict[str, str] | None = None) -> EndpointSet:
    spec = FunctionSpec(ref=ref, image="i", annotations=annotations or {})
    return EndpointSet(ref=ref, spec=spec, endpoints=tuple(Endpoint(name, f"unix:/{name}") for name in endpoints))


def gone(ref: FunctionRef) -> EndpointSet:
    return EndpointSet(ref=ref, spec=None)


class Scripted:
    """A provider whose watches give what a test puts in; one queue for each watch."""

    def __init__(self) -> None:
        self.watches: list[asyncio.Queue[EndpointSet | Synced | Exception | None]] = []
        self.closed = 0

    async def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        queue: asyncio.Queue[EndpointSet | Synced | Exception | None] = asyncio.Queue()
        self.watches.append(queue)
        try:
            while (change := await queue.get()) is not None:
                if isinstance(change, Exception):
                    raise change
                yield change
        finally:
            self.closed += 1


class Sink:
    """A route table that remembers how it came about."""

    def __init__(self) -> None:
        self.table: dict[str, tuple[str, ...]] = {}
        self.routes: dict[str, Route] = {}
        self.calls: list[str] = []

    def reset(self, routes: Iterable[Route]) -> None:
        self.routes = {route.name: route for route in routes}
        self._note("reset")

    def put(self, route: Route) -> None:
        self.routes[route.name] = route
        self._note(f"put {route.name}")

    def drop(self, ref: FunctionRef) -> None:
        self.routes.pop(ref.name, None)
        self._note(f"drop {ref.name}")

    def _note(self, call: str) -> None:
        self.calls.append(call)
        self.table = {name: tuple(end.replica for end in route.endpoints) for name, route in self.routes.items()}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


class Bench:
    def __init__(self, *, fires: bool = False) -> None:
        self.provider, self.sink, self.clock = Scripted(), Sink(), ManualClock()
        provider = cast(Provider, self.provider)
        self.routing = Routing(provider, self.sink, GatewaySettings(), fires=fires, clock=self.clock)

    async def watch(self, number: int) -> asyncio.Queue[EndpointSet | Synced | Exception | None]:
        await until(lambda: len(self.provider.watches) == number)
        return self.provider.watches[-1]


@contextlib.asynccontextmanager
async def bench(*, fires: bool = False) -> AsyncIterator[Bench]:
    found = Bench(fires=fires)
    found.routing.start()
    try:
        yield found
    finally:
        await found.routing.stop()


async def test_nothing_is_told_before_the_first_pass_is_complete() -> None:
    async with bench() as at:
        watch = await at.watch(1)
        for change in (seen(A, "a1"), seen(B), seen(C, "c1"), seen(A, "a2"), gone(C)):
            watch.put_nowait(change)
        await until(watch.empty)
        await asyncio.sleep(0)
        assert at.sink.calls == []
        watch.put_nowait(Synced())
        await asyncio.wait_for(at.routing.wait_synced(), 10)
        assert at.sink.calls == ["reset"]
        assert at.sink.table == {"a": ("a2",), "b": ()}


async def test_changes_come_line_by_line_and_only_when_they_are_changes() -> None:
    async with bench() as at:
        watch = await at.watch(1)
        changes = (Synced(), seen(A, "a1"), seen(A, "a1"), seen(A, "a1", "a2"), gone(B), gone(A), gone(A), seen(A))
        for change in changes:
            watch.put_nowait(change)
        await until(lambda: at.sink.table == {"a": ()} and watch.empty())
        assert at.sink.calls == ["reset", "put a", "put a", "drop a", "put a"]
        assert set(at.routing.table) == {A}


@pytest.mark.parametrize("ending", [RuntimeError("lost"), OSError("gone"), None])
async def test_a_watch_that_ends_is_started_again_with_the_old_table_in_force(ending: Exception | None) -> None:
    with capture_logs():
        async with bench() as at:
            first = await at.watch(1)
            for change in (seen(A, "a1"), seen(B, "b1"), Synced()):
                first.put_nowait(change)
            await at.routing.wait_synced()
            first.put_nowait(ending)
            await until(lambda: at.provider.closed == 1)
            assert at.sink.table == {"a": ("a1",), "b": ("b1",)}
            await at.clock.advance(0.1)
            second = await at.watch(2)
            second.put_nowait(seen(A, "a2"))
            await until(second.empty)
            assert at.sink.table == {"a": ("a1",), "b": ("b1",)}
            second.put_nowait(Synced())
            await until(lambda: at.sink.table == {"a": ("a2",)})
            assert at.sink.calls == ["reset", "reset"]
            assert at.routing.restarts == 1


async def test_failures_in_a_row_wait_longer_until_one_watch_is_whole() -> None:
    with capture_logs() as logged:
        async with bench() as at:
            for number in range(1, 12):
                (await at.watch(number)).put_nowait(RuntimeError("no"))
                await until(lambda number=number: at.routing.restarts == number)  # type: ignore[misc]
                await at.clock.advance(20)
            whole = await at.watch(12)
            whole.put_nowait(Synced())
            whole.put_nowait(None)
            await until(lambda: at.routing.restarts == 12)
    waits = [entry["retry_in"] for entry in logged]
    assert waits[:4] == [0.1, 0.2, 0.4, 0.8]
    assert max(waits) == waits[10] == 10.0
    assert waits[11] == 0.1


async def test_stopping_closes_the_watch_and_keeps_the_table() -> None:
    async with bench() as at:
        watch = await at.watch(1)
        watch.put_nowait(seen(A, "a1"))
        watch.put_nowait(Synced())
        await at.routing.wait_synced()
    assert at.provider.closed == 1
    assert at.sink.table == {"a": ("a1",)}
    await at.routing.stop()


async def test_annotations_reach_the_policy_and_wrong_ones_do_not_stop_the_routing() -> None:
    with capture_logs() as logged:
        async with bench() as at:
            watch = await at.watch(1)
            watch.put_nowait(seen(A, "a1", annotations={"com.hilbert.timeout.total": "7s"}))
            watch.put_nowait(seen(B, "b1", annotations={"com.hilbert.timeout.total": "soon"}))
            watch.put_nowait(Synced())
            await at.routing.wait_synced()
            assert at.sink.routes["a"].policy.total == 7
            assert at.sink.routes["b"].policy.total == 0
            assert at.sink.routes["b"].endpoints
    (entry,) = logged
    assert entry["function"] == "b.dev"


@pytest.mark.parametrize("fires", [True, False])
async def test_a_route_says_whether_the_gateway_calls_the_function_at_set_times(fires: bool) -> None:
    said = {"topic": "cron-function", "schedule": "0 9 * * *"}
    async with bench(fires=fires) as at:
        watch = await at.watch(1)
        watch.put_nowait(seen(A, "a1", annotations=said))
        watch.put_nowait(seen(B, "b1", annotations={**said, "com.hilbert.schedule.by": "connector"}))
        watch.put_nowait(seen(C, "c1", annotations={**said, "schedule": "0 9 * * 7"}))
        watch.put_nowait(Synced())
        await at.routing.wait_synced()
        assert [at.sink.routes[name].scheduled for name in "abc"] == [fires, False, False]


async def test_what_cannot_be_woken_is_refused_for_a_moment_and_news_end_that() -> None:
    clock, sink, provider = ManualClock(), Sink(), Scripted()
    routing = Routing(cast(Provider, provider), sink, GatewaySettings(), clock=clock)
    routing.start()
    await _settle(lambda: provider.watches)
    for change in (seen(A), seen(B, "b-1"), seen(C), Synced()):
        provider.watches[0].put_nowait(change)
    await routing.wait_synced()
    fault = StartFault("QuotaExceeded", "the namespace's quota is used up")
    for ref in (A, A, B, C, FunctionRef.parse("unknown.dev")):
        routing.refuse(ref, fault)
    assert {name for name, route in sink.routes.items() if route.fault} == {"a", "c"}, "b has somebody who answers"
    assert sink.calls.count("put a") == 1
    provider.watches[0].put_nowait(seen(C, "c-1"))
    await _settle(lambda: sink.routes["c"].endpoints)
    assert sink.routes["c"].fault is None
    await _settle(lambda: clock._sleepers)
    await clock.advance(3)
    assert sink.routes["a"].fault is None, "the next call may try again"
    assert sink.routes["c"].endpoints
    routing.refuse(A, fault)
    await routing.stop()


async def _settle(met: Callable[[], object]) -> None:
    for _ in range(1000):
        if met():
            return
        await asyncio.sleep(0)
    raise AssertionError("did not come true")
