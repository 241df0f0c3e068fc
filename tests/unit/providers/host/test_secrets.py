"""How values of secrets reach replicas."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hilbert.core.model import Secret
from hilbert.core.values import DEFAULT_NAMESPACE, SecretName
from hilbert.kit.aio import ManualClock
from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import HostHarness
from support.runtimes import AnnouncingRuntime, FakeRuntime, SlowRuntime, World

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def host(
    make: Callable[[World], FakeRuntime] = AnnouncingRuntime, *, clock: ManualClock | None = None
) -> AsyncIterator[HostHarness]:
    harness = HostHarness(make, clock=clock)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()


async def test_an_updated_secret_reaches_running_replicas() -> None:
    async with host() as harness:
        provider, name = harness.provider, SecretName("token")
        spec, other = spec_of(harness, secrets=(name,)), spec_of(harness, "other")
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"old"))
        await provider.apply(spec)
        await provider.apply(other)
        async with watching(provider) as table:
            (endpoint,) = await table.ready(spec.ref)
            (without,) = await table.ready(other.ref)
        assert harness.world.bodies[endpoint.replica].secrets == {"token": b"old"}
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, name, b"new"))
        assert harness.world.bodies[endpoint.replica].secrets == {"token": b"new"}
        assert harness.world.bodies[without.replica].secrets == {}


async def test_a_secret_that_is_made_again_reaches_running_replicas_and_others_stay() -> None:
    """Those that have a deleted one keep it, whatever happens to their other secrets."""
    async with host() as harness:
        provider, name, other = harness.provider, SecretName("token"), SecretName("other")
        spec = spec_of(harness, secrets=(name, other))
        for one in (name, other):
            await provider.create_secret(Secret(DEFAULT_NAMESPACE, one, b"1"))
        await provider.apply(spec)
        async with watching(provider) as table:
            (endpoint,) = await table.ready(spec.ref)
        body = harness.world.bodies[endpoint.replica]
        await provider.delete_secret(DEFAULT_NAMESPACE, name)
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, other, b"2"))
        assert body.secrets == {"token": b"1", "other": b"2"}
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"3"))
        assert body.secrets == {"token": b"3", "other": b"2"}


async def test_a_deployment_after_a_change_of_a_secret_starts_new_replicas() -> None:
    """Also after it was made anew; not after the same value came again, nor for a secret of others."""
    async with host() as harness:
        provider, name = harness.provider, SecretName("token")
        spec = spec_of(harness, secrets=(name,))
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"1"))
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, SecretName("other"), b"1"))
        await provider.apply(spec)

        async def generation() -> int:
            await provider.apply(spec)
            return (await provider.get(spec.ref)).generation

        assert await generation() == 1
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, name, b"1"))
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, SecretName("other"), b"2"))
        assert await generation() == 1
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, name, b"2"))
        assert await generation() == 2
        assert await generation() == 2
        await provider.delete_secret(DEFAULT_NAMESPACE, name)
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"2"))
        assert await generation() == 3
        async with watching(provider) as table:
            await eventually(lambda: harness.world.started[-1].generation == 3)
            (endpoint,) = await eventually(
                lambda: [one for one in table.endpoints(spec.ref) if one.replica == harness.world.started[-1].replica]
            )
            assert harness.world.bodies[endpoint.replica].plan.secrets == {"token": b"2"}


async def test_a_secret_updated_during_a_start_is_not_missed() -> None:
    async with host(SlowRuntime) as harness:
        provider, name = harness.provider, SecretName("token")
        await provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"old"))
        spec = spec_of(harness, secrets=(name,))
        await provider.apply(spec)
        runtime = harness.runtime
        assert isinstance(runtime, SlowRuntime)
        await eventually(lambda: runtime.waiting)
        await provider.update_secret(Secret(DEFAULT_NAMESPACE, name, b"new"))
        runtime.go.set()
        async with watching(provider) as table:
            (endpoint,) = await table.ready(spec.ref)
        await eventually(lambda: harness.world.bodies[endpoint.replica].secrets == {"token": b"new"})


async def test_a_secret_updated_before_a_death_reaches_replicas_after_it() -> None:
    async with host() as harness:
        name = SecretName("token")
        await harness.provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"old"))
        spec = spec_of(harness, secrets=(name,))
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            (endpoint,) = await table.ready(spec.ref)
        await harness.provider._store.put_secret(Secret(DEFAULT_NAMESPACE, name, b"new"), create=False)
        await harness.restart()
        assert harness.world.bodies[endpoint.replica].secrets == {"token": b"new"}
