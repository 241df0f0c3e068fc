"""Namespaces: which count, how they come and go, what they bring along."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hilbert.core.errors import (
    AlreadyExists,
    Conflict,
    NamespaceNotFound,
    ReservedNamespace,
    Unsupported,
)
from hilbert.core.model import FunctionSpec, Namespace, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import FunctionRef, NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from support.api import running
from support.cluster import ACCOUNT, AnyCluster, Double, gateway, installed, until

pytestmark = pytest.mark.anyio


async def names_of(provider: KubernetesProvider) -> list[str]:
    return [found.name for found in await provider.list_namespaces()]


async def annotate(cluster: AnyCluster, name: str, **annotations: str | None) -> None:
    """As `kubectl annotate` does, as the administrator."""
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    await api.patch(kinds.NAMESPACES, name, {"metadata": {"annotations": annotations}})
    await api.close()


def add_namespace(cluster: AnyCluster, name: str, **annotations: str) -> None:
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "annotations": annotations}})


def pieces_in(cluster: AnyCluster, namespace: str) -> set[str]:
    found = set()
    for plural, group in (("resourcequotas", ""), ("limitranges", ""), ("networkpolicies", "networking.k8s.io")):
        found |= {f"{plural}/{item['metadata']['name']}" for item in cluster.objects(plural, namespace, group=group)}
    return found


def denied(cluster: AnyCluster, namespace: str) -> dict[str, Any]:
    """Which Pods the policy that denies everything selects; all of them when it is empty."""
    found = cluster.object("networkpolicies", "hilbert-deny", namespace, group="networking.k8s.io") or {}
    selector: dict[str, Any] = found["spec"]["podSelector"]
    return selector


def labels_of(cluster: AnyCluster, namespace: str) -> dict[str, str]:
    labels: dict[str, str] = (cluster.object("namespaces", namespace) or {})["metadata"].get("labels", {})
    return labels


async def test_an_annotation_takes_a_namespace_in_and_out(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    staging = NamespaceName(cluster.name("staging-fn"))
    add_namespace(cluster, staging)
    await annotate(cluster, staging, openfaas="1")
    await until(lambda: _is_listed(provider, staging))
    spec = FunctionSpec(ref=cluster.ref("f", "staging-fn"), image="i")
    await provider.apply(spec)
    await annotate(cluster, staging, openfaas=None)
    await until(lambda: _is_not_listed(provider, staging))
    with pytest.raises(NamespaceNotFound):
        await provider.get(spec.ref)
    assert cluster.object("deployments", "f", staging, group="apps") is not None, "what runs is left alone"
    await annotate(cluster, staging, openfaas="1")
    await until(lambda: _is_listed(provider, staging))
    assert (await provider.get(spec.ref)).spec == spec


async def _is_listed(provider: KubernetesProvider, name: str) -> bool:
    return name in await names_of(provider)


async def _is_not_listed(provider: KubernetesProvider, name: str) -> bool:
    return name not in await names_of(provider)


@pytest.mark.parametrize("value", ["true", "0", "yes", "", "1 "])
async def test_only_the_value_1_counts(cluster: AnyCluster, provider: KubernetesProvider, value: str) -> None:
    marker = NamespaceName(cluster.name("marker"))
    almost = NamespaceName(cluster.name("almost"))
    add_namespace(cluster, almost, openfaas=value)
    add_namespace(cluster, marker, openfaas="1")
    await until(lambda: _is_listed(provider, marker))
    assert almost not in await names_of(provider)


@pytest.mark.double("it annotates namespaces of the cluster's own")
@pytest.mark.parametrize("name", ["kube-system", "openfaas", "kube-public"])
async def test_reserved_names_never_count(cluster: AnyCluster, provider: KubernetesProvider, name: str) -> None:
    await annotate(cluster, name, openfaas="1")
    add_namespace(cluster, "marker", openfaas="1")
    await until(lambda: _is_listed(provider, "marker"))
    assert name not in await names_of(provider)
    with pytest.raises(NamespaceNotFound):
        await provider.apply(FunctionSpec(ref=FunctionRef.parse(f"f.{name}"), image="i"))
    with pytest.raises(ReservedNamespace):
        await provider.create_namespace(Namespace(name=NamespaceName(name)))


async def test_a_namespace_comes_complete_and_follows_its_annotations(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = NamespaceName(cluster.name("dev"))
    quota = {"com.hilbert.quota.replicas": "5", "com.hilbert.quota.memory": "4Gi"}
    await provider.create_namespace(Namespace(name=dev, annotations=quota))
    stored = cluster.object("namespaces", dev)
    assert stored is not None
    assert stored["metadata"]["annotations"]["openfaas"] == "1"
    assert stored["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert {"resourcequotas/hilbert", "limitranges/hilbert", "networkpolicies/hilbert-deny"} <= pieces_in(cluster, dev)
    quotas = cluster.object("resourcequotas", "hilbert", dev)
    assert quotas is not None
    assert quotas["spec"]["hard"] == {"pods": "15", "limits.memory": "12Gi"}, "room for what starts and ends"
    await provider.update_namespace(Namespace(name=dev, annotations={"com.hilbert.tenant.network": "off"}))
    assert pieces_in(cluster, dev) == set()


async def test_the_leader_repairs_a_tenant_and_leaves_others_things(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    team = NamespaceName(cluster.name("team"))
    await provider.leadership.wait()
    mine = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "spec": {"podSelector": {}}}
    add_namespace(cluster, team, openfaas="1")
    cluster.put({**mine, "metadata": {"name": "theirs", "namespace": team}})
    await until(lambda: _is_listed(provider, team))
    await until(lambda: "networkpolicies/hilbert-deny" in pieces_in(cluster, team))
    assert denied(cluster, team) != {}, "made with kubectl: only the Pods of functions are bound"
    assert not [label for label in labels_of(cluster, team) if label.startswith("pod-security")]
    await annotate(cluster, team, **{"com.hilbert.tenant": "managed"})
    await until(lambda: denied(cluster, team) == {})
    level = "pod-security.kubernetes.io/enforce"
    await until(lambda: labels_of(cluster, team).get(level) == "restricted")
    await annotate(cluster, team, **{"com.hilbert.tenant.network": "off"})
    await until(lambda: pieces_in(cluster, team) == {"networkpolicies/theirs"})
    await annotate(cluster, team, **{"com.hilbert.pod-security": "baseline"})
    await until(lambda: labels_of(cluster, team)[level] == "baseline")
    await annotate(cluster, team, **{"com.hilbert.tenant.pod-security": "off"})
    await until(lambda: level not in labels_of(cluster, team))


async def test_a_namespace_that_another_tool_manages_keeps_its_mark(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """Taking Helm's label away would make its next upgrade fail."""
    team = NamespaceName(cluster.name("team"))
    theirs = {"name": team, "labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": {"openfaas": "1"}}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": theirs})
    await until(lambda: _is_listed(provider, team))
    await provider.update_namespace(Namespace(name=team, annotations={"a": "1"}))
    assert labels_of(cluster, team)["app.kubernetes.io/managed-by"] == "Helm"
    assert "networkpolicies/hilbert-deny" in pieces_in(cluster, team)
    assert denied(cluster, team) != {}, "a change through the API does not bind what others have there"
    assert not [label for label in labels_of(cluster, team) if label.startswith("pod-security")]


