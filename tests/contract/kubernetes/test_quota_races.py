"""Quotas and limits under several changes at once: nobody gets more than there is, and nothing is left half done."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import msgspec
import pytest

from hilbert.core.errors import InvalidSpec, QuotaExceeded, SecretNotFound
from hilbert.core.model import FunctionSpec, FunctionStatus, Namespace, Phase, Resources, Secret
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import NamespaceName, Quantity, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from support.cluster import AnyCluster, Double, gateway, installed, until

pytestmark = pytest.mark.anyio


def spec_of(cluster: AnyCluster, name: str, memory: str = "", **fields: Any) -> FunctionSpec:
    limits = Resources(memory=Quantity.parse(memory)) if memory else None
    return FunctionSpec(ref=cluster.ref(name, "dev"), image=cluster.image, limits=limits, **fields)


async def together(*changes: Coroutine[Any, Any, None]) -> list[bool]:
    """Which were taken; every other one was told of the quota."""
    ends: Sequence[BaseException | None] = await asyncio.gather(*changes, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), QuotaExceeded}, ends
    return [end is None for end in ends]


async def tenant(cluster: AnyCluster, provider: KubernetesProvider, **quota: str) -> NamespaceName:
    dev = NamespaceName(cluster.name("dev"))
    annotations = {f"com.hilbert.quota.{key}": value for key, value in quota.items()}
    await provider.create_namespace(Namespace(name=dev, annotations=annotations))
    return dev


async def status_of(provider: KubernetesProvider, spec: FunctionSpec, reason: str) -> FunctionStatus:
    async def told() -> FunctionStatus | None:
        status = await provider.get(spec.ref)
        return status if status.reason == reason else None

    found = await until(told, what=f"{reason} of {spec.ref}")
    assert isinstance(found, FunctionStatus)
    return found


async def _is_ready(provider: KubernetesProvider, spec: FunctionSpec, available: int = 1) -> bool:
    status = await provider.get(spec.ref)
    return status.phase is Phase.READY and status.available == available


def bind(cluster: AnyCluster, kind: str, spec: dict[str, Any]) -> None:
    """A quota or limits of an administrator's own, beside ours."""
    metadata = {"name": "team", "namespace": cluster.name("dev")}
    cluster.put({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})


