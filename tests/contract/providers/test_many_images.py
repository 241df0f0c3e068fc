"""Many replicas of container images in many namespaces, up and down again, with nothing left."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.core.model import Namespace
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.container_images import busybox_layer, layer, load, write_image
from support.processes import ProcessHarness

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(not busybox_layer(), reason="there is no busybox here (package busybox-static)"),
]

NAMESPACES, EACH = 4, 4
"""Few: starting them is most of what this costs."""


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[ProcessHarness]:
    entry = ["/bin/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
    load(write_image(tmp_path / "i.tar", [busybox_layer(), layer({"www/index.html": "hi"})], entrypoint=entry), "small")
    harness = ProcessHarness("image", probe_period=2)
    await harness.start()
    yield harness
    await harness.close()


def made_here() -> set[str]:
    """Mounts and network interfaces of this machine."""
    mounts = {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
    return mounts | {f"interface {name}" for name in os.listdir("/sys/class/net") if name.startswith("hb-")}


async def test_nothing_is_left_of_many(harness: ProcessHarness) -> None:
    before = made_here()
    descriptors = len(os.listdir("/proc/self/fd"))
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
        for name in names:
            await harness.provider.delete_namespace(name)
        await eventually(lambda: not harness.processes())
        await eventually(lambda: not os.listdir(harness.runtime.replicas.folder))
    await eventually(lambda: made_here() <= before)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 8)
