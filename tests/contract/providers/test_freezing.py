"""Functions that are frozen at zero: out of the way until a call comes, then there at once, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from hilbert.core.model import Endpoint
from hilbert.core.values import Duration, FunctionRef
from hilbert.runtimes.replica import freezing
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import ProcessLimits
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

LABELS = {"com.openfaas.scale.zero": "true"}
COUNTING = b"""
import threading, time
for thread in threading.enumerate():
    if thread.name == "counting":
        print(thread.counted[0])
        break
else:
    counted = [0]
    def count():
        while True:
            time.sleep(0.005)
            counted[0] += 1
    thread = threading.Thread(target=count, name="counting", daemon=True)
    thread.counted = counted
    thread.start()
    print("started")
"""
"""Starts a thread that counts, or says how far that has come."""


@pytest.fixture(params=["bubblewrap", "image", "image by signals"])
async def harness(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProcessHarness]:
    """A bundle and an image; with no control groups, there are only signals."""
    level = request.param.split()[0]
    harness = ProcessHarness(level, probe_period=0.5)
    if "signals" in request.param:
        monkeypatch.setattr("hilbert.runtimes.process.machine.find_limiter", lambda _: (ProcessLimits(), "none"))
        monkeypatch.setattr(ProcessHarness, "_machines", {})
    harness.settings = msgspec.structs.replace(harness.settings, idle="freeze")
    await harness.start()
    yield harness
    await harness.close()


def data_of(harness: ProcessHarness, endpoint: Endpoint) -> ReplicaData:
    return harness.runtime.replicas._monitors[endpoint.replica].data


async def frozen(harness: ProcessHarness, endpoint: Endpoint, ref: FunctionRef) -> None:
    """Until it is, and the provider has seen it."""
    await eventually(lambda: freezing.is_frozen(data_of(harness, endpoint)))
    while (await harness.provider.get(ref)).placement.get("frozen") != "1":
        await asyncio.sleep(0.01)


async def test_it_is_frozen_and_goes_on(harness: ProcessHarness) -> None:
    spec = spec_of(harness, "run", image="run", labels=LABELS)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        assert (await call(endpoint, COUNTING))[1] == b"started\n"
        await harness.provider.scale(spec.ref, 0)
        await table.ready(spec.ref, 0)
        await frozen(harness, endpoint, spec.ref)
        status = await harness.provider.get(spec.ref)
        assert (status.replicas, status.available) == (0, 0)
        # For longer than health is asked for, three times in a row: it is not ended for that.
        clock = asyncio.get_running_loop().time()
        await eventually(lambda: asyncio.get_running_loop().time() > clock + 3, within=10)
        await harness.provider.scale(spec.ref, 1)
        (again,) = await table.ready(spec.ref)
        assert again == endpoint
        counted = int((await call(again, COUNTING))[1])
        assert counted < 3 / 0.005, "it has not run meanwhile"
        await eventually(lambda: not freezing.is_frozen(data_of(harness, endpoint)))


async def test_what_is_frozen_can_be_ended_and_replaced(harness: ProcessHarness) -> None:
    spec = spec_of(harness, "run", image="run", labels=LABELS)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        await harness.provider.scale(spec.ref, 0)
        await frozen(harness, endpoint, spec.ref)
        await harness.provider.apply(msgspec.structs.replace(spec, env={"new": "yes"}))
        await eventually(lambda: not harness.processes())
        await harness.provider.scale(spec.ref, 1)
        (other,) = await table.ready(spec.ref)
        assert other.replica != endpoint.replica
        await harness.provider.scale(spec.ref, 0)
        await frozen(harness, other, spec.ref)
        await harness.provider.remove(spec.ref)
        await eventually(lambda: not harness.processes())


async def test_a_control_process_takes_back_what_is_frozen(harness: ProcessHarness) -> None:
    spec = spec_of(harness, "run", image="run", labels=LABELS)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        await harness.provider.scale(spec.ref, 0)
        await frozen(harness, endpoint, spec.ref)
    await harness.restart()
    assert freezing.is_frozen(data_of(harness, endpoint))
    async with watching(harness.provider) as table:
        await harness.provider.scale(spec.ref, 1)
        assert await table.ready(spec.ref) == (endpoint,)
        assert (await call(endpoint, b"print(1)"))[1] == b"1\n"


async def test_its_memory_is_given_back_after_a_while() -> None:
    harness = ProcessHarness("bubblewrap")
    harness.settings = msgspec.structs.replace(harness.settings, frozen_time=Duration.of(0.2))
    await harness.start()
    try:
        spec = spec_of(harness, "run", image="run", labels=LABELS, annotations={"com.hilbert.scale.idle": "freeze"})
        async with watching(harness.provider) as table:
            await harness.provider.apply(spec)
            await table.ready(spec.ref)
            await harness.provider.scale(spec.ref, 0)
            await eventually(lambda: not harness.processes())
            assert "frozen" not in (await harness.provider.get(spec.ref)).placement
            await harness.provider.scale(spec.ref, 1)
            await table.ready(spec.ref)
    finally:
        await harness.close()
