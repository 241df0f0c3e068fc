"""The Kubernetes provider keeps the contract that every provider keeps, with real processes as Pods."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from hilbert.testing.provider import ProviderContract
from support.cluster import AnyCluster, Double, KubernetesHarness, watchdog


@pytest.fixture
def bundle() -> Iterator[Path]:
    """Of the function; it stays until the last Pod has ended."""
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
async def harness(bundle: Path, cluster: AnyCluster) -> AsyncIterator[KubernetesHarness]:
    if isinstance(cluster, Double):
        cluster.images[cluster.image] = watchdog(bundle)
    harness = KubernetesHarness(cluster, cluster.image)
    await harness.start()
    yield harness
    await harness.close()


class TestKubernetes(ProviderContract):
    pass
