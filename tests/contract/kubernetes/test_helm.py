"""Helm itself installs, upgrades and uninstalls the chart in the double, with a gateway at work meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, Namespace, Phase
from hilbert.core.values import FunctionRef, NamespaceName
from support import helm
from support.cluster import Double, gateway, until

pytest.importorskip("helm_python", reason="Helm's library (helm-python-sdk) is not there for this machine")
pytestmark = [pytest.mark.anyio, pytest.mark.double("it installs into namespaces that a cluster has once")]

TESTS = Path(__file__).parents[2]
CHART = TESTS.parent / "deploy" / "kubernetes" / "chart"
DEFAULT = NamespaceName("openfaas-fn")


@pytest.fixture
async def cluster() -> AsyncIterator[Double]:
    async with Double() as cluster:
        yield cluster
        assert cluster.controllers.errors == []


async def run(cluster: Double, verb: str, values: dict[str, Any] | None = None) -> Any:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "PYTHONPATH": str(TESTS)}
    process = await asyncio.create_subprocess_exec(
        *helm.command(verb, CHART, values),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), 90)
    assert process.returncode == 0, error.decode()
    return json.loads(out)


def policies(cluster: Double, namespace: str) -> set[str]:
    found = cluster.objects("networkpolicies", namespace, group="networking.k8s.io")
    return {item["metadata"]["name"] for item in found}


def labels(cluster: Double, namespace: str) -> dict[str, str]:
    found = cluster.object("namespaces", namespace)
    assert found is not None
    labels: dict[str, str] = found["metadata"].get("labels", {})
    return labels


async def test_life_of_a_release(cluster: Double) -> None:
    assert (await run(cluster, "install"))["status"] == "deployed"
    password = (cluster.object("secrets", "basic-auth", "openfaas") or {})["data"]
    spec = FunctionSpec(ref=FunctionRef.parse("echo"), image="echo:1")

    async def ready() -> bool:
        return (await provider.get(spec.ref)).phase is Phase.READY

    async with gateway(cluster) as provider:
        await until(lambda: "hilbert-deny" in policies(cluster, DEFAULT), what="the gateway completes the tenant")
        assert labels(cluster, DEFAULT)["pod-security.kubernetes.io/enforce"] == "restricted"
        await provider.apply(spec)
        await until(ready)
        # What is set through the API and what the release says do not get in each other's way.
        closed = {"com.hilbert.network.internet": "closed", "com.hilbert.pod-security": "baseline"}
        await provider.update_namespace(Namespace(name=DEFAULT, annotations=closed))
        assert "hilbert-to-internet" not in policies(cluster, DEFAULT)
        upgraded = await run(cluster, "upgrade", {"replicas": 3})
        assert (upgraded["status"], upgraded["revision"]) == ("deployed", 2)
        live = cluster.object("deployments", "gateway", "openfaas", group="apps")
        assert live is not None
        assert live["spec"]["replicas"] == 3
        assert (cluster.object("secrets", "basic-auth", "openfaas") or {})["data"] == password
        assert dict((await provider.get_namespace(DEFAULT)).annotations).items() >= closed.items()
        assert "hilbert-to-internet" not in policies(cluster, DEFAULT)
        assert labels(cluster, DEFAULT)["pod-security.kubernetes.io/enforce"] == "baseline"
        assert (await provider.get(spec.ref)).phase is Phase.READY
    await run(cluster, "uninstall")
    assert cluster.object("deployments", "gateway", "openfaas", group="apps") is None
    assert cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io") is None
    assert cluster.object("deployments", "echo", DEFAULT, group="apps") is not None, "functions go on"
    assert (await run(cluster, "install"))["status"] == "deployed", "and are taken over by the next release"
    assert (cluster.object("secrets", "basic-auth", "openfaas") or {})["data"] == password
    async with gateway(cluster) as provider:
        assert (await provider.get(spec.ref)).phase is Phase.READY


async def test_a_release_without_cluster_wide_rights(cluster: Double) -> None:
    await run(cluster, "install", {"clusterRole": False, "namespaces": ["dev-fn", "prod-fn"]})
    assert "hilbert-deny" in policies(cluster, "prod-fn")
    assert labels(cluster, "prod-fn")["pod-security.kubernetes.io/enforce"] == "restricted"
    assert cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io") is None
    async with gateway(cluster, namespaces="dev-fn,prod-fn") as provider:
        await provider.apply(FunctionSpec(ref=FunctionRef.parse("echo.prod-fn"), image="echo:1"))
        await until(lambda: cluster.object("deployments", "echo", "prod-fn", group="apps"))
