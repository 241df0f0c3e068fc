"""The host provider's behaviour towards runtimes that fail, and over its own deaths."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from hilbert.core.errors import (
    Forbidden,
    FunctionNotFound,
    ImageUnavailable,
    InvalidSpec,
    NamespaceNotFound,
    QuotaExceeded,
)
from hilbert.core.isolation import Promise
from hilbert.core.model import (
    ANNOTATION_ISOLATION,
    ANNOTATION_NETWORK,
    LABEL_SCALE_MIN,
    Namespace,
    Phase,
    Resources,
)
from hilbert.core.network import ANNOTATION_EGRESS, NetworkKind, NetworkUse
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import Duration, FunctionRef, NamespaceName, Quantity
from hilbert.kit.aio import ManualClock
from hilbert.providers.host import reconcile
from hilbert.providers.host.cell import backoff
from hilbert.testing.harness import eventually, spec_of, watching
from support.hosts import QUICK, HostHarness
from support.runtimes import (
    AnnouncingRuntime,
    CannotStart,
    FakeRuntime,
    FlakyRuntime,
    NeverReady,
    SlowRuntime,
    Stubborn,
    World,
)

pytestmark = pytest.mark.anyio


@contextlib.asynccontextmanager
async def host(
    make: Callable[[World], FakeRuntime] = AnnouncingRuntime,
    *,
    settings: ProviderSettings = QUICK,
    clock: ManualClock | None = None,
) -> AsyncIterator[HostHarness]:
    harness = HostHarness(make, settings=settings, clock=clock)
    await harness.start()
    try:
        yield harness
    finally:
        await harness.close()


async def test_an_image_that_can_never_run_is_refused_and_promises_nothing() -> None:
    async with host() as harness:
        with pytest.raises(ImageUnavailable):
            await harness.provider.apply(spec_of(harness, image="none"))
        with pytest.raises(FunctionNotFound):
            await harness.provider.get(spec_of(harness).ref)


async def test_more_replicas_than_the_machine_allows_are_refused() -> None:
    settings = ProviderSettings(max_replicas=3, drain_delay=QUICK.drain_delay)
    async with host(settings=settings) as harness:
        with pytest.raises(InvalidSpec, match=r"provider\.max_replicas"):
            await harness.provider.apply(spec_of(harness, labels={LABEL_SCALE_MIN: "4"}))
        await harness.provider.apply(spec_of(harness))
        with pytest.raises(QuotaExceeded, match="limit of 3"):
            await harness.provider.scale(spec_of(harness).ref, 4)


async def test_starts_run_side_by_side() -> None:
    async with host(SlowRuntime) as harness:
        spec = spec_of(harness, labels={LABEL_SCALE_MIN: "4"})
        await harness.provider.apply(spec)
        assert isinstance(harness.runtime, SlowRuntime)
        await eventually(lambda: harness.runtime.waiting == 4)  # type: ignore[attr-defined]
        harness.runtime.go.set()
        async with watching(harness.provider) as table:
            await table.ready(spec.ref, 4)


async def test_scaling_down_during_a_start_leaves_nothing_behind() -> None:
    async with host(SlowRuntime) as harness:
        spec = spec_of(harness, labels={LABEL_SCALE_MIN: "2"})
        await harness.provider.apply(spec)
        runtime = harness.runtime
        assert isinstance(runtime, SlowRuntime)
        await eventually(lambda: runtime.waiting == 2)
        await harness.provider.scale(spec.ref, 0)
        await harness.provider.remove(spec.ref)
        runtime.go.set()
        await eventually(lambda: len(harness.world.stopped) == 2)
        assert harness.world.running() == []


async def test_a_replica_leaves_the_routes_before_it_is_stopped() -> None:
    """And is stopped only after the drain delay, with the grace that its function asked for."""
    settings = ProviderSettings(drain_delay=Duration.of(0.3), grace=Duration.of(5))
    async with host(settings=settings) as harness:
        spec = spec_of(harness, env={"write_timeout": "1m"})
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            (endpoint,) = await table.ready(spec.ref)
            await harness.provider.scale(spec.ref, 0)
            await table.ready(spec.ref, 0)
            assert harness.world.running() == [endpoint.replica]
            assert harness.world.stopped == []
            await eventually(lambda: harness.world.stopped)
            assert harness.world.stopped == [(endpoint.replica, Duration.of(60))]


async def test_a_replica_that_is_one_too_many_finishes_its_calls_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least busy goes; one with calls leaves the routes at once and is stopped when they have ended."""
    monkeypatch.setattr(reconcile, "_COUNTED_WITHIN", 0.02)
    monkeypatch.setattr(reconcile, "_CALLS_AGAIN", 0.02)
    async with host() as harness:
        spec = spec_of(harness, labels={LABEL_SCALE_MIN: "2"})
        busy: dict[str, int] = {}
        asked: list[int] = []

        def read(_ref: FunctionRef) -> dict[str, int]:
            asked.append(1)
            return busy

        harness.provider.tell_busy(read)
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            one, two = await table.ready(spec.ref, 2)
            busy[two.address] = 1
            await harness.provider.scale(spec.ref, 1)
            assert await table.ready(spec.ref, 1) == (two,)
            await eventually(lambda: [name for name, _ in harness.world.stopped] == [one.replica])
            await harness.provider.scale(spec.ref, 0)
            await table.ready(spec.ref, 0)
            count = len(asked)
            await eventually(lambda: len(asked) > count + 3)
            assert harness.world.running() == [two.replica]
            busy.clear()
            await eventually(lambda: not harness.world.running())


