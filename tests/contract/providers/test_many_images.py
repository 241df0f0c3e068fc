"""Many replicas of container images in many namespaces, up and down again, with nothing left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.model import Namespace
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.container_images import busybox_layer, layer, load, write_image
from support.footprint import Footprint, footprint
from support.processes import ProcessHarness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not busybox_layer(), reason="there is no busybox here (package busybox-static)"),
]

NAMESPACES, EACH = 6, 4
"""Few: starting them is most of what this costs."""


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ProcessHarness]:
    entry = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
    load(write_image(tmp_path / "i.tar", [busybox_layer(), layer({"www/index.html": "hi"})], entrypoint=entry), "small")
    harness = ProcessHarness("image", probe_period=2)
    await harness.start()
    yield harness
    await harness.close()


async def test_nothing_is_left_of_many(harness: ProcessHarness) -> None:
    await harness.runtime.facts()  # Other ways to run images are tried at first, with a folder of their own.
    before = footprint(harness)
    names = [NamespaceName(f"tenant-{number}") for number in range(NAMESPACES)]
    refs = [FunctionRef(name, FunctionName("small")) for name in names]
    async with watching(harness.provider) as table:
        for name, ref in zip(names, refs, strict=True):
            await harness.provider.create_namespace(Namespace(name=name))
            spec = spec_of(harness, "small", name, image="small", labels={"com.openfaas.scale.min": str(EACH)})
            assert spec.ref == ref
            await harness.provider.apply(spec)
        endpoints = [endpoint for ref in refs for endpoint in await table.ready(ref, EACH)]
        for endpoint in endpoints:
            assert (await call(endpoint, path="/index.html"))[0] in (200, 501), "busybox takes no POST for a file"
        up = footprint(harness)
        assert up["replicas' folders"] == up["networks"] == NAMESPACES * EACH
        assert up["links"] in (0, NAMESPACES * EACH), "0 where the user has no right to make any"
        for name in names:
            await harness.provider.delete_namespace(name)
        await eventually(lambda: grown(before, footprint(harness)) == {}, every=0.1)


def grown(before: Footprint, after: Footprint) -> Footprint:
    """What there is more of. Databases, and whoever starts and serves replicas, keep some descriptors, fewer than there were replicas."""
    spared = {"descriptors here": 16}
    return {kind: count for kind, count in after.items() if count > before[kind] + spared.get(kind, 0)}
