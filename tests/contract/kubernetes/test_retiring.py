"""Which Pods go when a function is scaled down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.model import LABEL_SCALE_MIN, FunctionSpec
from hilbert.core.values import FunctionRef
from hilbert.testing.harness import watching
from support.cluster import Double, gateway, installed, watchdog

pytestmark = [pytest.mark.anyio, pytest.mark.double("a cluster is free to choose others")]

REF = FunctionRef.parse("echo")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Double]:
    async with installed() as cluster:
        cluster.images["echo:1"] = watchdog(tmp_path / "image")
        cluster.pace.grace_scale = 0.01
        yield cluster
        assert cluster.controllers.errors == []


async def test_the_pod_with_the_most_calls_stays(cluster: Double) -> None:
    """And when nobody has any, what was said before does not count any more."""
    async with gateway(cluster) as provider:
        busy: dict[str, int] = {}
        provider.tell_busy(lambda _ref: busy)
        await provider.apply(FunctionSpec(ref=REF, image="echo:1", labels={LABEL_SCALE_MIN: "3"}))
        async with watching(provider) as table:
            for expected in (0, 2):
                endpoints = await table.ready(REF, 3)
                kept = endpoints[expected]
                busy.clear()
                busy.update({one.address: 5 if one == kept else index for index, one in enumerate(endpoints)})
                await provider.scale(REF, 1)
                assert await table.ready(REF, 1) == (kept,)
                await provider.scale(REF, 3)
