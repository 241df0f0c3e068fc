"""What every `Provider` does, as tests: subclass `ProviderContract` and give it a `harness` fixture.

    @pytest.fixture
    async def harness() -> AsyncIterator[Harness]: ...

    class TestMine(ProviderContract):
        pass

The image that the harness names must answer each request with the request's own body, and write a line for each call.
"""
# ruff: noqa: S101 - assertions are what a suite is made of

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime, timedelta

import pytest

from hilbert.core import ports
from hilbert.core.errors import (
    AlreadyExists,
    FunctionNotFound,
    Invalid,
    InvalidSpec,
    NamespaceNotFound,
)
from hilbert.core.model import (
    ANNOTATION_NETWORK,
    LABEL_SCALE_MIN,
    LogLine,
    LogQuery,
    Phase,
)
from hilbert.core.ports import Restarts
from hilbert.testing.harness import (
    PATIENCE,
    Harness,
    eventually,
    lines_of,
    logs_of,
    spec_of,
    watching,
)
from hilbert.testing.tenants import TenantContract


@pytest.mark.anyio
class ProviderContract(TenantContract):
    """The behaviour list. Tests of a capability are skipped where the provider lacks it."""

    async def test_an_applied_function_becomes_ready_and_answers(self, harness: Harness) -> None:
        """From a spec to a call, and the status agrees."""
        provider, spec = harness.provider, spec_of(harness)
        async with watching(provider) as table:
            await provider.apply(spec, create=True)
            (endpoint,) = await table.ready(spec.ref)
            assert await harness.call(endpoint, b"hello") == (200, b"hello")
            assert table.sets[spec.ref].spec == spec
        status = await provider.get(spec.ref)
        assert (status.spec, status.replicas, status.available) == (spec, 1, 1)
        assert (status.phase, status.generation, status.ready_generation) == (Phase.READY, 1, 1)
        assert status.placement["provider"] == provider.name
        assert datetime.now(UTC) - status.created_at < timedelta(minutes=10)

    async def test_create_and_update_insist_on_absence_and_presence(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness)
        with pytest.raises(FunctionNotFound):
            await provider.apply(spec, create=False)
        await provider.apply(spec, create=True)
        with pytest.raises(AlreadyExists):
            await provider.apply(spec, create=True)
        await provider.apply(spec, create=False)
        await provider.apply(spec)

    async def test_a_namespace_that_is_none_is_refused_everywhere(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness, namespace="nowhere")
        for attempt in (
            provider.apply(spec),
            provider.scale(spec.ref, 1),
            provider.remove(spec.ref),
            provider.get(spec.ref),
            provider.list(spec.ref.namespace),
        ):
            with pytest.raises(NamespaceNotFound):
                await attempt

    async def test_a_function_that_is_none_is_not_found(self, harness: Harness) -> None:
        provider, ref = harness.provider, spec_of(harness, "missing").ref
        with pytest.raises(FunctionNotFound):
            await provider.get(ref)
        with pytest.raises(FunctionNotFound):
            await provider.scale(ref, 2)
        await provider.remove(ref)  # Absence is success.

    async def test_functions_are_listed_by_name(self, harness: Harness) -> None:
        provider = harness.provider
        for name in ("b", "c", "a"):
            await provider.apply(spec_of(harness, name))
        listed = await provider.list(harness.namespace())
        assert [status.spec.ref.name for status in listed] == ["a", "b", "c"]

    async def test_scaling_up_down_and_to_nothing(self, harness: Harness) -> None:
        """Each replica is one of its own and answers."""
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            await provider.scale(spec.ref, 3)
            three = await table.ready(spec.ref, 3)
            assert len({endpoint.replica for endpoint in three} | {endpoint.address for endpoint in three}) == 6
            for endpoint in three:
                assert await harness.call(endpoint, b"x") == (200, b"x")
            await provider.scale(spec.ref, 1)
            (one,) = await table.ready(spec.ref, 1)
            assert one in three
            await provider.scale(spec.ref, 0)
            await table.ready(spec.ref, 0)
            status = await provider.get(spec.ref)
            assert (status.replicas, status.available, status.phase) == (0, 0, Phase.IDLE)
            await provider.scale(spec.ref, 1)
            (again,) = await table.ready(spec.ref, 1)
            assert again.replica not in {endpoint.replica for endpoint in three}

    async def test_less_than_nothing_is_refused(self, harness: Harness) -> None:
        spec = spec_of(harness)
        await harness.provider.apply(spec)
        with pytest.raises(Invalid):
            await harness.provider.scale(spec.ref, -1)

    async def test_the_minimum_label_sets_the_count_and_an_update_without_keeps_it(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness, labels={LABEL_SCALE_MIN: "2"})
        await provider.apply(spec)
        assert (await provider.get(spec.ref)).replicas == 2
        await provider.scale(spec.ref, 3)
        await provider.apply(spec_of(harness, env={"a": "b"}))
        assert (await provider.get(spec.ref)).replicas == 3
        await provider.apply(spec_of(harness, labels={LABEL_SCALE_MIN: "1"}))
        assert (await provider.get(spec.ref)).replicas == 1
        await provider.scale(spec.ref, 2)
        await provider.apply(spec_of(harness, labels={LABEL_SCALE_MIN: "nonsense"}))
        assert (await provider.get(spec.ref)).replicas == 2

    async def test_a_removed_function_is_gone_and_its_name_is_free(self, harness: Harness) -> None:
        """Also while the old replicas are still draining."""
        provider, spec = harness.provider, spec_of(harness)
        async with watching(provider) as table:
            await provider.apply(spec)
            (old,) = await table.ready(spec.ref)
            await provider.remove(spec.ref)
            await eventually(lambda: table.sets[spec.ref].spec is None)
            assert table.sets[spec.ref].endpoints == ()
            with pytest.raises(FunctionNotFound):
                await provider.get(spec.ref)
            await provider.apply(spec, create=True)
            (new,) = await table.ready(spec.ref)
            assert new.replica != old.replica
            assert (await harness.call(new, b"again"))[1] == b"again"
            assert (await provider.get(spec.ref)).generation == 1

    async def test_the_same_spec_again_is_no_new_generation(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        await provider.apply(spec)
        assert (await provider.get(spec.ref)).generation == 1
        await provider.apply(spec_of(harness, env={"a": "b"}))
        assert (await provider.get(spec.ref)).generation == 2

    async def test_a_roll_out_never_leaves_the_function_without_an_endpoint(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness, labels={LABEL_SCALE_MIN: "2"})
        async with watching(provider) as table:
            await provider.apply(spec)
            await table.ready(spec.ref, 2)
            since = len(table.history)
            await provider.apply(spec_of(harness, env={"version": "2"}))

            async def rolled_out() -> bool:
                status = await provider.get(spec.ref)
                return status.ready_generation == 2 and len(table.endpoints(spec.ref)) == 2

            await eventually(rolled_out)
            await eventually(lambda: table.sets[spec.ref].spec == spec_of(harness, env={"version": "2"}))
            assert all(len(seen.endpoints) >= 2 for seen in table.history[since:] if seen.ref == spec.ref)

    async def test_a_spec_can_be_asked_for_alone(self, harness: Harness) -> None:
        """Also by providers that know no quicker way."""
        spec = spec_of(harness)
        asked = ports.spec_of(harness.provider)
        with pytest.raises(FunctionNotFound):
            await asked(spec.ref)
        await harness.provider.apply(spec)
        assert await asked(spec.ref) == spec == (await harness.provider.get(spec.ref)).spec
        await harness.provider.remove(spec.ref)
        with pytest.raises(FunctionNotFound):
            await asked(spec.ref)

    async def test_a_restart_replaces_every_replica_and_is_never_without_one(self, harness: Harness) -> None:
        """Also one that changes nothing else; what is not there cannot be restarted."""
        provider, spec = harness.provider, spec_of(harness)
        if not isinstance(provider, Restarts):
            pytest.skip("this provider restarts nothing")
        await provider.apply(spec)
        async with watching(provider) as table:
            await provider.scale(spec.ref, 2)
            before = {*await table.ready(spec.ref, 2)}
            since = len(table.history)
            await provider.restart(spec.ref)

            def replaced() -> bool:
                now = {*table.endpoints(spec.ref)}
                return len(now) == 2 and now.isdisjoint(before)

            await eventually(replaced)
            assert all(seen.endpoints for seen in table.history[since:])
            for endpoint in table.endpoints(spec.ref):
                assert await harness.call(endpoint, b"x") == (200, b"x")
        status = await provider.get(spec.ref)
        assert (status.spec, status.replicas, status.available, status.phase) == (spec, 2, 2, Phase.READY)
        with pytest.raises(FunctionNotFound):
            await provider.restart(spec_of(harness, "nobody").ref)

    async def test_watchers_come_late_and_see_all(self, harness: Harness) -> None:
        """Levels: a new watcher gets each function once before `Synced`, whatever happened before."""
        provider, spec = harness.provider, spec_of(harness)
        async with watching(provider) as first:
            await provider.apply(spec)
            await provider.apply(spec_of(harness, "other"))
            await first.ready(spec.ref)
            async with watching(provider) as second:
                assert {spec.ref, spec_of(harness, "other").ref} == set(second.sets)
                assert second.endpoints(spec.ref) == first.endpoints(spec.ref)
                await provider.remove(spec.ref)
                for table in (first, second):
                    await eventually(lambda table=table: table.sets[spec.ref].spec is None)  # type: ignore[misc]

    async def test_a_cancelled_promise_is_kept_or_not_made(self, harness: Harness) -> None:
        provider = harness.provider
        for delay in (0, 0, 0.0005, 0.002):
            task = asyncio.ensure_future(provider.apply(spec_of(harness, "half")))  # noqa: TID251 - awaited below
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            names = {status.spec.ref.name for status in await provider.list(harness.namespace())}
            assert names <= {"half"}
        await provider.apply(spec_of(harness, "half"))
        assert (await provider.get(spec_of(harness, "half").ref)).spec == spec_of(harness, "half")

    async def test_what_belongs_to_the_platform_is_refused(self, harness: Harness) -> None:
        for spec in (
            spec_of(harness, env={"HILBERT_BUNDLE": "/"}),
            spec_of(harness, annotations={ANNOTATION_NETWORK: "some"}),
        ):
            with pytest.raises(InvalidSpec):
                await harness.provider.apply(spec)
        with pytest.raises(FunctionNotFound):
            await harness.provider.get(spec_of(harness).ref)

    async def test_a_crashed_replica_is_replaced(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness)
        async with watching(provider) as table:
            await provider.apply(spec)
            (old,) = await table.ready(spec.ref)
            if not await harness.crash(old):
                pytest.skip("a replica of this provider cannot crash")
            await eventually(lambda: table.endpoints(spec.ref) and old not in table.endpoints(spec.ref))
            (new,) = table.endpoints(spec.ref)
            assert (await harness.call(new, b"back"))[1] == b"back"

    async def test_promises_survive_a_restart_and_replicas_with_them(self, harness: Harness) -> None:
        """Nothing is started twice, nothing is lost, nothing runs that should not."""
        provider, spec = harness.provider, spec_of(harness)
        await provider.apply(spec)
        await provider.scale(spec.ref, 2)
        await provider.apply(spec_of(harness, "zero"))
        await provider.scale(spec_of(harness, "zero").ref, 0)
        async with watching(provider) as table:
            before = await table.ready(spec.ref, 2)
            await table.ready(spec_of(harness, "zero").ref, 0)
        if not await harness.restart():
            pytest.skip("this provider keeps nothing")
        async with watching(harness.provider) as table:
            assert set(table.endpoints(spec.ref)) == set(before), "adopted, and there from the first pass on"
            status = await harness.provider.get(spec.ref)
            assert (status.spec, status.replicas, status.generation) == (spec, 2, 1)
            for endpoint in before:
                assert (await harness.call(endpoint, b"still"))[1] == b"still"
            assert (await harness.provider.get(spec_of(harness, "zero").ref)).phase is Phase.IDLE

    # Logs

    async def test_logs_are_read_by_instance_time_and_tail(self, harness: Harness) -> None:
        provider, spec = harness.provider, spec_of(harness)
        logs_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            await provider.scale(spec.ref, 2)
            one, two = await table.ready(spec.ref, 2)
        for endpoint in (one, two, one):
            await harness.call(endpoint, b"something to say")

        async def written() -> bool:
            instances = [line.instance for line in await lines_of(harness, ref=spec.ref)]
            return {one.replica, two.replica} <= set(instances)

        await eventually(written)
        lines = await lines_of(harness, ref=spec.ref)
        assert [line.timestamp_ns for line in lines] == sorted(line.timestamp_ns for line in lines)
        assert {line.ref for line in lines} == {spec.ref}
        only = await lines_of(harness, ref=spec.ref, instance=one.replica)
        assert {line.instance for line in only} == {one.replica}
        assert len(await lines_of(harness, ref=spec.ref, tail=1)) == 1
        future = datetime.now(UTC) + timedelta(hours=1)
        assert await lines_of(harness, ref=spec.ref, since=future) == []
        past = datetime.now(UTC) - timedelta(hours=1)
        assert len(await lines_of(harness, ref=spec.ref, since=past)) >= len(lines)

    async def test_logs_of_a_function_that_is_none_are_not_found(self, harness: Harness) -> None:
        logs_of(harness)
        with pytest.raises(FunctionNotFound):
            await lines_of(harness, ref=spec_of(harness, "missing").ref)

    async def test_followers_get_lines_as_they_come(self, harness: Harness) -> None:
        """Until the function is removed."""
        provider, spec = harness.provider, spec_of(harness)
        logs = logs_of(harness)
        await provider.apply(spec)
        async with watching(provider) as table:
            (endpoint,) = await table.ready(spec.ref)
        seen: list[LogLine] = []

        async def follow() -> None:
            async for line in logs.read_logs(LogQuery(ref=spec.ref, follow=True)):
                seen.append(line)  # noqa: PERF401 - others look at it meanwhile

        task = asyncio.ensure_future(follow())  # noqa: TID251 - awaited below
        await harness.call(endpoint, b"one")
        await eventually(lambda: seen)
        count = len(seen)
        await harness.call(endpoint, b"two")
        await eventually(lambda: len(seen) > count)
        await provider.remove(spec.ref)
        async with asyncio.timeout(PATIENCE):
            await task
