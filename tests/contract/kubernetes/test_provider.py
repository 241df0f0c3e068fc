"""The Kubernetes provider keeps the contract that every provider keeps, with real processes as Pods."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hilbert.testing.provider import ProviderContract
from support.cluster import KubernetesHarness, installed


@pytest.fixture
async def harness() -> AsyncIterator[KubernetesHarness]:
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    async with installed() as cluster:
        harness = KubernetesHarness(cluster, folder)
        await harness.start()
        yield harness
        await harness.close()
        assert cluster.controllers.errors == []
    shutil.rmtree(folder)


class TestKubernetes(ProviderContract):
    pass
