"""What the routes are told of a function that cannot start."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hilbert.core.model import Secret
from hilbert.core.values import DEFAULT_NAMESPACE, SecretName
from hilbert.kit.aio import ManualClock
from hilbert.providers.host.cell import backoff
from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import HostHarness
from support.runtimes import AnnouncingRuntime, CannotStart, FakeRuntime, World

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def host(
    make: Callable[[World], FakeRuntime] = AnnouncingRuntime, *, clock: ManualClock
) -> AsyncIterator[HostHarness]:
    harness = HostHarness(make, clock=clock)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()


async def test_a_function_that_cannot_start_is_told_with_the_reason_until_it_is_deployed_anew() -> None:
    """The sentence for callers keeps names of the owner's to itself."""
    async with host(clock=ManualClock()) as harness:
        provider = harness.provider
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, SecretName("key"), b"1"))
        spec = spec_of(harness, secrets=(SecretName("key"),))
        await provider.apply(spec)
        async with watching(provider) as table:
            (endpoint,) = await table.ready(spec.ref)
            await provider.delete_secret(DEFAULT_NAMESPACE, SecretName("key"))
            await harness.crash(endpoint)
            fault = await eventually(lambda: table.sets[spec.ref].fault)
            assert (fault.reason, fault.message) == ("SecretNotFound", "a secret that it needs does not exist")
            assert (await provider.get(spec.ref)).message == "unable to find secret: key"
            await provider.apply(spec_of(harness))
            (endpoint,) = await table.ready(spec.ref)
            assert table.sets[spec.ref].fault is None
            await harness.crash(endpoint)
            (after,) = await eventually(lambda: {*table.endpoints(spec.ref)} - {endpoint})
            assert after != endpoint
            assert all(seen.fault is None for seen in table.history[-2:]), "one that was ready may be again"


async def test_a_crash_loop_is_told_once_the_next_start_is_far() -> None:
    clock = ManualClock()
    async with host(clock=clock) as harness:
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            for failures in range(1, 5):
                (endpoint,) = await table.ready(spec.ref)
                assert table.sets[spec.ref].fault is None
                harness.world.die(endpoint.replica, reason="OOMKilled", message="a replica ran out of memory")
                harness.runtime.announce(endpoint.replica)  # type: ignore[attr-defined]
                await eventually(lambda e=endpoint: e not in table.endpoints(spec.ref))  # type: ignore[misc]
                if failures < 4:
                    await clock.advance(backoff(failures))
                    provider._reconciler.wake(spec.ref)
            fault = await eventually(lambda: table.sets[spec.ref].fault)
            assert (fault.reason, fault.message) == ("OOMKilled", "a replica ran out of memory")
            await clock.advance(backoff(4))
            provider._reconciler.wake(spec.ref)
            await table.ready(spec.ref)
            assert table.sets[spec.ref].fault is None


async def test_one_that_sleeps_is_not_told_to_be_broken() -> None:
    """A call may wake it, and then it is tried anew."""
    async with host(CannotStart, clock=ManualClock()) as harness:
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            await eventually(lambda: table.sets[spec.ref].fault)
            await provider.scale(spec.ref, 0)
            await eventually(lambda: table.sets[spec.ref].fault is None)
            await provider.scale(spec.ref, 1)
            await eventually(lambda: table.sets[spec.ref].fault)