async def test_a_replica_with_calls_ends_with_its_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "_COUNTED_WITHIN", 0.02)
    async with host() as harness:
        spec = spec_of(harness)
        busy: dict[str, int] = {}
        harness.provider.tell_busy(lambda _ref: busy)
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            (one,) = await table.ready(spec.ref)
            busy[one.address] = 1
            await harness.provider.scale(spec.ref, 0)
            await table.ready(spec.ref, 0)
            await harness.provider.remove(spec.ref)
            await eventually(lambda: not harness.world.running())


@pytest.mark.parametrize(("text", "seconds"), [("1s", 5), ("7", 7), ("nonsense", 5), ("10000h", 3600)])
async def test_the_grace_is_the_longer_of_two_and_bounded(text: str, seconds: float) -> None:
    settings = ProviderSettings(drain_delay=Duration.of(0), grace=Duration.of(5))
    async with host(settings=settings) as harness:
        spec = spec_of(harness, env={"write_timeout": text})
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            await table.ready(spec.ref)
        await harness.provider.remove(spec.ref)
        await eventually(lambda: harness.world.stopped)
        assert harness.world.stopped[0][1] == Duration.of(seconds)


async def test_a_generation_that_never_becomes_ready_never_replaces_the_old_one() -> None:
    """It is given up after the start timeout, tried again with a delay, and the status says why."""
    clock = ManualClock()
    async with host(NeverReady, clock=clock) as harness:
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            (old,) = await table.ready(spec.ref)
            since = len(table.history)
            await provider.apply(spec_of(harness, env={"broken": "1"}))
            await eventually(lambda: len(harness.world.running()) == 2)
            status = await provider.get(spec.ref)
            assert (status.phase, status.generation, status.ready_generation) == (Phase.UPDATING, 2, 1)
            await clock.advance(31)
            provider._reconciler.wake(spec.ref)
            await eventually(lambda: len(harness.world.stopped) == 1)
            status = await provider.get(spec.ref)
            assert (status.phase, status.available) == (Phase.UPDATING, 1)
            assert (status.reason, status.message) == ("ProbeFailing", "a replica did not become ready within 30s")
            assert harness.world.stopped[0][0] != old.replica
            assert all(seen.endpoints == (old,) for seen in table.history[since:])
            await provider.apply(spec_of(harness, env={"fixed": "1"}))
            await eventually(lambda: table.endpoints(spec.ref) and old not in table.endpoints(spec.ref))
            status = await provider.get(spec.ref)
            assert (status.phase, status.ready_generation, status.reason) == (Phase.READY, 3, "")