async def test_a_namespace_of_kubectl_protects_its_functions_before_the_first_one_comes(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """As OpenFaaS's own page on namespaces makes one: kubectl create, kubectl annotate. Nobody leads here but us."""
    team = NamespaceName(cluster.name("team"))
    add_namespace(cluster, team, openfaas="1")
    await until(lambda: _is_listed(provider, team))
    await provider.apply(FunctionSpec(ref=cluster.ref("f", "team"), image="i"))
    assert {"networkpolicies/hilbert-deny", "networkpolicies/hilbert-to-internet"} <= pieces_in(cluster, team)
    told = (await provider.get_namespace(team)).annotations
    assert told["com.hilbert.tenant.scope"] == "functions"
    assert team in (await provider.facts())["functions-only-namespaces"]
    await provider.update_namespace(Namespace(name=team, annotations={**told, "note": "1"}))
    stored = cluster.object("namespaces", team) or {}
    assert stored["metadata"]["annotations"] == {"openfaas": "1", "note": "1"}, "what is told is not stored"
    await annotate(cluster, team, **{"com.hilbert.tenant": "off"})
    await until(lambda: pieces_in(cluster, team) == set(), what="taken away again")


@pytest.mark.double("settings of the installation differ")
async def test_an_installation_may_leave_namespaces_of_kubectl_alone(cluster: AnyCluster) -> None:
    add_namespace(cluster, "team", openfaas="1")
    async with gateway(cluster, adopt_namespaces=False) as provider:
        await provider.leadership.wait()
        await provider.apply(FunctionSpec(ref=FunctionRef.parse("f.team"), image="i"))
        assert pieces_in(cluster, "team") == set()
        assert (await provider.get_namespace(NamespaceName("team"))).annotations["com.hilbert.tenant.scope"] == "off"
        assert (await provider.facts())["warning.open-namespaces"].startswith("team: no network policies")
        assert isinstance(cluster, Double)
        assert not [call for call in cluster.requests if call.user == ACCOUNT and call.path.endswith("/team")]


async def test_updates_replace_what_the_api_set_and_keep_what_others_set(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev, labels={"a": "1", "b": "1"}, annotations={"c": "1"}))
    await annotate(cluster, dev, theirs="kept")
    await provider.update_namespace(Namespace(name=dev, labels={"b": "2"}))
    await until(lambda: cluster.object("namespaces", dev))
    found = await provider.get_namespace(dev)
    assert (dict(found.labels), dict(found.annotations)) == ({"b": "2"}, {"theirs": "kept"})


