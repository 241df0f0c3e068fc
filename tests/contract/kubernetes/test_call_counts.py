"""Counts of calls, summed over gateways."""

from __future__ import annotations

import pytest

from hilbert.core.ports import Counted
from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.keep import call_counts
from hilbert.providers.kubernetes.keep.call_counts import LABEL
from support.cluster import AnyCluster, gateway, make_gateway, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def controllers() -> bool:
    """Nothing is to become of Deployments here."""
    return False


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_counts, "_EVERY", 0.05)


def calls(count: int) -> Counted:
    return Counted(finished=count, started=count)


def leases(cluster: AnyCluster) -> int:
    return sum(
        (one["metadata"].get("labels") or {}).get(LABEL) == "true"
        for one in cluster.objects("leases", cluster.platform, group="coordination.k8s.io")
    )


async def test_it_does_not_matter_which_gateway_is_asked(cluster: AnyCluster) -> None:
    """Also after one has counted more; one that stops takes its own counts with it, and nothing stays of it."""
    f, g = (FunctionRef.parse(name, default=cluster.ref("x").namespace) for name in ("f", "g"))
    mine, theirs, third = {f: calls(13)}, {f: calls(8), g: calls(2)}, {f: calls(1)}
    async with gateway(cluster) as one, gateway(cluster) as two:
        async with gateway(cluster) as three:
            for provider, counts in ((one, mine), (two, theirs), (three, third)):
                provider.share_counts(lambda counts=counts: counts)  # type: ignore[misc]
            await until(lambda: (one.counted_elsewhere(f).finished, one.counted_elsewhere(g).finished) == (9, 2))
            await until(lambda: (two.counted_elsewhere(f).finished, two.counted_elsewhere(g).finished) == (14, 0))
            await until(lambda: three.counted_elsewhere(f).finished == 21)
            mine[f] += calls(7)
            await until(lambda: two.counted_elsewhere(f).finished == 21)
        await until(lambda: one.counted_elsewhere(f).finished == 8)
        assert leases(cluster) == 2
        mine[f] += Counted(started=1, inflight=1)
        await until(lambda: two.counted_elsewhere(f).inflight == 1)
        assert f in two.moved_elsewhere()
        assert f in two.moved_elsewhere(), "as long as a call is under way"
    assert leases(cluster) == 0


async def test_a_gateway_that_died_is_forgotten(cluster: AnyCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    f = FunctionRef.parse("f", default=cluster.ref("x").namespace)
    dead = make_gateway(cluster)
    async with gateway(cluster) as one:
        one.share_counts(dict)
        await dead.start()
        dead.share_counts(lambda: {f: calls(5)})
        await until(lambda: one.counted_elsewhere(f).finished == 5)
        assert dead._counts._task is not None
        dead._counts._task.cancel()
        dead._counts._task = None  # As `kill -9` leaves it.
        await dead.close()
        monkeypatch.setattr(call_counts, "_GONE", 0.2)
        await until(lambda: one.counted_elsewhere(f).finished == 0)
        await until(lambda: leases(cluster) == 1)


def test_what_is_written_is_bounded_and_stable() -> None:
    many = {FunctionRef.parse(f"f{'x' * 40}{number}.dev"): calls(number) for number in range(20_000)}
    text = call_counts._rendered(many)
    assert len(text) < 220_000
    assert "[19999,19999," in text, "the busiest are kept"
    assert text == call_counts._rendered(dict(reversed(many.items())))
    assert call_counts._rendered({}) == "{}"