async def test_a_crash_loop_is_slowed_down_explained_and_over_after_a_while() -> None:
    clock = ManualClock()
    async with host(clock=clock) as harness:
        provider, world, spec = harness.provider, harness.world, spec_of(harness)
        runtime = harness.runtime
        assert isinstance(runtime, AnnouncingRuntime)
        await provider.apply(spec)
        async with watching(provider) as table:

            def its_own() -> list[str]:
                return [name for name in world.running() if name.startswith("echo-")]

            async def crash() -> None:
                (replica,) = await eventually(its_own)
                await table.ready(spec.ref)
                world.die(replica, message="a replica exited with status 3: no such file")
                runtime.announce(replica)
                await eventually(lambda: replica in {name for name, _ in world.stopped})

            await crash()  # The first one is replaced at once.
            await crash()

            async def given_up() -> bool:
                return (await provider.get(spec.ref)).phase is Phase.FAILED

            await eventually(given_up)
            other = spec_of(harness, "other")
            provider._reconciler.wake(spec.ref)
            await provider.apply(other)
            await table.ready(other.ref)  # It came after, and would not have been started first.
            assert its_own() == [], "the second one waits"
            status = await provider.get(spec.ref)
            assert (status.phase, status.available) == (Phase.FAILED, 0)
            assert (status.reason, status.message) == ("CrashLoop", "a replica exited with status 3: no such file")
            await clock.advance(backoff(2))
            provider._reconciler.wake(spec.ref)
            await table.ready(spec.ref)
            assert (await provider.get(spec.ref)).reason == "CrashLoop", "it is too early to forget"
            await clock.advance(11)
            provider._reconciler.wake(spec.ref)

            async def forgotten() -> bool:
                return (await provider.get(spec.ref)).reason == ""

            await eventually(forgotten)
            await crash()
            await table.ready(spec.ref)  # The first one again.


def test_back_off_doubles_to_half_a_minute() -> None:
    assert [backoff(failures) for failures in (1, 2, 3, 4, 9, 50)] == [0, 0.25, 0.5, 1, 30, 30]


async def test_replicas_that_crash_together_count_as_one_failure() -> None:
    async with host(clock=ManualClock()) as harness:
        provider, spec = harness.provider, spec_of(harness, labels={LABEL_SCALE_MIN: "5"})
        await provider.apply(spec)
        async with watching(provider) as table:
            before = await table.ready(spec.ref, 5)
            assert isinstance(harness.clock, ManualClock)
            await harness.clock.advance(1)
            for endpoint in before:
                harness.world.die(endpoint.replica)
            harness.runtime.announce(before[0].replica)  # type: ignore[attr-defined]
            await eventually(lambda: {*table.endpoints(spec.ref)}.isdisjoint(before) and table.endpoints(spec.ref))
            await table.ready(spec.ref, 5)


async def test_a_replica_killed_for_memory_says_so() -> None:
    async with host(clock=ManualClock()) as harness:
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            for _ in range(2):
                (endpoint,) = await table.ready(spec.ref)
                harness.world.die(endpoint.replica, reason="OOMKilled", message="a replica was killed for memory")
                harness.runtime.announce(endpoint.replica)  # type: ignore[attr-defined]
                await eventually(lambda e=endpoint: e not in table.endpoints(spec.ref))  # type: ignore[misc]
        assert (await provider.get(spec.ref)).reason == "OOMKilled"


async def test_a_start_that_fails_is_explained_and_tried_again() -> None:
    clock = ManualClock()
    async with host(CannotStart, clock=clock) as harness:
        spec = spec_of(harness)
        await harness.provider.apply(spec)
        runtime = harness.runtime

        async def failed() -> bool:
            return (await harness.provider.get(spec.ref)).phase is Phase.FAILED

        await eventually(failed)
        status = await harness.provider.get(spec.ref)
        assert (status.reason, status.message) == ("StartFailed", "the machine is made of cheese")
        await eventually(lambda: len(harness.world.stopped) == 2)  # The second try came at once, the third waits.
        tried = len(runtime.steps) + len(harness.world.started)
        await clock.advance(1)
        harness.provider._reconciler.wake(spec.ref)
        await eventually(lambda: len(harness.world.stopped) == 3)
        assert tried == 0
        assert harness.world.running() == []


