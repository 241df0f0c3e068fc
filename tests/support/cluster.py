"""A cluster with the platform's rights and definitions installed, and gateways in it that have those rights and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from hilbert.core.settings import KubernetesSettings, ProviderSettings
from hilbert.core.values import Duration
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support.kubernetes import ApiServer

ACCOUNT = "system:serviceaccount:openfaas:hilbert"
_SKIPPED = {"Deployment", "PodDisruptionBudget"}
"""The gateway of a test is in the test."""

PATIENCE = 30.0


def install(cluster: ApiServer, options: plan.Options | None = None) -> None:
    """What `hilbert install kubernetes` makes, but the gateway's own Pods."""
    for manifest in plan.make(options or plan.Options()).every():
        if manifest["kind"] not in _SKIPPED:
            cluster.put(manifest)
    _hack(cluster)


def _hack(cluster: ApiServer) -> None:
    from types import SimpleNamespace
    from support.kubernetes import schema
    from support.kubernetes.resources import Resource, Subresource
    if ("openfaas.com" in cluster.engine.registry.groups()): return
    for d in cluster.objects("customresourcedefinitions", group="apiextensions.k8s.io"):
        sp=d["spec"]; n=sp["names"]; v=sp["versions"][0]
        node=schema.custom_node(v["schema"]["openAPIV3Schema"])
        subs={"status": Subresource("status",sp["group"],"v1",n["kind"],("get","patch","update"))} if "subresources" in v else {}
        cluster.engine.registry.add(Resource(sp["group"],"v1",n["plural"],n["kind"],True,singular=n["singular"],subresources=subs,custom=SimpleNamespace(fill=lambda o: None, check=lambda o, old: [], selectable=(), node=node, schema=v["schema"]["openAPIV3Schema"], version=v, definition=d),list_kind=n["listKind"],stored_version="v1"))


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
