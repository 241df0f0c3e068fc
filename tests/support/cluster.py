"""A cluster with the platform's rights and definitions installed, and gateways in it that have those rights and no more.

`AnyCluster` is either the double in this process or, with `HILBERT_TEST_CLUSTER=1`, the one that `KUBECONFIG` names.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hilbert.core.model import Endpoint
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import Duration, FunctionRef, NamespaceName
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.testing.harness import call
from kubernetes_double import ApiServer, Outcome, Process
from support.processes import ECHO
from support.real_cluster import IS_REAL, RealCluster

ACCOUNT = "system:serviceaccount:openfaas:hilbert"
_SKIPPED = {"Deployment", "PodDisruptionBudget"}
"""The gateway of a test is in the test."""

PATIENCE = 180.0 if IS_REAL else 30.0
_POLL = 0.2 if IS_REAL else 0.005


class Double(ApiServer):
    """The double with the names that a test uses in it: no one else is there, so they are as they come."""

    platform = "openfaas"
    default = "openfaas-fn"
    account = ACCOUNT
    image = "echo:1"
    """Runs, as every image does of which nothing else is said."""

    @staticmethod
    def name(name: str) -> str:
        return name

    def ref(self, name: str, namespace: str = "") -> FunctionRef:
        return FunctionRef.parse(f"{name}.{namespace or self.default}")

    @staticmethod
    def is_ours(namespace: str) -> bool:
        return not namespace.startswith("kube-") and namespace != "default"

    def log(self, pod: dict[str, Any]) -> str:
        """The last lines of a Pod's first container."""
        starts = self.kubelet.log(pod["metadata"]["uid"], pod["spec"]["containers"][0]["name"]).starts
        return "".join(line for _, line in starts[-1][-10:]) if starts else ""

    async def __aenter__(self) -> Double:
        await super().__aenter__()
        return self


AnyCluster = Double | RealCluster


def install(cluster: AnyCluster, options: plan.Options | None = None) -> None:
    """What `hilbert install kubernetes` makes, but the gateway's own Pods."""
    definitions = isinstance(cluster, Double)  # A real cluster has them once for all tests.
    usual = plan.Options(namespace=cluster.platform, namespaces=(cluster.default,), definitions=definitions)
    for manifest in plan.make(options or usual).every():
        if manifest["kind"] not in _SKIPPED:
            cluster.put(manifest)


def settings_of(cluster: AnyCluster, **given: Any) -> KubernetesSettings:
    fields = {
        "kubeconfig": str(cluster.kubeconfig_for(cluster.account)),
        "platform_namespace": cluster.platform,
        "resync": Duration.of(0),
        **given,
    }
    return KubernetesSettings(**fields)


@asynccontextmanager
async def gateway(cluster: AnyCluster, **given: Any) -> AsyncIterator[KubernetesProvider]:
    """A gateway's provider that has read the cluster."""
    provider = make_gateway(cluster, **given)
    await provider.start()
    try:
        await asyncio.wait_for(provider.wait_ready(), PATIENCE)
        yield provider
    finally:
        await provider.close()


def make_gateway(cluster: AnyCluster, **given: Any) -> KubernetesProvider:
    """A gateway's provider, not started."""
    general = ProviderSettings(
        name="kubernetes", default_namespace=cluster.default, drain_delay=Duration.of(0.1), grace=Duration.of(2)
    )
    return KubernetesProvider(settings_of(cluster, **given), provider=general)


def watchdog(folder: Path) -> Outcome:
    """An image whose Pods are real watchdogs that answer with the request's body and write a line for each call."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "handler.py").write_text(ECHO)
    environment = {
        "HILBERT_MODE": "python",
        "HILBERT_BUNDLE": str(folder),
        "HILBERT_HANDLER": str(folder / "handler.py"),
    }
    return Outcome(process=Process((sys.executable, "-m", "hilbert.watchdog"), environment))


class KubernetesHarness:
    """For the provider contract."""

    def __init__(self, cluster: AnyCluster, image: str) -> None:
        self.cluster = cluster
        self.image = image

    def namespace(self, name: str = "") -> NamespaceName:
        return NamespaceName(self.cluster.name(name) if name else self.cluster.default)

    async def start(self) -> KubernetesProvider:
        self.provider = make_gateway(self.cluster)
        await self.provider.start()
        await asyncio.wait_for(self.provider.wait_ready(), PATIENCE)
        return self.provider

    async def close(self) -> None:
        """End the gateway; on the double once no Pod is half started: those cannot be stopped."""
        if isinstance(self.cluster, Double):
            await self.cluster.controllers.settled()
            lives = self.cluster.controllers.kubelet._lives
            await until(lambda: all(life.running is not None or life.is_over for life in lives.values()))
        await self.provider.close()

    async def call(self, endpoint: Endpoint, body: bytes = b"", *, path: str = "/") -> tuple[int, bytes]:
        """To the Pod's address, or, where that may not be reachable from here, through the API server."""
        if isinstance(self.cluster, Double):
            return await call(endpoint, body, path=path)
        pod = self._pod(endpoint)
        assert pod is not None, f"{endpoint} is not there"
        return self.cluster.call(pod["metadata"]["namespace"], pod["metadata"]["name"], body, path)

    async def crash(self, endpoint: Endpoint) -> bool:
        """The node loses the Pod."""
        pod = self._pod(endpoint)
        if pod is None:
            return False
        if isinstance(self.cluster, Double):
            self.cluster.controllers.kubelet.remove(pod)
        else:
            metadata = pod["metadata"]
            now = {"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}
            self.cluster.request("DELETE", f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}", now)
        return True

    async def restart(self) -> bool:
        """Everything is in the cluster: a gateway that ends takes nothing along."""
        await self.provider.close()
        await self.start()
        return True

    def _pod(self, endpoint: Endpoint) -> dict[str, Any] | None:
        every = self.cluster.objects("pods")
        found = [pod for pod in every if pod["metadata"]["name"] == endpoint.replica]
        return next((pod for pod in found if self.cluster.is_ours(pod["metadata"]["namespace"])), None)


@asynccontextmanager
async def installed(options: plan.Options | None = None, **given: Any) -> AsyncIterator[Double]:
    """A double with the platform installed."""
    async with Double(**given) as cluster:
        install(cluster, options)
        yield cluster


async def until(met: Callable[[], Any], *, what: str = "") -> Any:
    """The first true result of `met`, which may be a coroutine function."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        found = met()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert asyncio.get_running_loop().time() < deadline, f"did not come true within {PATIENCE:g} s: {what}"
        await asyncio.sleep(_POLL)
