"""The cluster that these suites run on: the double, or the one that `KUBECONFIG` names (`make test-cluster`).

Tests see no difference. What only the double can do is marked `double(REASON)` and skipped elsewhere. A failure brings a
report of what was in the test's namespaces.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.settings import KubernetesSettings
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support import cluster_report
from support.cluster import AnyCluster, Double, gateway, install, installed
from support.real_cluster import IS_REAL, PREFIX, RealCluster


def pytest_configure(config: pytest.Config) -> None:
    if IS_REAL:
        # A connection whose TLS handshake is cancelled is left to the collector by the client's library.
        unclosed = "ignore:Exception ignored in. 'uvloop:pytest.PytestUnraisableExceptionWarning"
        config.addinivalue_line("filterwarnings", unclosed)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("double"):
        if IS_REAL:
            pytest.skip(f"on the double only: {mark.args[0]}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    found = getattr(item, "funcargs", {}).get("cluster")
    if report.failed and call.when == "call" and isinstance(found, Double | RealCluster):
        try:
            text = cluster_report.describe(found)
        except Exception as exc:  # The report must not hide the failure.
            text = f"the cluster could not be described: {type(exc).__name__}: {exc}"
        report.sections.append(("The test's namespaces when it failed", text))
    return report


@pytest.fixture(scope="session")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of the real cluster, which is ready for tests, and clean after them."""
    path = os.environ.get("KUBECONFIG", "")
    if not Path(path).is_file():
        raise pytest.UsageError(f"HILBERT_TEST_CLUSTER=1 needs KUBECONFIG to name one file, not {path!r}")
    session = RealCluster(Path(path), tmp_path_factory.mktemp("session"))
    if others := session.others():
        raise pytest.UsageError(
            f"this cluster has function namespaces in use ({', '.join(others)}): gateways under test would keep them as "
            f"their own. Use a cluster without; the suite's own begin with {PREFIX}"
        )
    session.sweep()
    session.define()
    yield Path(path)
    session.sweep()
    session.close()


@pytest.fixture
def controllers() -> bool:
    """Whether the double's controllers run: a module that looks at what is written alone does without."""
    return True


@pytest.fixture
async def cluster(request: pytest.FixtureRequest, controllers: bool, tmp_path: Path) -> AsyncIterator[AnyCluster]:
    """With the platform installed, and nobody else in it."""
    if IS_REAL:
        real = RealCluster(request.getfixturevalue("kubeconfig"), tmp_path)
        try:
            install(real)
            yield real
        finally:
            real.close()
    else:
        async with installed(controllers=controllers) as double:
            yield double
            assert double.controllers.errors == []


@pytest.fixture
async def provider(cluster: AnyCluster) -> AsyncIterator[KubernetesProvider]:
    """A gateway's, with the rights that the installation gives it and no more."""
    async with gateway(cluster) as provider:
        yield provider


@pytest.fixture
async def admin(cluster: AnyCluster) -> AsyncIterator[Api]:
    """With an administrator's rights, beside the gateway."""
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    yield api
    await api.close()