async def test_a_stop_that_fails_is_tried_until_it_works() -> None:
    clock = ManualClock()
    async with host(lambda world: Stubborn(world, times=2), clock=clock) as harness:
        spec = spec_of(harness)
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            await table.ready(spec.ref)
        await harness.provider.remove(spec.ref)

        async def ended() -> bool:
            await clock.advance(2)
            harness.provider._reconciler.wake(spec.ref)
            return harness.world.running() == []

        await eventually(ended)


@pytest.mark.parametrize("checkpoint", ["handle stored", "process stored", "started"])
async def test_a_death_at_any_point_of_a_start_heals_on_return(checkpoint: str) -> None:
    """What was promised runs, once; what was half started is gone."""
    harness = HostHarness(lambda world: FlakyRuntime(world, fail_at=checkpoint))
    await harness.start()
    try:
        spec = spec_of(harness)
        await harness.provider.apply(spec)
        assert isinstance(harness.runtime, FlakyRuntime)
        await asyncio.wait_for(harness.runtime.failed.wait(), 10)
        await harness.die()
        await harness.start(FakeRuntime)
        async with watching(harness.provider) as table:
            (endpoint,) = await table.ready(spec.ref)
        await eventually(lambda: harness.world.running() == [endpoint.replica])
        stored = await harness.provider._store.load()
        assert [record.handle.replica for record in stored.replicas] == [endpoint.replica]
    finally:
        await harness.close()


async def test_what_was_removed_while_it_ran_is_stopped_after_a_death() -> None:
    settings = ProviderSettings(drain_delay=Duration.of(60))
    harness = HostHarness(settings=settings)
    await harness.start()
    try:
        spec, other = spec_of(harness), spec_of(harness, "other")
        await harness.provider.apply(spec)
        await harness.provider.apply(other)
        async with watching(harness.provider) as table:
            await table.ready(spec.ref)
            (kept,) = await table.ready(other.ref)
        await harness.provider.remove(spec.ref)
        assert len(harness.world.running()) == 2
        harness.settings = QUICK
        await harness.restart()
        await eventually(lambda: harness.world.running() == [kept.replica])
    finally:
        await harness.close()


async def test_a_replica_that_died_with_the_control_plane_away_is_replaced() -> None:
    async with host() as harness:
        spec = spec_of(harness)
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            (old,) = await table.ready(spec.ref)
        await harness.die()
        harness.world.die(old.replica)
        await harness.start()
        async with watching(harness.provider) as table:
            (new,) = await table.ready(spec.ref)
        assert new != old


async def test_a_namespace_without_network_takes_it_from_running_replicas() -> None:
    async with host() as harness:
        provider, dev = harness.provider, NamespaceName("dev")
        await provider.create_namespace(Namespace(name=dev))
        spec = spec_of(harness, namespace="dev", annotations={ANNOTATION_NETWORK: "tenant"})
        await provider.apply(spec)
        async with watching(provider) as table:
            (old,) = await table.ready(spec.ref)
            await provider.update_namespace(Namespace(name=dev, annotations={ANNOTATION_NETWORK: "none"}))
            await eventually(lambda: old not in table.endpoints(spec.ref))
            (new,) = await table.ready(spec.ref)
            assert table.sets[spec.ref].namespace_annotations == {ANNOTATION_NETWORK: "none"}
        plans = {plan.replica: plan for plan in harness.world.started}
        assert plans[old.replica].network == NetworkUse(NetworkKind.TENANT)
        assert plans[new.replica].network == NetworkUse(NetworkKind.NONE)
        assert (await provider.get(spec.ref)).generation == 1, "the spec has not changed"


