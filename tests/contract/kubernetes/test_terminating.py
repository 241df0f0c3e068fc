"""A namespace that the cluster is removing: every verb says so plainly, and nothing goes round in circles."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from hilbert.core.errors import AlreadyExists, HilbertError, NamespaceNotFound
from hilbert.core.model import FunctionSpec, Namespace, Phase, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import FunctionRef, NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.install import plan
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from support.api import running
from support.cluster import ACCOUNT, AnyCluster, Double, gateway, installed, until

pytestmark = pytest.mark.anyio

TOKEN = SecretName("token")
Verb = Callable[[KubernetesProvider, FunctionSpec], Coroutine[Any, Any, Any]]

VERBS: dict[str, Verb] = {
    "deploy": lambda provider, spec: provider.apply(spec, create=True),
    "update": lambda provider, spec: provider.apply(spec, create=False),
    "deploy or update": lambda provider, spec: provider.apply(spec),
    "scale": lambda provider, spec: provider.scale(spec.ref, 2),
    "restart": lambda provider, spec: provider.restart(spec.ref),
    "remove": lambda provider, spec: provider.remove(spec.ref),
    "get": lambda provider, spec: provider.get(spec.ref),
    "list": lambda provider, spec: provider.list(spec.ref.namespace),
    "list secrets": lambda provider, spec: provider.list_secrets(spec.ref.namespace),
    "create secret": lambda provider, spec: provider.create_secret(Secret(spec.ref.namespace, SecretName("new"), b"1")),
    "update secret": lambda provider, spec: provider.update_secret(Secret(spec.ref.namespace, TOKEN, b"2")),
    "delete secret": lambda provider, spec: provider.delete_secret(spec.ref.namespace, TOKEN),
    "get namespace": lambda provider, spec: provider.get_namespace(spec.ref.namespace),
    "update namespace": lambda provider, spec: provider.update_namespace(Namespace(name=spec.ref.namespace)),
    "delete namespace": lambda provider, spec: provider.delete_namespace(spec.ref.namespace, force=True),
}


@asynccontextmanager
async def administrator(cluster: AnyCluster) -> AsyncIterator[Api]:
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    try:
        yield api
    finally:
        await api.close()


async def furnished(cluster: AnyCluster, provider: KubernetesProvider) -> FunctionSpec:
    """A function and a secret in the namespace `dev`, which a finalizer holds once it is deleted."""
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev))
    await provider.create_secret(Secret(dev, TOKEN, b"1"))
    spec = FunctionSpec(ref=cluster.ref("f", "dev"), image=cluster.image, secrets=(TOKEN,))
    await provider.apply(spec)

    async def is_ready() -> bool:
        return (await provider.get(spec.ref)).phase is Phase.READY

    await until(is_ready)
    held = {"name": "held", "namespace": dev, "finalizers": ["example.com/hold"]}
    cluster.put({"apiVersion": "v1", "kind": "ConfigMap", "metadata": held})
    return spec


async def delete(cluster: AnyCluster, namespace: str) -> None:
    """As `kubectl delete namespace --wait=false`."""
    async with administrator(cluster) as admin:
        await admin.delete(kinds.NAMESPACES, namespace)


async def let_go(cluster: AnyCluster, namespace: str) -> None:
    async with administrator(cluster) as admin:
        await admin.patch(kinds.CONFIG_MAPS, "held", {"metadata": {"finalizers": None}}, namespace)
    await until(lambda: cluster.object("namespaces", namespace) is None)


async def test_every_verb_says_that_it_is_being_removed(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    spec = await furnished(cluster, provider)
    await delete(cluster, spec.ref.namespace)
    await until(lambda: provider._state.tenant(spec.ref.namespace) is None)
    for name, verb in VERBS.items():
        with pytest.raises(NamespaceNotFound, match="is being deleted") as caught:
            await verb(provider, spec)
        assert "kubectl annotate" not in caught.value.hint, f"{name}: that would not help"
    with pytest.raises(AlreadyExists, match="is still being deleted") as caught:
        await provider.create_namespace(Namespace(name=spec.ref.namespace))
    assert "kubectl annotate" not in caught.value.hint
    async with running(provider) as api:
        deploy = {"service": "f", "image": cluster.image, "namespace": spec.ref.namespace}
        secret = {"name": "token", "namespace": spec.ref.namespace, "value": "1"}
        query = f"?namespace={spec.ref.namespace}"
        marked = {"name": spec.ref.namespace, "labels": {"openfaas": "1"}}
        for method, path, body, status in (
            ("POST", "/system/functions", deploy, 400),
            ("PUT", "/system/functions", deploy, 400),
            ("GET", f"/system/functions{query}", None, 400),
            ("POST", "/system/scale-function/f", {"serviceName": "f", "replicas": 1, **secret}, 400),
            ("DELETE", "/system/functions", {"functionName": "f", "namespace": spec.ref.namespace}, 400),
            ("GET", f"/system/secrets{query}", None, 400),
            ("POST", "/system/secrets", secret, 400),
            ("PUT", "/system/secrets", secret, 400),
            ("DELETE", "/system/secrets", secret, 400),
            ("POST", "/system/namespace/", marked, 409),
        ):
            assert (await api.call(method, path, body)).status == status, f"{method} {path}"
    await let_go(cluster, spec.ref.namespace)
    await provider.create_namespace(Namespace(name=spec.ref.namespace))
    await provider.create_secret(Secret(spec.ref.namespace, TOKEN, b"1"))
    await provider.apply(spec)


@pytest.mark.double("watches are late")
@pytest.mark.parametrize("name", VERBS)
async def test_before_the_gateway_has_heard_of_it(cluster: AnyCluster, provider: KubernetesProvider, name: str) -> None:
    """The cluster itself refuses what is new, and lets the rest be done or finds nothing."""
    assert isinstance(cluster, Double)
    spec = await furnished(cluster, provider)
    cluster.pace.namespace_delete = 60.0
    cluster.chaos.mute = True
    await delete(cluster, spec.ref.namespace)
    if name == "deploy":
        spec = FunctionSpec(ref=cluster.ref("new", "dev"), image=cluster.image)
    try:
        await VERBS[name](provider, spec)
    except HilbertError as exc:
        told: HilbertError | None = exc
    else:
        told = None
    if told is not None or name in ("deploy", "create secret"):
        assert isinstance(told, NamespaceNotFound), told
        assert "is being deleted" in told.message
    with pytest.raises(AlreadyExists):
        await provider.create_namespace(Namespace(name=spec.ref.namespace))


@pytest.mark.double("requests are counted")
async def test_nothing_goes_round_in_circles(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    assert isinstance(cluster, Double)
    spec = await furnished(cluster, provider)
    dev = spec.ref.namespace
    await provider.leadership.wait()
    broken = function_object.to_object(FunctionSpec(ref=cluster.ref("broken", "dev"), image="i", secrets=(TOKEN,)))
    cluster.put({**broken, "metadata": {**broken["metadata"], "finalizers": ["example.com/hold"]}})
    await delete(cluster, dev)
    await until(lambda: provider._state.tenant(dev) is None)
    async with administrator(cluster) as admin:
        for plural in ("networkpolicies", "deployments"):
            await until(lambda plural=plural: not cluster.objects(plural, dev, group=_GROUPS[plural]))
        cluster.requests.clear()
        # Changes of what goes must not wake the one who keeps it.
        for number in range(20):
            change = {"metadata": {"annotations": {"n": str(number)}}}
            await admin.patch(kinds.FUNCTIONS, "broken", change, dev)
            await admin.patch(kinds.NAMESPACES, dev, change)
        await provider.apply(FunctionSpec(ref=cluster.ref("other"), image=cluster.image))
        await until(lambda: cluster.object("functions", "other", cluster.default, group="openfaas.com"))
        written = [call.path for call in cluster.requests if call.user == ACCOUNT and call.method != "GET"]
        there = [path for path in written if f"/namespaces/{dev}" in path]
        assert len(there) <= 2, f"more than what was under way, for forty changes: {there}"
        await admin.patch(kinds.FUNCTIONS, "broken", {"metadata": {"finalizers": None}}, dev)
    await let_go(cluster, dev)
    assert "warning.stale" not in await provider.facts()
    assert dev not in [found.name for found in await provider.list_namespaces()]


_GROUPS = {"networkpolicies": "networking.k8s.io", "deployments": "apps"}


@pytest.mark.double("an installation of another kind")
async def test_a_listed_namespace_that_is_gone_holds_up_no_other() -> None:
    """Without cluster-wide rights those in the namespace go with it: its watches are refused from then on."""
    options = plan.Options(cluster_role=False, namespaces=("dev-fn", "prod-fn"), definitions=True)
    gone = FunctionSpec(ref=FunctionRef.parse("f.dev-fn"), image="echo:1")
    async with installed(options) as split:
        async with gateway(split, namespaces="dev-fn,prod-fn") as provider:
            await provider.apply(gone)
            await delete(split, "dev-fn")
            await until(lambda: split.object("namespaces", "dev-fn") is None)
            spec = FunctionSpec(ref=split.ref("f", "prod-fn"), image="echo:1")
            await provider.apply(spec)
            assert [status.spec for status in await provider.list(spec.ref.namespace)] == [spec]
        async with gateway(split, namespaces="dev-fn,prod-fn") as again:
            assert [status.spec for status in await again.list(spec.ref.namespace)] == [spec]
            assert [found.name for found in await again.list_namespaces()] == ["prod-fn"]
            with pytest.raises(NamespaceNotFound):
                await again.apply(gone)
            assert "dev-fn" in (await again.facts())["warning.namespaces"]
