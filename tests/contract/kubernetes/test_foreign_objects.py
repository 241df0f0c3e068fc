"""What the platform makes by a fixed name, where somebody else has something of that name: it is left as it is."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest

from hilbert.core.errors import AlreadyExists, BackendError, Conflict, InvalidSpec, SecretNotFound
from hilbert.core.model import FunctionSpec, Namespace, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import Duration, NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.install import plan, run
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import tenant
from support.cluster import AnyCluster, Double, gateway, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def controllers() -> bool:
    return False


ALL = {
    "openfaas": "1",
    "com.hilbert.tenant": "managed",
    "com.hilbert.quota.memory": "1Gi",
    "com.hilbert.network.metrics-from": "monitoring",
    "com.hilbert.network.gateway": "open",
}
"""Annotations by which a tenant has every piece that there is."""
PIECES = {(m["kind"], m["metadata"]["name"]): m for m in tenant.pieces("team", ALL)}
_THEIRS = {
    "ResourceQuota": {"hard": {"pods": "7"}},
    "LimitRange": {"limits": [{"type": "Container", "default": {"cpu": "7m"}}]},
    "NetworkPolicy": {"podSelector": {"matchLabels": {"app": "theirs"}}, "policyTypes": ["Ingress"]},
}


def kept(cluster: AnyCluster, manifest: dict[str, Any]) -> dict[str, Any] | None:
    """What is there, but for what the cluster itself keeps writing."""
    kind = kinds.of(manifest)
    metadata = manifest["metadata"]
    found = copy.deepcopy(cluster.object(kind.plural, metadata["name"], metadata["namespace"], group=kind.group))
    if found is not None:
        found.pop("status", None)
        theirs = found["metadata"].get("managedFields") or ()
        found["metadata"]["managedFields"] = [one for one in theirs if "controller" not in one["manager"]]
        found["metadata"].pop("resourceVersion")
        found["metadata"].get("annotations", {}).pop("deployment.kubernetes.io/revision", None)
    return found


def theirs_of(cluster: AnyCluster, kind: str, name: str, namespace: str, **labels: str) -> dict[str, Any]:
    manifest = {
        "apiVersion": PIECES[kind, name]["apiVersion"] if (kind, name) in PIECES else "networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "theirs", **labels}},
        "spec": _THEIRS[kind],
    }
    cluster.put(manifest)
    return manifest


async def _is_tenant(provider: KubernetesProvider, name: str) -> bool:
    return name in [found.name for found in await provider.list_namespaces()]


def test_every_piece_is_tried() -> None:
    assert {name for _, name in PIECES} == tenant.NAMES


@pytest.mark.parametrize(("kind", "name"), PIECES)
async def test_a_piece_of_that_name_is_never_touched_and_deployments_are_refused(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, kind: str, name: str
) -> None:
    """Without its own walls a function must not run there, and the others of the walls stand all the same."""
    await provider.leadership.wait()
    team = NamespaceName(cluster.name("team"))
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team}})
    manifest = theirs_of(cluster, kind, name, team)
    before = kept(cluster, manifest)
    await admin.patch(kinds.NAMESPACES, team, {"metadata": {"annotations": ALL}})
    await until(lambda: _is_tenant(provider, team))
    spec = FunctionSpec(ref=cluster.ref("f", "team"), image="i")
    with pytest.raises(Conflict, match=f"{kind} {name} that Hilbert did not make") as caught:
        await provider.apply(spec)
    assert "app.kubernetes.io/managed-by=hilbert" in caught.value.hint
    others = {key for key in PIECES if key != (kind, name)}

    def there() -> set[tuple[str, str]]:
        found = set()
        for plural, of, group in (
            ("resourcequotas", "ResourceQuota", ""),
            ("limitranges", "LimitRange", ""),
            ("networkpolicies", "NetworkPolicy", "networking.k8s.io"),
        ):
            found |= {(of, item["metadata"]["name"]) for item in cluster.objects(plural, team, group=group)}
        return found

    await until(lambda: there() >= others)
    await until(lambda: _warns(provider, name))
    off = {f"com.hilbert.tenant.{piece}": "off" for piece in ("quota", "limits", "network")}
    await admin.patch(kinds.NAMESPACES, team, {"metadata": {"annotations": off}})
    await until(lambda: there() == {(kind, name)}, what="ours go, theirs stays")
    assert kept(cluster, manifest) == before
    await provider.apply(spec)


async def _warns(provider: KubernetesProvider, name: str) -> bool:
    return name in (await provider.facts()).get("warning.not-ours", "")


async def test_once_it_is_out_of_the_way_the_tenant_is_made_complete(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api
) -> None:
    team = NamespaceName(cluster.name("team"))
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team, "annotations": ALL}})
    theirs_of(cluster, "NetworkPolicy", "hilbert-deny", team)
    await until(lambda: _is_tenant(provider, team))
    spec = FunctionSpec(ref=cluster.ref("f", "team"), image="i")
    with pytest.raises(Conflict):
        await provider.apply(spec)
    await admin.delete(kinds.POLICIES, "hilbert-deny", team)
    await provider.apply(spec)
    found = cluster.object("networkpolicies", "hilbert-deny", team, group="networking.k8s.io")
    assert found is not None
    assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "hilbert"
    assert "warning.not-ours" not in await provider.facts()


async def test_a_policy_with_our_label_and_a_name_that_we_never_give_stays(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    team = NamespaceName(cluster.name("team"))
    await provider.leadership.wait()
    await provider.create_namespace(Namespace(name=team))
    label = {"app.kubernetes.io/managed-by": "hilbert"}
    mine = [theirs_of(cluster, "NetworkPolicy", name, team, **label) for name in ("mine", "hilbert-mine")]
    before = [kept(cluster, manifest) for manifest in mine]
    await provider.update_namespace(Namespace(name=team, annotations={"com.hilbert.network.internet": "closed"}))
    await until(lambda: not cluster.object("networkpolicies", "hilbert-to-internet", team, group="networking.k8s.io"))
    assert [kept(cluster, manifest) for manifest in mine] == before


@pytest.mark.parametrize("owner", [None, "fission.io/v1"])
async def test_a_service_or_deployment_of_a_functions_name(
    cluster: AnyCluster, provider: KubernetesProvider, owner: str | None
) -> None:
    """Also one that belongs to another platform's Function."""
    owners = [{"apiVersion": owner, "kind": "Function", "name": "echo", "uid": "u"}] if owner else []
    metadata = {"name": "echo", "namespace": cluster.default, "labels": {"app": "theirs"}, "ownerReferences": owners}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    service["spec"] = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}
    cluster.put(service)
    before = kept(cluster, service)
    spec = FunctionSpec(ref=cluster.ref("echo"), image="i")
    with pytest.raises(Conflict, match="has a Service echo that does not belong to a function"):
        await provider.apply(spec)
    assert kept(cluster, service) == before
    assert cluster.object("functions", "echo", cluster.default, group="openfaas.com") is None
    assert cluster.object("deployments", "echo", cluster.default, group="apps") is None
    labels = {"app": "theirs"}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "name": "other"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "main", "image": "t:1"}]}},
        },
    }
    cluster.put(deployment)
    before = kept(cluster, deployment)
    with pytest.raises((Conflict, InvalidSpec)):
        await provider.apply(msgspec.structs.replace(spec, ref=cluster.ref("other")))
    assert kept(cluster, deployment) == before
    assert cluster.object("services", "other", cluster.default) is None, "nothing is left beside it"


