"""What the leading gateway keeps of tenants: repaired at once, and nothing written or asked where nothing differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, Namespace
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.cluster.objects import FunctionObject
from hilbert.providers.kubernetes.provider import KubernetesProvider
from kubernetes_double import ApiServer
from support.cluster import ACCOUNT, gateway, installed, until

pytestmark = pytest.mark.anyio

NETWORKING = "networking.k8s.io"
QUOTA = {"com.hilbert.quota.memory": "4Gi", "com.hilbert.quota.replicas": "5"}


@pytest.fixture
async def cluster() -> AsyncIterator[ApiServer]:
    async with installed(controllers=False) as cluster:
        yield cluster


@pytest.fixture
async def provider(cluster: ApiServer) -> AsyncIterator[KubernetesProvider]:
    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        await provider.create_namespace(Namespace(name=NamespaceName("dev"), annotations=QUOTA))
        yield provider


@pytest.fixture
async def admin(cluster: ApiServer) -> AsyncIterator[Api]:
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    yield api
    await api.close()


def policy(cluster: ApiServer, name: str) -> dict[str, Any] | None:
    return cluster.object("networkpolicies", name, "dev", group=NETWORKING)


@pytest.mark.usefixtures("provider")
async def test_a_wall_that_is_taken_down_stands_again(cluster: ApiServer, admin: Api) -> None:
    before = policy(cluster, "hilbert-deny")
    assert before is not None
    await admin.delete(kinds.POLICIES, "hilbert-deny", "dev")
    await until(lambda: policy(cluster, "hilbert-deny"))

    opened = {"spec": {"egress": [{}]}}
    await admin.patch(kinds.POLICIES, "hilbert-to-internet", opened, "dev")
    await until(lambda: (policy(cluster, "hilbert-to-internet") or {})["spec"]["egress"] != [{}])

    unmarked = {"metadata": {"labels": {"app.kubernetes.io/managed-by": None}}}
    await admin.patch(kinds.POLICIES, "hilbert-deny", unmarked, "dev")
    await until(lambda: (policy(cluster, "hilbert-deny") or {})["metadata"].get("labels"))

    await admin.patch(kinds.QUOTAS, "hilbert", {"spec": {"hard": {"pods": "5000"}}}, "dev")
    await until(lambda: quota(cluster)["pods"] == "15", what="room for three times the replicas")


def quota(cluster: ApiServer) -> dict[str, str]:
    found = cluster.object("resourcequotas", "hilbert", "dev")
    assert found is not None
    hard: dict[str, str] = found["spec"]["hard"]
    return hard


async def test_what_an_annotation_no_longer_says_goes(cluster: ApiServer, provider: KubernetesProvider) -> None:
    less = {"com.hilbert.quota.memory": "4Gi"}
    await provider.update_namespace(Namespace(name=NamespaceName("dev"), annotations=less))
    await until(lambda: quota(cluster) == {"limits.memory": "12Gi"})


async def test_a_gateway_that_begins_to_lead_writes_nothing_where_nothing_differs(
    cluster: ApiServer, provider: KubernetesProvider
) -> None:
    spec = FunctionSpec(ref=FunctionRef.parse("echo.dev"), image="echo:1")
    await provider.apply(spec)
    await until(lambda: (cluster.object("functions", "echo", "dev", group="openfaas.com") or {}).get("status"))
    await provider.close()
    cluster.requests.clear()
    async with gateway(cluster) as second:
        await second.leadership.wait()
        await until(lambda: any("watch" in call.query and "networkpolicies" in call.path for call in cluster.requests))
        # A change of ours comes after all that the beginning brought: what was asked before it is all there was.
        await second.scale(spec.ref, 3)
        await until(lambda: any(call.path.endswith("/status") for call in cluster.requests))
    done = [(call.method, call.path) for call in cluster.requests if call.user == ACCOUNT and call.method != "GET"]
    written = [path for method, path in done if "/leases" not in path]
    assert written == [
        "/apis/apps/v1/namespaces/dev/deployments/echo",
        "/apis/openfaas.com/v1/namespaces/dev/functions/echo/status",
    ]
    asked = [
        call for call in cluster.requests if call.user == ACCOUNT and call.method == "GET" and "watch" not in call.query
    ]
    assert all("limit" in call.query or "/leases/" in call.path for call in asked), "lists only, none of one thing"


async def test_an_older_version_is_never_written_over_a_newer_one(
    cluster: ApiServer, provider: KubernetesProvider
) -> None:
    """Of a gateway whose watch lags."""
    spec = FunctionSpec(ref=FunctionRef.parse("echo.dev"), image="echo:1")
    await provider.apply(spec)
    old: FunctionObject | None = provider._state.function(("dev", "echo"))
    assert old is not None
    await provider.apply(FunctionSpec(ref=spec.ref, image="echo:2"))
    await provider._deployer.reconcile(old, spec)
    found = cluster.object("deployments", "echo", "dev", group="apps")
    assert found is not None
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "echo:2"
