"""What namespaces use, over several gateways of a cluster: the sum, whoever is asked, and whoever has gone since."""

from __future__ import annotations

import os

import pytest

from hilbert.core.errors import QuotaExceeded
from hilbert.core.model import CpuTime, Usage
from hilbert.core.ports import Counted
from hilbert.kit.aio import ManualClock
from hilbert.providers.kubernetes.keep.usage_parts import LABEL
from hilbert.providers.kubernetes.view.usage import CpuClock
from support.cluster import AnyCluster, gateway, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def controllers() -> bool:
    """Nothing is to become of Deployments here."""
    return False


def days(cluster: AnyCluster) -> list[str]:
    found = cluster.objects("leases", cluster.platform, group="coordination.k8s.io")
    return sorted(label for one in found if (label := (one["metadata"].get("labels") or {}).get(LABEL)))


async def test_each_process_has_parts_of_its_own_which_outlive_it(cluster: AnyCluster) -> None:
    async with gateway(cluster) as reader:
        async with gateway(cluster) as one, gateway(cluster) as two:
            await one.keep_usage("2026-01-01", b"a")
            await one.keep_usage("2026-01-01", b"b")
            await one.keep_usage("2026-01-02", b"c")
            await two.keep_usage("2026-01-01", b"d")
            assert sorted(await one.usage_elsewhere()) == [("2026-01-01", b"d")]
            assert sorted(await two.usage_elsewhere()) == [("2026-01-01", b"b"), ("2026-01-02", b"c")]
        kept = [("2026-01-01", b"b"), ("2026-01-01", b"d"), ("2026-01-02", b"c")]
        assert sorted(await reader.usage_elsewhere()) == kept
        await reader.forget_usage("2026-01-02")
        assert days(cluster) == ["2026-01-02"]
        await reader.forget_usage("2027-01-01")
        assert days(cluster) == []


async def test_what_has_no_room_is_refused(cluster: AnyCluster) -> None:
    async with gateway(cluster) as one:
        with pytest.raises(QuotaExceeded):
            await one.keep_usage("2026-01-01", os.urandom(200_000))
        assert days(cluster) == []


async def test_counts_and_usage_do_not_get_into_each_others_way(cluster: AnyCluster) -> None:
    """Both are Leases of the platform's namespace, as is that of who leads."""
    f = cluster.ref("f")
    async with gateway(cluster) as one, gateway(cluster) as two:
        await one.keep_usage("2026-01-01", b"a")
        one.share_counts(lambda: {f: Counted(started=3, finished=3)})
        two.share_counts(dict)
        await until(lambda: two.counted_elsewhere(f).finished == 3)
        assert await two.usage_elsewhere() == [("2026-01-01", b"a")]
    assert days(cluster) == ["2026-01-01"]


async def test_namespaces_are_known_by_more_than_their_names(cluster: AnyCluster) -> None:
    async with gateway(cluster) as one:
        await one.wait_ready()
        ids = one.namespace_ids()
        assert len(ids[cluster.default]) == 36


async def test_only_who_leads_counts_cpu_time(cluster: AnyCluster) -> None:
    """Without a metrics API there is nothing to count, and nothing fails."""
    async with gateway(cluster) as one:
        await one.wait_ready()
        await until(lambda: one.leadership.leads)
        found: list[CpuTime] = list(await one.cpu_times())
        assert found == []


class Rates:
    """Of two functions, as the metrics API tells them."""

    async def of(self, namespace: str) -> dict[str, Usage]:
        return {"f": Usage(cpu_millis=250, memory_bytes=1)} if namespace == "dev" else {}


async def test_rates_become_seconds() -> None:
    clock = ManualClock()
    cpu = CpuClock(Rates(), clock, who="a")  # type: ignore[arg-type]  # all that is asked of it
    await clock.advance(30)
    assert [(str(one.ref), one.seconds) for one in await cpu.look(["dev", "prod"])] == [("f.dev", 7.5)]
    await clock.advance(10_000)
    assert [one.seconds for one in await cpu.look(["dev"])] == [37.5], "a rate is not taken to have held for hours"
    assert [one.seconds for one in await cpu.look([])] == [37.5]