async def test_a_secret_of_that_name(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    default, name = NamespaceName(cluster.default), SecretName("theirs")
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": default}}
    cluster.put({**manifest, "stringData": {"password": "1"}})
    before = kept(cluster, manifest)
    with pytest.raises(AlreadyExists):
        await provider.create_secret(Secret(default, name, b"2"))
    for refused in (provider.update_secret(Secret(default, name, b"2")), provider.delete_secret(default, name)):
        with pytest.raises(SecretNotFound):
            await refused
    assert kept(cluster, manifest) == before


@pytest.mark.double("it puts things into the platform's namespace")
async def test_a_lease_of_the_leaders_name(cluster: AnyCluster) -> None:
    lease: dict[str, Any] = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "hilbert", "namespace": cluster.platform},
        "spec": {"holderIdentity": "their-operator", "leaseDurationSeconds": 1},
    }
    cluster.put(lease)
    before = kept(cluster, lease)
    async with gateway(cluster, lease_duration=Duration.of(1)) as provider:
        await until(lambda: _lease_is_told(provider))
        assert not provider.leadership.leads
        assert kept(cluster, lease) == before
        await provider.apply(FunctionSpec(ref=cluster.ref("f"), image="i"))


async def _lease_is_told(provider: KubernetesProvider) -> bool:
    return "kubectl" in (await provider.facts()).get("warning.lease", "")