async def test_only_a_namespace_can_have_the_hosts_network() -> None:
    async with host() as harness:
        provider, dev = harness.provider, NamespaceName("dev")
        await provider.create_namespace(Namespace(name=dev))
        spec = spec_of(harness, namespace="dev", annotations={ANNOTATION_NETWORK: "host"})
        with pytest.raises(Forbidden, match="its namespace has tenant"):
            await provider.apply(spec)
        await provider.update_namespace(Namespace(name=dev, annotations={ANNOTATION_NETWORK: "host"}))
        await provider.apply(spec)
        async with watching(provider) as table:
            (old,) = await table.ready(spec.ref)
            await provider.update_namespace(Namespace(name=dev))
            await eventually(lambda: old not in table.endpoints(spec.ref))
            (new,) = await table.ready(spec.ref)
        kinds = {plan.replica: plan.network.kind for plan in harness.world.started}
        assert (kinds[old.replica], kinds[new.replica]) == (NetworkKind.HOST, NetworkKind.TENANT)


async def test_a_changed_egress_starts_new_replicas() -> None:
    async with host() as harness:
        provider, dev = harness.provider, NamespaceName("dev")
        await provider.create_namespace(Namespace(name=dev))
        spec = spec_of(harness, namespace="dev")
        await provider.apply(spec)
        async with watching(provider) as table:
            (old,) = await table.ready(spec.ref)
            await provider.update_namespace(Namespace(name=dev, annotations={ANNOTATION_EGRESS: "10.1.0.0/16:5432"}))
            await eventually(lambda: old not in table.endpoints(spec.ref))
            (new,) = await table.ready(spec.ref)
        egress = {plan.replica: str(plan.network.egress) for plan in harness.world.started}
        assert (egress[old.replica], egress[new.replica]) == ("internet", "10.1.0.0/16:5432")


async def test_a_namespace_that_demands_isolation_passes_it_on() -> None:
    async with host() as harness:
        dev = NamespaceName("dev")
        await harness.provider.create_namespace(Namespace(name=dev, annotations={ANNOTATION_ISOLATION: "files, ipc"}))
        spec = spec_of(harness, namespace="dev")
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            await table.ready(spec.ref)
        assert [plan.required for plan in harness.world.started] == [{Promise.FILES, Promise.IPC}]


async def test_a_namespaces_limits_are_those_of_replicas_that_state_none() -> None:
    async with host() as harness:
        provider, dev = harness.provider, NamespaceName("dev")
        await provider.create_namespace(Namespace(name=dev, annotations={"com.hilbert.quota.memory": "1Gi"}))
        await provider.apply(spec_of(harness, namespace="dev"))
        await eventually(lambda: harness.world.started)
        (plan,) = harness.world.started
        assert plan.spec.limits == Resources(memory=Quantity.parse("128Mi"))
        assert (await provider.get(plan.spec.ref)).spec.limits is None, "told as it was given"


async def test_a_namesake_of_a_deleted_namespace_has_another_number() -> None:
    async with host() as harness:
        provider, dev = harness.provider, NamespaceName("dev")
        spec = spec_of(harness, namespace="dev")
        for _ in range(2):
            await provider.create_namespace(Namespace(name=dev))
            await provider.apply(spec)
            async with watching(provider) as table:
                await table.ready(spec.ref)
            await provider.delete_namespace(dev)
            with pytest.raises(NamespaceNotFound):
                await provider.get(spec.ref)
        first, second = (plan.tenant for plan in harness.world.started)
        assert first != second


async def test_stopping_all_replicas_leaves_none_and_the_next_run_starts_them_again() -> None:
    async with host() as harness:
        spec = spec_of(harness, labels={LABEL_SCALE_MIN: "2"})
        await harness.provider.apply(spec)
        async with watching(harness.provider) as table:
            await table.ready(spec.ref, 2)
        await harness.provider.close(stop_replicas=True)
        assert harness.world.running() == []
        harness.database.close()
        await harness.start()
        async with watching(harness.provider) as table:
            await table.ready(spec.ref, 2)
