"""A cluster with the platform's rights and definitions installed, and gateways in it that have those rights and no more."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from hilbert.core.model import Endpoint
from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import Duration
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support.kubernetes import ApiServer, Outcome, Process
from support.processes import ECHO

ACCOUNT = "system:serviceaccount:openfaas:hilbert"
_SKIPPED = {"Deployment", "PodDisruptionBudget"}
"""The gateway of a test is in the test."""

PATIENCE = 30.0


def install(cluster: ApiServer, options: plan.Options | None = None) -> None:
    """What `hilbert install kubernetes` makes, but the gateway's own Pods."""
    for manifest in plan.make(options or plan.Options()).every():
        if manifest["kind"] not in _SKIPPED:
            cluster.put(manifest)


def settings_of(cluster: ApiServer, **given: Any) -> KubernetesSettings:
    fields = {"kubeconfig": str(cluster.kubeconfig_for(ACCOUNT)), "resync": Duration.of(0), **given}
    return KubernetesSettings(**fields)


@asynccontextmanager
async def gateway(cluster: ApiServer, **given: Any) -> AsyncIterator[KubernetesProvider]:
    """A gateway's provider that has read the cluster."""
    provider = make_gateway(cluster, **given)
    await provider.start()
    try:
        await asyncio.wait_for(provider.wait_ready(), PATIENCE)
        yield provider
    finally:
        await provider.close()


def make_gateway(cluster: ApiServer, **given: Any) -> KubernetesProvider:
    """A gateway's provider, not started."""
    general = ProviderSettings(name="kubernetes", drain_delay=Duration.of(0.1), grace=Duration.of(2))
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

    image = "echo:1"

    def __init__(self, cluster: ApiServer, folder: Path) -> None:
        self.cluster = cluster
        cluster.images[self.image] = watchdog(folder)

    async def start(self) -> KubernetesProvider:
        self.provider = make_gateway(self.cluster)
        await self.provider.start()
        await asyncio.wait_for(self.provider.wait_ready(), PATIENCE)
        return self.provider

    async def close(self) -> None:
        """End the gateway, once no Pod is half started: those cannot be stopped."""
        await self.cluster.controllers.settled()
        lives = self.cluster.controllers.kubelet._lives
        await until(lambda: all(life.running is not None or life.is_over for life in lives.values()))
        await self.provider.close()

    async def crash(self, endpoint: Endpoint) -> bool:
        """The node loses the Pod."""
        for namespace in {item["metadata"]["namespace"] for item in self.cluster.objects("pods")}:
            pod = self.cluster.object("pods", endpoint.replica, namespace)
            if pod is not None:
                self.cluster.controllers.kubelet.remove(pod)
                return True
        return False

    async def restart(self) -> bool:
        """Everything is in the cluster: a gateway that ends takes nothing along."""
        await self.provider.close()
        await self.start()
        return True


@asynccontextmanager
async def installed(options: plan.Options | None = None, **given: Any) -> AsyncIterator[ApiServer]:
    """A cluster with the platform installed."""
    async with ApiServer(**given) as cluster:
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
        await asyncio.sleep(0.005)
