"""Annotations that cannot be read: refused by name where the API takes them, put up with where they are in the cluster."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.control import known_keys
from hilbert.core.errors import Invalid
from hilbert.core.model import FunctionSpec, Namespace, Phase, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import JSON_PATCH, Api
from hilbert.providers.kubernetes.cluster.errors import Refused
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from hilbert.testing.harness import watching
from hilbert.wire import headers
from support.api import running
from support.cluster import AnyCluster, gateway, until

pytestmark = pytest.mark.anyio

WRONG = "no way!"
_TEXTS = {"com.hilbert.schedule.body", "com.hilbert.schedule.content-type", "topic", "prometheus.io.scrape"}
"""Any text is right."""
ON_FUNCTIONS = sorted(known_keys.ON_FUNCTIONS - _TEXTS)
ON_NAMESPACES = sorted(known_keys.ON_NAMESPACES - _TEXTS)
LABELS = sorted(known_keys.LABELS - {"com.openfaas.scale.type"})
FIRED = {"topic": "cron-function", "schedule": "* * * * *"}


@pytest.fixture
def controllers() -> bool:
    return False


async def _is_tenant(provider: KubernetesProvider, name: str) -> bool:
    return name in [found.name for found in await provider.list_namespaces()]


async def test_the_api_refuses_or_warns_of_every_one_by_its_key(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """What OpenFaaS accepts is accepted and warned of; what only we know is refused."""
    dev = cluster.name("dev")
    await provider.create_namespace(Namespace(name=NamespaceName(dev)))
    silent = []
    async with running(provider) as api:
        for place, keys in (("annotations", ON_FUNCTIONS), ("labels", LABELS)):
            for key in keys:
                value = WRONG if place == "annotations" else "no-way"
                given = {**(FIRED if "schedule" in key else {}), key: value}
                body = {"service": "f", "namespace": dev, "image": "i:1", place: given}
                answer = await api.call("POST", "/system/functions", body)
                if answer.status == 202:
                    await api.call("DELETE", "/system/functions", {"functionName": "f", "namespace": dev})
                if key not in answer.text and key not in answer.headers.get(headers.WARNING.lower(), ""):
                    silent.append((key, answer.status, answer.text))
        for key in ON_NAMESPACES:
            body = {"name": dev, "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1", key: WRONG}}
            answer = await api.call("PUT", f"/system/namespace/{dev}", body)
            if key not in answer.text and key not in answer.headers.get(headers.WARNING.lower(), ""):
                silent.append((key, answer.status, answer.text))
    assert silent == []


@pytest.mark.parametrize("key", ON_NAMESPACES)
async def test_one_on_a_namespace_of_kubectl_costs_nothing_else(
    cluster: AnyCluster, provider: KubernetesProvider, key: str
) -> None:
    team = NamespaceName(cluster.name("team"))
    marked = {"openfaas": "1", "com.hilbert.tenant": "managed", "com.hilbert.quota.functions": "3", key: WRONG}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team, "annotations": marked}})
    await until(lambda: _is_tenant(provider, team))
    spec = FunctionSpec(ref=cluster.ref("f", "team"), image="i:1")
    if key == "com.hilbert.profiles":
        with pytest.raises(Invalid, match=f"annotation {key}: profile {WRONG} does not exist"):
            await provider.apply(spec)  # What is imposed must not be got round by a mistake.
        return
    await provider.apply(spec)
    await provider.scale(spec.ref, 2)
    await provider.create_secret(Secret(team, SecretName("s"), b"1"))
    assert [status.spec for status in await provider.list(team)] == [spec]
    policies = {
        item["metadata"]["name"] for item in cluster.objects("networkpolicies", team, group="networking.k8s.io")
    }
    assert {"hilbert-deny", "hilbert-from-gateway"} <= policies
    assert not policies & {"hilbert-metrics", "hilbert-to-gateway"}
    if key == "com.hilbert.network.internet":
        assert "hilbert-to-internet" not in policies, "nothing is opened by a mistake"
    if key == "com.hilbert.network":
        stored = cluster.object("deployments", "f", team, group="apps") or {}
        assert stored["spec"]["template"]["metadata"]["labels"]["com.hilbert.network"] == "none"
    async with running(provider) as api:
        told = await api.call("GET", f"/system/namespace/{team}")
        assert told.status == 200
        wrong = [warning for warning in told.json.get("warnings", ()) if key in warning]
        assert wrong, f"nobody hears of {key}: {told.text}"


async def test_the_administrator_hears_of_them(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    team = NamespaceName(cluster.name("team"))
    marked = {"openfaas": "1", "com.hilbert.quota.memory": "lots", "com.hilbert.limits.cpu": "2"}
    marked["com.hilbert.limits.max-cpu"] = "1"
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": team, "annotations": marked}})
    await until(lambda: _is_tenant(provider, team))
    warning = (await provider.facts())["warning.annotations"]
    assert f"{team}: annotation com.hilbert.quota.memory: " in warning
    assert "com.hilbert.limits.cpu: is more than com.hilbert.limits.max-cpu" in warning
    much = FunctionSpec(ref=cluster.ref("f", "team"), image="i:1")
    await provider.apply(much)
    stored = cluster.object("deployments", "f", team, group="apps") or {}
    limits = stored["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "1"}, "the most that one may have still counts"


@pytest.mark.parametrize("key", ON_FUNCTIONS)
async def test_one_on_a_function_of_kubectl_is_told_and_hides_nothing(
    cluster: AnyCluster, admin: Api, key: str
) -> None:
    """Also by a gateway that starts afterwards: what ran goes on, in lists and routes."""
    spec = FunctionSpec(ref=cluster.ref("f"), image="i:1")
    async with gateway(cluster) as provider:
        await provider.apply(spec)
    wrong = {**(FIRED if "schedule" in key else {}), key: WRONG}
    await admin.patch(kinds.FUNCTIONS, "f", {"spec": {"annotations": wrong}}, cluster.default)
    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        (status,) = await provider.list(spec.ref.namespace)
        assert status.spec.image == spec.image
        async with watching(provider) as table:
            assert table.sets[spec.ref].spec is not None
        await provider.scale(spec.ref, 2)

        async def is_told() -> bool:
            async with running(provider) as api:
                answer = await api.call("GET", f"/system/function/f?namespace={cluster.default}")
                return answer.status == 200 and key in answer.text.replace(f'"{key}":', "")

        await until(is_told, what=key)


@pytest.mark.parametrize("change", [{"environment": {"A": 1}}, {"secrets": "s"}], ids=lambda change: next(iter(change)))
async def test_mistakes_that_the_definition_refuses(cluster: AnyCluster, admin: Api, change: dict[str, Any]) -> None:
    """A gateway never meets them."""
    spec = FunctionSpec(ref=cluster.ref("f"), image="i:1")
    cluster.put(function_object.to_object(spec))
    with pytest.raises(Refused, match="Invalid value") as refused:
        await admin.patch(kinds.FUNCTIONS, "f", _replaced(spec, change), cluster.default, form=JSON_PATCH)
    assert refused.value.code == 422


def _replaced(spec: FunctionSpec, change: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"op": "replace", "path": "/spec", "value": {**function_object.to_spec(spec), **change}}]


@pytest.mark.parametrize(
    "change",
    [{"limits": {"memory": "lots"}}, {"environment": {"HILBERT_A": "1"}}],
    ids=lambda change: next(iter(change)),
)
async def test_other_mistakes_of_kubectl_hide_nothing_either(
    cluster: AnyCluster, admin: Api, change: dict[str, Any]
) -> None:
    spec = FunctionSpec(ref=cluster.ref("f"), image="i:1", env={"B": "1"})
    cluster.put(function_object.to_object(spec))
    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        await until(lambda: cluster.object("deployments", "f", cluster.default, group="apps"))
    before = cluster.object("deployments", "f", cluster.default, group="apps") or {}
    await admin.patch(kinds.FUNCTIONS, "f", _replaced(spec, change), cluster.default, form=JSON_PATCH)
    async with gateway(cluster) as provider:
        await provider.leadership.wait()
        (status,) = await provider.list(spec.ref.namespace)
        assert (status.spec.image, status.reason) == (spec.image, "InvalidSpec")
        assert status.phase is not Phase.READY
        after = cluster.object("deployments", "f", cluster.default, group="apps") or {}
        assert after["spec"]["template"] == before["spec"]["template"], "what ran stays as it was"


async def test_what_we_write_ourselves_may_be_overwritten_by_anybody(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api
) -> None:
    """It is written anew, and nothing that was scaled is lost."""
    await provider.leadership.wait()
    spec = FunctionSpec(ref=cluster.ref("f"), image="i:1")
    await provider.apply(spec)
    await provider.scale(spec.ref, 3)

    def stored() -> dict[str, Any]:
        return cluster.object("deployments", "f", cluster.default, group="apps") or {}

    notes = dict(stored()["metadata"]["annotations"])
    for key in ("com.hilbert.applied", "com.hilbert.digest", "com.hilbert.pull-secrets"):
        change = {"metadata": {"annotations": {key: WRONG}}}
        await admin.patch(kinds.DEPLOYMENTS, "f", change, cluster.default)
        await until(lambda key=key: stored()["metadata"]["annotations"].get(key) in (notes.get(key), WRONG))
        await until(lambda: stored()["metadata"]["annotations"]["com.hilbert.applied"] == notes["com.hilbert.applied"])
        assert stored()["spec"]["replicas"] == 3, key
    await provider.apply(FunctionSpec(ref=spec.ref, image="i:2"))
    assert stored()["spec"]["replicas"] == 3