async def test_a_namespace_made_by_others_is_not_taken_over_by_creating_it(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    theirs = NamespaceName(cluster.name("theirs"))
    add_namespace(cluster, theirs)
    with pytest.raises(AlreadyExists):
        await provider.create_namespace(Namespace(name=theirs))
    stored = cluster.object("namespaces", theirs)
    assert stored is not None
    assert "annotations" not in stored["metadata"] or "openfaas" not in stored["metadata"]["annotations"]


async def test_deleting_one_with_others_things_is_refused_with_a_list(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev))
    await provider.create_secret(Secret(dev, SecretName("ours"), b"1"))
    await provider.apply(FunctionSpec(ref=cluster.ref("f", "dev"), image="i"))
    claim: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": dev},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    cluster.put(claim)
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "theirs", "namespace": dev}})
    with pytest.raises(Conflict, match=r"persistentvolumeclaims/data, configmaps/theirs$") as caught:
        await provider.delete_namespace(dev)
    assert await provider.list_secrets(dev) == ["ours"], "nothing was touched"
    assert "secrets/ours" not in caught.value.message
    assert "deployments/f" not in caught.value.message
    async with running(provider) as api:
        refused = await api.call("DELETE", f"/system/namespace/{dev}?force=no", {"name": dev})
        assert (refused.status, "configmaps/theirs" in refused.text) == (409, True)
        assert "--force" in refused.text
        assert (await api.call("DELETE", f"/system/namespace/{dev}?force=true", {"name": dev})).status == 202
        assert (await api.call("GET", f"/system/namespace/{dev}")).status == 404
    with pytest.raises(NamespaceNotFound):
        await provider.get_namespace(dev)


async def test_a_deletion_that_lasts_says_what_is_left_and_can_be_waited_for(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev))
    held = {"name": "held", "namespace": dev, "finalizers": ["example.com/hold"]}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    provider._namespaces._patience = 1.0
    assert await provider.still_deleting(dev) is None
    path = f"/system/namespace/{dev}"
    async with running(provider) as api:
        assert (await api.call("DELETE", f"{path}?force=true", {"name": dev})).status == 202, "as OpenFaaS answers"
        assert await _is_not_listed(provider, dev), "no call goes there any more"
        assert (await api.call("GET", path)).status == 404
        assert (await api.call("DELETE", path, {"name": dev})).status == 404
        left = await api.call("GET", f"{path}?deleting=true")
        assert left.status == 409
        assert re.search(r"still being deleted: .*(configmaps|example\.com/hold)", left.text), left.text
        assert "--wait" in left.text
        assert (await api.call("GET", f"{path}-other?deleting=true")).status == 404
        administrator = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
        await administrator.patch(kinds.CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, dev)
        await administrator.close()

        async def is_gone() -> bool:
            return (await api.call("GET", f"{path}?deleting=true")).status == 404

        await until(is_gone)
    assert cluster.object("namespaces", dev) is None
    with pytest.raises(NamespaceNotFound):
        await provider.delete_namespace(dev)


@pytest.mark.double("requests are counted")
async def test_without_cluster_wide_rights() -> None:
    options = plan.Options(cluster_role=False, namespaces=("dev-fn", "prod-fn"), definitions=True)
    async with installed(options) as split:
        add_namespace(split, "other", openfaas="1")
        async with gateway(split, namespaces="dev-fn,prod-fn") as provider:
            assert await names_of(provider) == ["dev-fn", "prod-fn"]
            await provider.apply(FunctionSpec(ref=FunctionRef.parse("f.dev-fn"), image="i"))
            assert split.object("deployments", "f", "dev-fn", group="apps") is not None
            for refused in (
                provider.create_namespace(Namespace(name=NamespaceName("new"))),
                provider.update_namespace(Namespace(name=NamespaceName("dev-fn"))),
                provider.delete_namespace(NamespaceName("dev-fn")),
            ):
                with pytest.raises(Unsupported):
                    await refused
        ours = [call for call in split.requests if call.user.endswith(":hilbert")]
        assert ours
        assert not [call for call in ours if call.status == 403]