@pytest.mark.double("it puts things into the platform's namespace")
@pytest.mark.parametrize("holder", ["", "gateway-5d8f_1_0a1b2c3d"])
async def test_a_lease_of_an_older_version_is_taken_over(cluster: AnyCluster, holder: str) -> None:
    """Those had no label yet."""
    spec = {"leaseDurationSeconds": 1, **({"holderIdentity": holder} if holder else {})}
    metadata = {"name": "hilbert", "namespace": cluster.platform}
    cluster.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})
    async with gateway(cluster, lease_duration=Duration.of(1)) as provider:
        await provider.leadership.wait()
        found = cluster.object("leases", "hilbert", cluster.platform, group="coordination.k8s.io")
        assert found is not None
        assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "hilbert"}


@pytest.mark.double("it puts things into the platform's namespace")
async def test_the_platforms_own_secrets(cluster: AnyCluster, provider: KubernetesProvider, admin: Api) -> None:
    manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hilbert-tokens", "namespace": "openfaas"}}
    await admin.patch(kinds.SECRETS, "hilbert-tokens", {"metadata": {"labels": None}}, "openfaas")
    shelf = provider.shelf("tokens")

    async def is_refused() -> bool:
        try:
            await shelf.put("name", b"document")
        except BackendError as exc:
            return "is not Hilbert's" in exc.message
        return False

    await until(is_refused)
    before = kept(cluster, manifest)
    with pytest.raises(BackendError):
        await shelf.put("other", b"document")
    assert kept(cluster, manifest) == before


INSTALLED = [
    manifest
    for options in (plan.Options(), plan.Options(cluster_role=False))
    for manifest in plan.make(options).every()
    if manifest["kind"] not in ("Namespace", "CustomResourceDefinition")
]
_CASES = {(m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]): m for m in INSTALLED}


@pytest.mark.double("it installs")
@pytest.mark.parametrize("case", _CASES, ids=" ".join)
async def test_the_installation_takes_nothing_over_and_says_what_is_in_the_way(case: tuple[str, str, str]) -> None:
    manifest = copy.deepcopy(_CASES[case])
    kind, namespace, name = case
    manifest["metadata"] = {
        **{key: value for key, value in manifest["metadata"].items() if key in ("name", "namespace")},
        "labels": {"app": "theirs"},
    }
    options = plan.Options(cluster_role=manifest["kind"] in ("ClusterRole", "ClusterRoleBinding") or not namespace)
    if case not in {
        (m["kind"], m["metadata"].get("namespace", ""), m["metadata"]["name"]) for m in plan.make(options).every()
    }:
        options = plan.Options(cluster_role=not options.cluster_role)
    async with Double(controllers=False) as cluster:
        if namespace:
            cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
        cluster.put(manifest)
        resource = cluster.engine.registry.of_kind(manifest["apiVersion"], kind)
        assert resource is not None
        before = copy.deepcopy(cluster.object(resource.plural, name, namespace, group=resource.group))
        settings = KubernetesSettings(kubeconfig=str(cluster.kubeconfig))
        with pytest.raises(Conflict, match=f"{kind} {name}") as caught:
            await run.install(options, settings)
        assert "uninstall OpenFaaS" in caught.value.hint or "label" in caught.value.hint
        assert cluster.object(resource.plural, name, namespace, group=resource.group) == before
        assert cluster.objects("customresourcedefinitions", group="apiextensions.k8s.io") == [], "nothing was changed"