async def test_deployments_that_arrive_together(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    dev = await tenant(cluster, provider, replicas="2")
    specs = [spec_of(cluster, f"f{number}") for number in range(6)]
    taken = await together(*(provider.apply(spec) for spec in specs))
    assert sum(taken) == 2
    wanted = {spec.ref.name for spec, there in zip(specs, taken, strict=True) if there}
    assert {status.spec.ref.name for status in await provider.list(dev)} == wanted

    def left() -> set[str]:
        kinds = (("functions", "openfaas.com"), ("deployments", "apps"), ("services", ""))
        return {
            item["metadata"]["name"] for plural, group in kinds for item in cluster.objects(plural, dev, group=group)
        }

    await until(lambda: left() == wanted, what="nothing is left of those that were refused")


async def test_scalings_that_arrive_together(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    dev = await tenant(cluster, provider, replicas="5")
    specs = [spec_of(cluster, name) for name in "abc"]
    for spec in specs:
        await provider.apply(spec)
    taken = await together(*(provider.scale(spec.ref, 3) for spec in specs))
    assert sum(taken) == 1
    assert sorted(status.replicas for status in await provider.list(dev)) == [1, 1, 3]


async def test_updates_that_arrive_together(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    await tenant(cluster, provider, memory="256Mi")
    specs = [spec_of(cluster, name, "64Mi") for name in "abc"]
    for spec in specs:
        await provider.apply(spec)
    larger = [spec_of(cluster, name, "128Mi") for name in "abc"]
    taken = await together(*(provider.apply(spec) for spec in larger))
    assert sum(taken) == 1
    for before, after, there in zip(specs, larger, taken, strict=True):
        assert (await provider.get(before.ref)).spec == (after if there else before)


async def test_secrets_that_arrive_together(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    """Also where the cluster counts none, since the namespace was made with kubectl."""
    dev = NamespaceName(cluster.name("dev"))
    annotations = {"openfaas": "1", "com.hilbert.quota.secrets": "2"}
    cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": dev, "annotations": annotations}})

    async def is_known() -> bool:
        return dev in [found.name for found in await provider.list_namespaces()]

    await until(is_known)
    taken = await together(*(provider.create_secret(Secret(dev, SecretName(name), b"1")) for name in "abcdef"))
    assert sum(taken) == 2
    assert len(await provider.list_secrets(dev)) == 2


async def test_a_scaling_and_a_deployment_that_arrive_together(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    await tenant(cluster, provider, replicas="3")
    spec, other = spec_of(cluster, "a"), spec_of(cluster, "b")
    await provider.apply(spec)
    assert sum(await together(provider.scale(spec.ref, 3), provider.apply(other))) == 1
    assert sum(status.replicas for status in await provider.list(spec.ref.namespace)) <= 3


async def test_what_is_refused_leaves_its_room_to_others(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    await tenant(cluster, provider, replicas="1")
    wrong = spec_of(cluster, "a", secrets=(SecretName("absent"),))
    for _ in range(2):
        with pytest.raises(Exception, match="unable to find secret"):
            await provider.apply(wrong)
    await provider.apply(spec_of(cluster, "b"))
    await provider.remove(cluster.ref("b", "dev"))
    await provider.apply(spec_of(cluster, "c"))


@pytest.mark.double("requests are refused")
async def test_an_update_that_the_cluster_refuses_in_the_end_is_taken_back(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """After the rehearsal: a quota of others may fill up in between."""
    assert isinstance(cluster, Double)
    await tenant(cluster, provider)
    spec = spec_of(cluster, "a")
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    full = "forbidden: exceeded quota: team, requested: 1, used: 1, limited: 1"
    rehearsed = cluster.chaos.fail(403, times=0, method="PATCH", path="/deployments/a$", message=full)
    find = provider._functions._store

    async def store(*given: Any) -> Any:
        stored = await find(*given)
        rehearsed.times = -1
        return stored

    provider._functions._store = store  # type: ignore[method-assign]
    with pytest.raises(QuotaExceeded):
        await provider.apply(msgspec.structs.replace(spec, env={"version": "2"}))
    rehearsed.times = 0
    stored = cluster.object("functions", "a", spec.ref.namespace, group="openfaas.com") or {}
    assert stored["spec"] == function_object.to_spec(spec)
    assert (await provider.get(spec.ref)).spec == spec
    await until(lambda: _is_ready(provider, spec))


async def test_a_roll_out_for_which_a_quota_of_others_has_no_room(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    await tenant(cluster, provider)
    spec = spec_of(cluster, "a")
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    bind(cluster, "ResourceQuota", {"hard": {"pods": "1"}})
    await provider.apply(msgspec.structs.replace(spec, env={"version": "2"}))
    status = await status_of(provider, spec, "QuotaExceeded")
    assert (status.phase, status.available) == (Phase.FAILED, 1), "what served goes on"
    assert "exceeded quota: team" in status.message


async def test_replicas_for_which_a_quota_of_others_has_no_room(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    """Those that fit serve, and the status says why there are no more."""
    await tenant(cluster, provider)
    spec = spec_of(cluster, "a")
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    bind(cluster, "ResourceQuota", {"hard": {"pods": "2"}})
    await provider.scale(spec.ref, 4)
    await until(lambda: _is_ready(provider, spec, 2))
    status = await status_of(provider, spec, "QuotaExceeded")
    assert (status.phase, status.available, status.replicas) == (Phase.READY, 2, 4)
    assert "exceeded quota: team" in status.message

    def conditions() -> dict[str, Any]:
        found = cluster.object("functions", "a", spec.ref.namespace, group="openfaas.com") or {}
        return {item["type"]: item for item in (found.get("status") or {}).get("conditions") or ()}

    await until(lambda: "exceeded quota" in conditions().get("Stalled", {}).get("message", ""))
    assert conditions()["Healthy"]["status"] == "True"
    await provider.scale(spec.ref, 2)
    await status_of(provider, spec, "")


@pytest.mark.parametrize(
    ("kind", "bound", "word", "said"),
    [
        ("ResourceQuota", {"hard": {"limits.memory": "1Gi"}}, "LimitsRequired", "must specify limits.memory"),
        ("ResourceQuota", {"hard": {"requests.cpu": "1"}}, "LimitsRequired", "must specify requests.cpu"),
        ("LimitRange", {"limits": [{"type": "Container", "max": {"cpu": "10m"}}]}, "LimitExceeded", "maximum cpu"),
        ("LimitRange", {"limits": [{"type": "Pod", "min": {"cpu": "1"}}]}, "LimitExceeded", "minimum cpu"),
    ],
)
async def test_what_others_bind_is_the_reason_that_is_told(
    cluster: AnyCluster, provider: KubernetesProvider, kind: str, bound: dict[str, Any], word: str, said: str
) -> None:
    await tenant(cluster, provider)
    bind(cluster, kind, bound)
    limits = Resources(cpu=Quantity.parse("50m")) if kind == "LimitRange" else None
    spec = msgspec.structs.replace(spec_of(cluster, "a"), limits=limits)
    await provider.apply(spec)
    status = await status_of(provider, spec, word)
    assert status.phase is Phase.FAILED
    assert said in status.message


async def test_a_quota_that_is_lowered_later(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    """What runs goes on; nothing grows, and less is always taken."""
    dev = await tenant(cluster, provider, replicas="4")
    spec, other = spec_of(cluster, "a"), spec_of(cluster, "b")
    for one in (spec, other):
        await provider.apply(one)
        await provider.scale(one.ref, 2)
    await until(lambda: _is_ready(provider, spec, 2))
    await provider.update_namespace(Namespace(name=dev, annotations={"com.hilbert.quota.replicas": "2"}))
    await provider.apply(msgspec.structs.replace(spec, env={"version": "2"}))
    for refused in (provider.scale(spec.ref, 3), provider.apply(spec_of(cluster, "c"))):
        with pytest.raises(QuotaExceeded, match=r"com\.hilbert\.quota\.replicas is 2"):
            await refused
    await provider.scale(spec.ref, 1)
    assert (await provider.get(other.ref)).available == 2


@pytest.mark.double("two gateways, and requests that take their time")
async def test_deployments_that_arrive_together_at_two_gateways(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    assert isinstance(cluster, Double)
    dev = await tenant(cluster, provider, replicas="2")
    async with gateway(cluster) as second:

        async def is_known() -> bool:
            return dev in [found.name for found in await second.list_namespaces()]

        await until(is_known)
        cluster.chaos.latency = 0.01
        specs = [spec_of(cluster, f"f{number}") for number in range(6)]
        taken = await together(*((provider, second)[at % 2].apply(spec) for at, spec in enumerate(specs)))
        cluster.chaos.latency = 0.0
        assert sum(taken) == 2


@pytest.mark.double("requests are counted")
async def test_only_what_grows_takes_its_turn(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    assert isinstance(cluster, Double)
    await tenant(cluster, provider, memory="256Mi", replicas="3")
    spec = spec_of(cluster, "a", "64Mi")

    def turns() -> int:
        return sum(call.method == "POST" and call.path.endswith("/leases") for call in cluster.requests)

    async def taken(change: Coroutine[Any, Any, None]) -> int:
        before = turns()
        await change
        return turns() - before

    assert await taken(provider.apply(spec)) == 1
    assert await taken(provider.apply(spec)) == 0
    assert await taken(provider.apply(msgspec.structs.replace(spec, env={"a": "1"}))) == 0
    assert await taken(provider.apply(spec_of(cluster, "a", "128Mi"))) == 1
    assert await taken(provider.apply(spec)) == 0, "less is always taken"
    assert await taken(provider.scale(spec.ref, 3)) == 1
    assert await taken(provider.scale(spec.ref, 1)) == 0
    too_much = spec_of(cluster, "a", "512Mi")
    before = turns()
    with pytest.raises(QuotaExceeded):
        await provider.apply(too_much)
    assert turns() == before, "what does not fit is refused without one"


@pytest.mark.double("nothing is collected")
async def test_what_the_cluster_has_not_collected_yet_takes_no_room(cluster: AnyCluster) -> None:
    """Of a function that kubectl has removed; its Deployment goes when the cluster gets to it."""
    async with installed(controllers=False) as slow, gateway(slow) as provider:
        await tenant(slow, provider, replicas="1")
        await provider.apply(spec_of(slow, "a"))
        admin = connect(KubernetesSettings(kubeconfig=str(slow.kubeconfig)))
        await admin.delete(kinds.FUNCTIONS, "a", "dev")
        await admin.close()
        await until(lambda: provider._state.function(("dev", "a")) is None)
        assert slow.object("deployments", "a", "dev", group="apps") is not None
        await provider.apply(spec_of(slow, "b"))
        assert [status.spec.ref.name for status in await provider.list(NamespaceName("dev"))] == ["b"]


async def test_very_many_that_arrive_together_all_have_their_turn(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    dev = await tenant(cluster, provider, replicas="1000")
    count = 60
    await asyncio.gather(*(provider.apply(spec_of(cluster, f"f{number}")) for number in range(count)))
    assert len(await provider.list(dev)) == count


@pytest.mark.parametrize("why", ["limits", "secret"])
async def test_a_restart_that_is_refused_begins_nothing(
    cluster: AnyCluster, provider: KubernetesProvider, why: str
) -> None:
    """The namespace allows less by now, or a secret is gone: what runs goes on, and its status stays well."""
    dev = await tenant(cluster, provider)
    token = SecretName("token")
    await provider.create_secret(Secret(dev, token, b"1"))
    spec = spec_of(cluster, "a", "128Mi", secrets=(token,))
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    before = cluster.object("functions", "a", dev, group="openfaas.com") or {}
    if why == "limits":
        await provider.update_namespace(Namespace(name=dev, annotations={"com.hilbert.limits.max-memory": "64Mi"}))
    else:
        await provider.delete_secret(dev, token)
    with pytest.raises(InvalidSpec if why == "limits" else SecretNotFound):
        await provider.restart(spec.ref)
    after = cluster.object("functions", "a", dev, group="openfaas.com") or {}
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    assert (await provider.get(spec.ref)).phase is Phase.READY


@pytest.mark.parametrize("counted", ["count/services", "count/deployments.apps", "count/functions.openfaas.com"])
async def test_deployments_that_arrive_together_under_a_quota_of_others(
    cluster: AnyCluster, provider: KubernetesProvider, counted: str
) -> None:
    """Whatever it counts: who has no room is told, and nothing of it is left."""
    dev = await tenant(cluster, provider)
    bind(cluster, "ResourceQuota", {"hard": {counted: "2"}})
    await until(lambda: (cluster.object("resourcequotas", "team", dev) or {}).get("status", {}).get("hard"))
    specs = [spec_of(cluster, f"f{number}") for number in range(5)]
    taken = await together(*(provider.apply(spec) for spec in specs))
    assert sum(taken) == 2
    wanted = {spec.ref.name for spec, there in zip(specs, taken, strict=True) if there}

    def left() -> set[str]:
        kinds = (("functions", "openfaas.com"), ("deployments", "apps"), ("services", ""))
        return {
            item["metadata"]["name"] for plural, group in kinds for item in cluster.objects(plural, dev, group=group)
        }

    await until(lambda: left() == wanted, what="nothing is left of those that were refused")
