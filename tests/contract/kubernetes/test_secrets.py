"""Secrets: how a new value reaches the replicas that run."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, Phase, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.testing.harness import eventually, watching
from support.cluster import ACCOUNT, AnyCluster, Double, gateway, installed, until

pytestmark = pytest.mark.anyio

TOUCHED = "com.hilbert.secrets"


def pods(cluster: AnyCluster, name: str) -> list[dict[str, Any]]:
    every = cluster.objects("pods", cluster.default)
    return [pod for pod in every if pod["metadata"]["labels"].get("faas_function") == name]


async def test_a_changed_secret_makes_nodes_look_at_the_pods_that_mount_it(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    default, token = NamespaceName(cluster.default), SecretName("token")
    await provider.create_secret(Secret(default, token, b"1"))
    await provider.apply(FunctionSpec(ref=cluster.ref("reader"), image=cluster.image, secrets=(token,)))
    await provider.apply(FunctionSpec(ref=cluster.ref("other"), image=cluster.image))
    await until(lambda: len(pods(cluster, "reader")) == len(pods(cluster, "other")) == 1)
    await until(lambda: provider._state.pods((cluster.default, "reader")))
    (before,) = pods(cluster, "reader")
    await provider.update_secret(Secret(default, token, b"2"))
    (after,) = pods(cluster, "reader")
    assert after["metadata"]["uid"] == before["metadata"]["uid"], "nothing is started anew"
    assert after["metadata"]["annotations"][TOUCHED]
    assert TOUCHED not in pods(cluster, "other")[0]["metadata"]["annotations"]


def written(name: str, value: str, namespace: str) -> dict[str, Any]:
    """As an administrator writes it with kubectl: without a label of ours."""
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {name: value}}


async def kubectl(cluster: AnyCluster, how: str, namespace: str) -> None:
    """Change the secret `token`, or make it anew."""
    admin = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    try:
        if how == "patch":
            await admin.patch(kinds.SECRETS, "token", {"stringData": {"token": "2"}}, namespace)
        else:
            await admin.delete(kinds.SECRETS, "token", namespace)
            await admin.create(kinds.SECRETS, written("token", "2", namespace), namespace)
    finally:
        await admin.close()


async def reading(cluster: AnyCluster, provider: KubernetesProvider, *, by_hand: bool = False) -> NamespaceName:
    """Functions `reader`, which reads the secret `token`, and `other`, which does not; both have a Pod."""
    default, token = NamespaceName(cluster.default), SecretName("token")
    if by_hand:
        cluster.put(written(token, "1", default))
    else:
        await provider.create_secret(Secret(default, token, b"1"))
    await provider.apply(FunctionSpec(ref=cluster.ref("reader"), image=cluster.image, secrets=(token,)))
    await provider.apply(FunctionSpec(ref=cluster.ref("other"), image=cluster.image))
    for name in ("reader", "other"):
        await until(lambda name=name: provider._state.pods((cluster.default, name)), what=f"a Pod of {name}")
    return default


def is_touched(cluster: AnyCluster, name: str = "reader") -> bool:
    return all(TOUCHED in pod["metadata"].get("annotations", {}) for pod in pods(cluster, name))


async def test_a_secret_that_is_made_again_makes_nodes_look(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    default = await reading(cluster, provider)
    await provider.delete_secret(default, SecretName("token"))
    assert not is_touched(cluster)
    await provider.create_secret(Secret(default, SecretName("token"), b"2"))
    assert is_touched(cluster)
    assert not is_touched(cluster, "other")


@pytest.mark.parametrize("by_hand", [True, False], ids=["by hand", "by the API"])
@pytest.mark.parametrize("how", ["patch", "make anew"])
async def test_a_secret_that_kubectl_changes_makes_nodes_look(
    cluster: AnyCluster, provider: KubernetesProvider, how: str, by_hand: bool
) -> None:
    """However it was made. The leading gateway tells the Pods."""
    await provider.leadership.wait()
    default = await reading(cluster, provider, by_hand=by_hand)
    await until(lambda: provider._secret_watch.is_watching)
    await kubectl(cluster, how, default)
    await until(lambda: is_touched(cluster), what="the Pod is told")
    assert not is_touched(cluster, "other")


@pytest.mark.double("requests are counted")
async def test_no_value_is_read_and_no_pod_told_twice(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    assert isinstance(cluster, Double)
    await provider.leadership.wait()
    default = await reading(cluster, provider)
    await until(lambda: provider._secret_watch.is_watching)
    await provider.update_secret(Secret(default, SecretName("token"), b"1a"))
    await provider.create_secret(Secret(default, SecretName("unused"), b"1"))
    await kubectl(cluster, "patch", default)

    def told() -> int:
        return sum(call.method == "PATCH" and "/pods/reader" in call.path for call in cluster.requests)

    await until(lambda: told() >= 2)
    await provider.update_secret(Secret(default, SecretName("token"), b"3"))
    await until(lambda: not provider._secret_watch.waiting)
    assert told() == 3, "one for each change"
    watches = [call for call in cluster.requests if "watch" in call.query and call.path.endswith("/v1/secrets")]
    assert [call.user for call in watches if call.user == ACCOUNT]
    assert all("as=PartialObjectMetadata" in call.headers["accept"] for call in watches)


@pytest.mark.double("somebody is always quicker")
async def test_a_secret_that_is_made_again_during_its_update(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    """The update means what is there, and so does a Pod that ends meanwhile: nobody hears of either."""
    default = await reading(cluster, provider)
    assert isinstance(cluster, Double)
    for pod in pods(cluster, "reader"):
        cluster.controllers.kubelet.remove(pod)
    store, read = provider._secrets, provider._secrets._read
    once = iter("a")

    async def first(*given: Any) -> Any:
        found = await read(*given)
        for _ in once:
            store._read = read  # type: ignore[method-assign]
            await provider.delete_secret(default, SecretName("token"))
            await provider.create_secret(Secret(default, SecretName("token"), b"other"))
        return found

    store._read = first  # type: ignore[method-assign]
    await provider.update_secret(Secret(default, SecretName("token"), b"new"))
    stored = cluster.object("secrets", "token", default) or {}
    assert base64.b64decode(stored["data"]["token"]) == b"new"


@pytest.mark.double("an installation of another kind")
async def test_a_gateway_of_listed_namespaces_tells_pods_too() -> None:
    options = plan.Options(cluster_role=False, namespaces=("openfaas-fn", "dev-fn"), definitions=True)
    async with installed(options) as split, gateway(split, namespaces="openfaas-fn,dev-fn") as provider:
        await provider.leadership.wait()
        await reading(split, provider)
        await until(lambda: provider._secret_watch.is_watching)
        await kubectl(split, "patch", "openfaas-fn")
        await until(lambda: is_touched(split))


@pytest.mark.double("the roles are changed")
async def test_roles_of_an_older_installation_only_leave_changes_of_kubectl_to_the_nodes(
    cluster: AnyCluster,
) -> None:
    assert isinstance(cluster, Double)
    role = cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io")
    assert role is not None
    rules = [
        {**rule, "verbs": [verb for verb in rule["verbs"] if rule["resources"] != ["secrets"] or verb != "watch"]}
        for rule in role["rules"]
    ]
    roles = kinds.Kind("rbac.authorization.k8s.io", "v1", "clusterroles", kinds.Object, namespaced=False)
    admin = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    await admin.patch(roles, "openfaas-hilbert", {"rules": rules})
    await admin.close()
    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        default = await reading(cluster, provider)
        await until(lambda: _warns(provider), what="it is told")
        await provider.update_secret(Secret(default, SecretName("token"), b"2"))
        assert is_touched(cluster)


async def _warns(provider: KubernetesProvider) -> bool:
    return "install kubernetes" in (await provider.facts()).get("warning.secrets", "")


@pytest.mark.double("requests are refused")
async def test_a_node_that_cannot_be_told_does_not_fail_the_update(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    assert isinstance(cluster, Double)
    default, token = NamespaceName(cluster.default), SecretName("token")
    await provider.create_secret(Secret(default, token, b"1"))
    await provider.apply(FunctionSpec(ref=cluster.ref("reader"), image=cluster.image, secrets=(token,)))
    await until(lambda: provider._state.pods((cluster.default, "reader")))
    refused = cluster.chaos.fail(403, method="PATCH", path="/pods/")
    await provider.update_secret(Secret(default, token, b"2"))
    assert refused.times == 0


async def test_a_secret_that_is_gone_is_named_and_calls_are_refused_until_it_is_back(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """A Pod that cannot mount it stays in ContainerCreating and does not say why."""
    default, token, key = NamespaceName(cluster.default), SecretName("token"), SecretName("key")
    for name in (token, key):
        await provider.create_secret(Secret(default, name, b"1"))
    spec = FunctionSpec(ref=cluster.ref("reader"), image=cluster.image, secrets=(token, key))
    await provider.apply(spec)
    async with watching(provider) as table:
        await table.ready(spec.ref)
        await provider.scale(spec.ref, 0)
        await eventually(lambda: not table.sets[spec.ref].endpoints)
        await until(lambda: not pods(cluster, "reader"))
        await provider.delete_secret(default, key)
        await provider.scale(spec.ref, 1)
        fault = await eventually(lambda: table.sets[spec.ref].fault)
        assert (fault.reason, fault.message) == ("SecretNotFound", "a secret that it needs does not exist")
        status = await provider.get(spec.ref)
        assert (status.phase, status.reason, status.message) == (
            Phase.FAILED, "SecretNotFound", "unable to find secret: key",
        )  # fmt: skip
        await provider.create_secret(Secret(default, key, b"2"))
        await table.ready(spec.ref)
        assert table.sets[spec.ref].fault is None
