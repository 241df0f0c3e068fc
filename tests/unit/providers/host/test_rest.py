"""What the host provider does while nothing happens."""

from __future__ import annotations

import asyncio

import pytest

from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import QUICK, HostHarness
from support.runtimes import AnnouncingRuntime

pytestmark = pytest.mark.anyio


async def test_a_function_at_rest_costs_next_to_nothing() -> None:
    """Nobody is asked while nothing happens."""
    harness = HostHarness(AnnouncingRuntime, settings=QUICK, clock=None)
    await harness.start()
    try:
        for number in range(20):
            await harness.provider.apply(spec_of(harness, f"f{number}"))
        async with watching(harness.provider) as table:
            for number in range(20):
                await table.ready(spec_of(harness, f"f{number}").ref)
            runtime, queue = harness.runtime, harness.provider._reconciler._queue
            assert isinstance(runtime, AnnouncingRuntime)

            def rests() -> bool:
                """Whether no function is looked at, or will be soon."""
                now = asyncio.get_running_loop().time()
                soon = [key for key, timer in queue._timers.items() if timer.when() < now + 20]
                return not (queue._queued or queue._active or queue._again or soon)

            await eventually(rests)
            checks, seen = runtime.checks, len(table.history)
            for _ in range(1000):
                await asyncio.sleep(0)
            assert rests()
            assert (runtime.checks, len(table.history)) == (checks, seen)
    finally:
        await harness.close()
