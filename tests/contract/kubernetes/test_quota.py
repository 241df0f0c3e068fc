"""Quotas of a namespace: what is refused and told, and what must not be."""

from __future__ import annotations

import msgspec
import pytest

from hilbert.core.errors import QuotaExceeded
from hilbert.core.model import FunctionSpec, FunctionStatus, Namespace, Phase, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from support.cluster import AnyCluster, Double, until

pytestmark = pytest.mark.anyio


def spec_of(cluster: AnyCluster, name: str = "f", namespace: str = "") -> FunctionSpec:
    return FunctionSpec(ref=cluster.ref(name, namespace), image=cluster.image)


async def _is_ready(provider: KubernetesProvider, spec: FunctionSpec) -> bool:
    return (await provider.get(spec.ref)).phase is Phase.READY


async def _refused(provider: KubernetesProvider, spec: FunctionSpec) -> FunctionStatus | None:
    for status in await provider.list(spec.ref.namespace):
        if status.spec.ref == spec.ref and (status.phase, status.reason) == (Phase.FAILED, "QuotaExceeded"):
            return status
    return None


async def test_quota_of_replicas_is_told(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev, annotations={"com.hilbert.quota.replicas": "1"}))
    spec = spec_of(cluster, namespace="dev")
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    second = spec_of(cluster, name="second", namespace="dev")
    with pytest.raises(QuotaExceeded, match="has no room"):
        await provider.apply(second)
    cluster.put(function_object.to_object(second))  # With kubectl it is stored; the leader counts it, too.
    assert "com.hilbert.quota.replicas is 1" in (await until(lambda: _refused(provider, second))).message
    await provider.remove(spec.ref)
    await provider.apply(second)
    await until(lambda: _is_ready(provider, second))


async def test_a_full_quota_has_room_for_a_roll_out_and_for_replicas_that_end(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = NamespaceName(cluster.name("dev"))
    quota = {"com.hilbert.quota.replicas": "2", "com.hilbert.quota.memory": "256Mi"}
    await provider.create_namespace(Namespace(name=dev, annotations=quota))
    if isinstance(cluster, Double):
        cluster.pace.stop = 1.0
    spec = spec_of(cluster, namespace="dev")
    spec = msgspec.structs.replace(spec, labels={"com.openfaas.scale.min": "2"})
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    seen: set[str] = set()

    async def settled(wanted: FunctionSpec) -> bool:
        status = await provider.get(wanted.ref)
        seen.add(status.reason)
        return status.phase is Phase.READY and status.ready_generation == status.generation and status.available == 2

    await provider.apply(msgspec.structs.replace(spec, env={"version": "2"}))
    await until(lambda: settled(spec), what="a roll-out within the quota")
    await provider.remove(spec.ref)
    second = msgspec.structs.replace(spec, ref=cluster.ref("second", "dev"))
    await provider.apply(second)
    await until(lambda: settled(second), what="another function in the room of the first")
    assert seen == {""}, "nobody was told of a quota"


async def test_quota_of_functions_refuses_the_deployment(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev, annotations={"com.hilbert.quota.functions": "1"}))
    await until(lambda: (cluster.object("resourcequotas", "hilbert", dev) or {}).get("status", {}).get("hard"))
    await provider.apply(spec_of(cluster, namespace="dev"))
    with pytest.raises(QuotaExceeded, match=r"com\.hilbert\.quota\.functions"):
        await provider.apply(spec_of(cluster, name="second", namespace="dev"))
    assert [status.spec.ref.name for status in await provider.list(dev)] == ["f"]


@pytest.mark.double("requests are refused")
async def test_a_resource_quota_that_lags_behind_is_asked_again(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """By our own count there is room; the cluster still counts what has just been removed."""
    assert isinstance(cluster, Double)
    full = "forbidden: exceeded quota: hilbert, requested: 1, used: 1, limited: 1"
    for path in ("/functions$", "/secrets$"):
        cluster.chaos.fail(403, times=2, method="POST", path=path, message=full)
    spec = FunctionSpec(ref=cluster.ref("f"), image="i")
    await provider.apply(spec)
    assert (await provider.get(spec.ref)).spec == spec
    default = NamespaceName(cluster.default)
    await provider.create_secret(Secret(default, SecretName("s"), b"1"))
    cluster.chaos.fail(403, times=-1, method="POST", path="/secrets$", message=full)
    with pytest.raises(QuotaExceeded):
        await provider.create_secret(Secret(default, SecretName("t"), b"1"))


async def test_a_namespace_of_kubectl_is_counted_without_binding_what_else_it_holds(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    team = NamespaceName(cluster.name("team"))
    quota = {"openfaas": "1", "com.hilbert.quota.replicas": "1", "com.hilbert.quota.memory": "1Gi"}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team, "annotations": quota}})
    spec = spec_of(cluster, namespace="team")
    await until(lambda: _knows(provider, team))
    await provider.apply(spec)
    stored = cluster.object("deployments", "f", team, group="apps") or {}
    limits = stored["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "128Mi", "what is counted is stated, since no LimitRange fills it in"
    second = spec_of(cluster, name="second", namespace="team")
    with pytest.raises(QuotaExceeded):
        await provider.apply(second)
    cluster.put(function_object.to_object(second))
    assert await until(lambda: _refused(provider, second))
    assert cluster.object("resourcequotas", "hilbert", team) is None


async def _knows(provider: KubernetesProvider, name: str) -> bool:
    return name in [found.name for found in await provider.list_namespaces()]
