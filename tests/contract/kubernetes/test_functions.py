"""Functions, without Pods: what is written, repaired, kept and refused."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from typing import Any

import msgspec
import pytest

from hilbert.core.errors import (
    AlreadyExists,
    BackendUnavailable,
    Conflict,
    FunctionNotFound,
    HilbertError,
    InvalidSpec,
    SecretNotFound,
)
from hilbert.core.model import FunctionSpec, Phase, Secret
from hilbert.core.values import Duration, FunctionRef, SecretName
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object
from support.cluster import AnyCluster, Double, gateway, make_gateway, until

pytestmark = pytest.mark.anyio


IMAGE, NEXT, THIRD = (f"registry.invalid/echo:{number}" for number in (1, 2, 3))


@pytest.fixture
def controllers() -> bool:
    """On the double nothing becomes of Deployments; on a real cluster their Pods wait for images that are not there."""
    return False


@pytest.fixture
def echo(cluster: AnyCluster) -> FunctionSpec:
    return FunctionSpec(ref=cluster.ref("echo"), image=IMAGE, env={"A": "1"})


def deployment(cluster: AnyCluster, name: str = "echo", namespace: str = "") -> dict[str, Any]:
    found = cluster.object("deployments", name, namespace or cluster.default, group="apps")
    assert found is not None
    return found


def container(cluster: AnyCluster, name: str = "echo") -> dict[str, Any]:
    found: dict[str, Any] = deployment(cluster, name)["spec"]["template"]["spec"]["containers"][0]
    return found


def conditions(cluster: AnyCluster, name: str = "echo", namespace: str = "") -> dict[str, dict[str, Any]]:
    found = cluster.object("functions", name, namespace or cluster.default, group="openfaas.com")
    assert found is not None
    return {item["type"]: item for item in (found.get("status") or {}).get("conditions") or ()}


async def test_a_function_is_an_object_with_a_deployment_and_a_service(
    cluster: AnyCluster, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    function = cluster.object("functions", "echo", cluster.default, group="openfaas.com")
    assert function is not None
    assert function["spec"] == {"name": "echo", "image": IMAGE, "environment": {"A": "1"}}
    owner = deployment(cluster)["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["uid"]) == ("Function", function["metadata"]["uid"])
    service = cluster.object("services", "echo", cluster.default)
    assert service is not None
    assert service["spec"]["selector"] == {"faas_function": "echo"}


async def test_an_update_replaces_the_whole_spec_whoever_wrote_it(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    manifest = function_object.to_object(echo)
    manifest["spec"] |= {"environment": {"OLD": "1"}, "labels": {"old": "1"}}
    await admin.create(kinds.FUNCTIONS, manifest, cluster.default)
    await provider.apply(echo)
    function = cluster.object("functions", "echo", cluster.default, group="openfaas.com")
    assert function is not None
    assert function["spec"] == function_object.to_spec(echo)
    await until(
        lambda: [entry["name"] for entry in container(cluster)["env"]] == ["A", "OPENFAAS_NAME", "OPENFAAS_NAMESPACE"]
    )


async def test_kubectl_deploys_edits_and_removes(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    await admin.create(kinds.FUNCTIONS, function_object.to_object(echo), cluster.default)
    await until(lambda: cluster.object("deployments", "echo", cluster.default, group="apps"))
    await admin.patch(kinds.FUNCTIONS, "echo", {"spec": {"image": NEXT}}, cluster.default)
    await until(lambda: container(cluster)["image"] == NEXT)
    assert (await provider.get(echo.ref)).generation == 2
    await until(lambda: conditions(cluster).get("Reconciling", {}).get("observedGeneration") == 2)
    await admin.delete(kinds.FUNCTIONS, "echo", cluster.default)
    await until(lambda: _is_gone(provider, echo))


async def _is_gone(provider: KubernetesProvider, echo: FunctionSpec) -> bool:
    return not await provider.list(echo.ref.namespace)


async def test_mistakes_of_kubectl_are_told_in_the_status(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    manifest = function_object.to_object(echo)
    manifest["spec"]["name"] = "other"
    await admin.create(kinds.FUNCTIONS, manifest, cluster.default)
    await until(lambda: conditions(cluster).get("Stalled", {}).get("status") == "True")
    assert "must equal metadata.name" in conditions(cluster)["Stalled"]["message"]
    assert cluster.object("deployments", "echo", cluster.default, group="apps") is None
    await admin.patch(kinds.FUNCTIONS, "echo", {"spec": {"name": "echo"}}, cluster.default)
    await until(lambda: cluster.object("deployments", "echo", cluster.default, group="apps"))
    await until(lambda: "metadata.name" not in conditions(cluster)["Stalled"].get("message", ""))


async def test_drift_in_what_is_ours_is_repaired_and_the_rest_left(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    await provider.leadership.wait()
    change = {
        "metadata": {"annotations": {"theirs": "1"}},
        "spec": {"template": {"spec": {"containers": [{"name": "echo", "image": "evil:1"}], "priority": None}}},
    }
    strategic = "application/strategic-merge-patch+json"
    await admin.patch(kinds.DEPLOYMENTS, "echo", change, cluster.default, form=strategic)
    await until(lambda: container(cluster)["image"] == IMAGE)
    assert deployment(cluster)["metadata"]["annotations"]["theirs"] == "1"
    await admin.patch(kinds.DEPLOYMENTS, "echo", {"metadata": {"labels": {"faas_function": None}}}, cluster.default)
    await until(lambda: deployment(cluster)["metadata"]["labels"].get("faas_function") == "echo")
    await admin.delete(kinds.SERVICES, "echo", cluster.default)
    await until(lambda: cluster.object("services", "echo", cluster.default))
    await admin.delete(kinds.DEPLOYMENTS, "echo", cluster.default)
    await until(lambda: cluster.object("deployments", "echo", cluster.default, group="apps"))


async def test_a_scaling_by_others_is_kept_by_updates(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    await admin.patch(kinds.DEPLOYMENTS, "echo", {"spec": {"replicas": 7}}, cluster.default)
    await provider.apply(msgspec.structs.replace(echo, image=NEXT))
    assert deployment(cluster)["spec"]["replicas"] == 7
    assert container(cluster)["image"] == NEXT


async def test_the_same_spec_again_rolls_out_unless_the_image_is_fixed(
    cluster: AnyCluster, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    """Or a secret may have another value."""
    key, fixed = SecretName("key"), "echo@sha256:" + "ab" * 32
    await provider.create_secret(Secret(echo.ref.namespace, key, b"1"))
    for image, secrets, rolls in (("echo:latest", (), True), (fixed, (), False), (fixed, (key,), True)):
        spec = msgspec.structs.replace(echo, image=image, secrets=secrets)
        await provider.apply(spec)
        before = deployment(cluster)["metadata"]["generation"]
        await provider.apply(spec)
        assert (deployment(cluster)["metadata"]["generation"] > before) is rolls


async def test_a_deployment_of_somebody_else_is_left_alone(
    cluster: AnyCluster, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    await provider.apply(msgspec.structs.replace(echo, ref=cluster.ref("model")))
    theirs = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "echo", "namespace": cluster.default, "labels": {"app": "theirs"}},
        "spec": {
            "selector": {"matchLabels": {"app": "theirs"}},
            "template": {
                "metadata": {"labels": {"app": "theirs"}},
                "spec": {"containers": [{"name": "main", "image": "theirs:1"}]},
            },
        },
    }
    cluster.put(theirs)
    with pytest.raises((Conflict, InvalidSpec)):
        await provider.apply(echo)
    assert deployment(cluster)["spec"]["template"]["spec"]["containers"][0]["image"] == "theirs:1"
    with pytest.raises(FunctionNotFound):
        await provider.get(echo.ref)


@pytest.mark.double("a refusal is injected")
async def test_what_the_cluster_refuses_is_not_stored(
    cluster: Double, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    with pytest.raises(SecretNotFound):
        await provider.apply(msgspec.structs.replace(echo, secrets=(SecretName("absent"),)))
    cluster.chaos.fail(422, method="PATCH", path="deployments/echo")
    with pytest.raises(InvalidSpec):
        await provider.apply(echo)
    assert cluster.objects("functions", cluster.default, group="openfaas.com") == []
    await provider.apply(echo)
    cluster.chaos.fail(422, method="PATCH", path="deployments/echo")
    with pytest.raises(InvalidSpec):
        await provider.apply(msgspec.structs.replace(echo, image=NEXT))
    assert (await provider.get(echo.ref)).spec == echo


async def test_registry_credentials_are_used_for_pulling_not_mounted(
    cluster: AnyCluster, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    config = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eyJhdXRocyI6e319"}}
    cluster.put(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "registry", "namespace": cluster.default}, **config}
    )
    token = {"type": "kubernetes.io/service-account-token"}
    annotations = {"kubernetes.io/service-account.name": "default"}
    metadata = {"name": "token", "namespace": cluster.default, "annotations": annotations}
    with contextlib.suppress(Exception):
        cluster.put(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": "default", "namespace": cluster.default},
            }
        )
    cluster.put({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, **token})
    await provider.apply(msgspec.structs.replace(echo, secrets=(SecretName("registry"),)))
    pod = deployment(cluster)["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "registry"}]
    assert "volumes" not in pod
    with pytest.raises(InvalidSpec, match="service-account-token"):
        await provider.apply(msgspec.structs.replace(echo, secrets=(SecretName("token"),)))


def _status(cluster: AnyCluster) -> dict[str, Any]:
    function = cluster.object("functions", "echo", cluster.default, group="openfaas.com") or {}
    found: dict[str, Any] = function.get("status", {})
    return found


async def test_profiles_are_chosen_and_imposed_and_leave_again(
    cluster: AnyCluster, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    await provider.leadership.wait()
    for name in ("gvisor", "kata"):
        runtime = cluster.name(name)
        cluster.put(
            {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": runtime}, "handler": name}
        )
        spec = {"runtimeClassName": runtime}
        cluster.put(
            {
                "apiVersion": "openfaas.com/v1",
                "kind": "Profile",
                "metadata": {"name": name, "namespace": cluster.platform},
                "spec": spec,
            }
        )
    await until(
        lambda: _applies(provider, msgspec.structs.replace(echo, annotations={"com.openfaas.profile": "gvisor"}))
    )
    assert deployment(cluster)["spec"]["template"]["spec"]["runtimeClassName"] == cluster.name("gvisor")
    told = [{"profileRef": {"name": "gvisor", "namespace": cluster.platform}, "observedGeneration": 1}]
    await until(lambda: _status(cluster).get("profiles") == told)
    await admin.patch(
        kinds.NAMESPACES, cluster.default, {"metadata": {"annotations": {"com.hilbert.profiles": "kata"}}}
    )
    await until(lambda: deployment(cluster)["spec"]["template"]["spec"]["runtimeClassName"] == cluster.name("kata"))
    await admin.patch(kinds.NAMESPACES, cluster.default, {"metadata": {"annotations": {"com.hilbert.profiles": None}}})
    await provider.apply(echo)
    await until(lambda: "runtimeClassName" not in deployment(cluster)["spec"]["template"]["spec"])


async def _applies(provider: KubernetesProvider, spec: FunctionSpec) -> bool:
    try:
        await provider.apply(spec)
    except InvalidSpec:
        return False
    return True


@pytest.mark.double("refusals are injected")
@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
async def test_throttling_and_hiccups_are_ridden_out(
    cluster: Double, provider: KubernetesProvider, method: str, echo: FunctionSpec
) -> None:
    cluster.chaos.fail(429, times=2, method=method, path="deployments|functions", retry_after=0)
    await provider.apply(echo)
    cluster.chaos.fail(429, times=1, method=method, path="deployments|functions", retry_after=0)
    await provider.remove(echo.ref)
    assert cluster.objects("functions", cluster.default, group="openfaas.com") == []


@pytest.mark.double("requests are counted")
async def test_a_gateway_that_dies_at_any_step_leaves_a_promise_that_is_kept_or_nothing(
    cluster: Double, echo: FunctionSpec
) -> None:
    """Cancelled before its first, second, third, ... request: afterwards the function is whole, or is not there."""
    async with gateway(cluster) as leader:
        await leader.leadership.wait()
        for step in range(1, 8):
            spec = msgspec.structs.replace(echo, ref=cluster.ref(f"step-{step}"))
            async with gateway(cluster) as dying:
                seen = len(cluster.requests)
                task = asyncio.ensure_future(dying.apply(spec))
                mine = f"step-{step}"

                def made(seen: int = seen, mine: str = mine) -> int:
                    return sum(
                        mine in call.path or mine.encode() in call.body for call in list(cluster.requests)[seen:]
                    )

                while made() < step and not task.done():
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            key = (cluster.default, f"step-{step}")
            stored = cluster.object("functions", key[1], cluster.default, group="openfaas.com")
            if stored is None:
                assert cluster.object("deployments", key[1], cluster.default, group="apps") is None
            else:
                await until(lambda key=key: cluster.object("deployments", key[1], cluster.default, group="apps"))
                await until(lambda key=key: cluster.object("services", key[1], cluster.default))


async def test_two_gateways_at_once_agree(cluster: AnyCluster, echo: FunctionSpec) -> None:
    async with gateway(cluster) as one, gateway(cluster) as two:

        async def hammer(provider: KubernetesProvider, name: str) -> None:
            for number in range(10):
                spec = FunctionSpec(ref=cluster.ref("shared"), image=f"{name}:{number}")
                await provider.apply(spec)
                await provider.scale(spec.ref, number % 4)

        await asyncio.gather(hammer(one, "one"), hammer(two, "two"))
        function = cluster.object("functions", "shared", cluster.default, group="openfaas.com")
        assert function is not None
        await until(lambda: container(cluster, "shared")["image"] == function["spec"]["image"])
        replicas = deployment(cluster, "shared")["spec"]["replicas"]
        for provider in (one, two):
            await until(
                lambda provider=provider: _sees(provider, cluster.ref("shared"), function["spec"]["image"], replicas)
            )
        results = await asyncio.gather(
            *(provider.apply(echo, create=True) for provider in (one, two)), return_exceptions=True
        )
        assert sorted(type(result).__name__ for result in results) == ["AlreadyExists", "NoneType"]


async def _sees(provider: KubernetesProvider, ref: FunctionRef, image: str, replicas: int) -> bool:
    status = await provider.get(ref)
    return (status.spec.image, status.replicas) == (image, replicas)


async def test_creating_and_removing_by_two_gateways_ends_in_a_whole_function_or_none(
    cluster: AnyCluster, echo: FunctionSpec
) -> None:
    async with gateway(cluster) as one, gateway(cluster) as two:

        async def make(provider: KubernetesProvider) -> None:
            for _ in range(8):
                with contextlib.suppress(AlreadyExists, BackendUnavailable, FunctionNotFound):
                    await provider.apply(echo)

        async def drop(provider: KubernetesProvider) -> None:
            for _ in range(8):
                with contextlib.suppress(HilbertError):
                    await provider.remove(echo.ref)
                await asyncio.sleep(0)

        await asyncio.gather(make(one), drop(two))
        await one.apply(echo)
        function = cluster.object("functions", "echo", cluster.default, group="openfaas.com")
        assert function is not None
        await until(lambda: _owner(cluster) == function["metadata"]["uid"])


def _owner(cluster: AnyCluster) -> str:
    found = cluster.object("deployments", "echo", cluster.default, group="apps")
    return "" if found is None else str(found["metadata"]["ownerReferences"][0]["uid"])


@pytest.mark.double("the API server is taken away")
async def test_answers_while_the_api_server_is_away(
    cluster: Double, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    await cluster.refuse()
    assert (await provider.get(echo.ref)).spec == echo
    assert [status.spec for status in await provider.list(echo.ref.namespace)] == [echo]
    with pytest.raises(BackendUnavailable):
        await provider.apply(msgspec.structs.replace(echo, image=NEXT))
    await until(lambda: _is_stale(provider))
    await cluster.listen()
    await provider.apply(msgspec.structs.replace(echo, image=THIRD))
    await until(lambda: _is_fresh(provider))
    assert (await provider.get(echo.ref)).spec.image == THIRD


async def _is_stale(provider: KubernetesProvider) -> bool:
    return "warning.stale" in await provider.facts()


async def _is_fresh(provider: KubernetesProvider) -> bool:
    return "warning.stale" not in await provider.facts()


@pytest.mark.double("the API server is taken away")
async def test_before_the_cluster_has_been_read_nothing_is_claimed(cluster: Double, echo: FunctionSpec) -> None:
    await cluster.refuse()
    provider = make_gateway(cluster)
    await provider.start()
    try:
        for attempt in (provider.get(echo.ref), provider.list(echo.ref.namespace), provider.list_namespaces()):
            with pytest.raises(BackendUnavailable):
                await attempt
        assert "warning.sync" in await provider.facts()
    finally:
        await provider.close()


async def test_a_status_says_zero_and_why(
    cluster: AnyCluster, provider: KubernetesProvider, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    await provider.scale(echo.ref, 0)
    status = await provider.get(echo.ref)
    assert (status.phase, status.replicas) == (Phase.IDLE, 0)
    await until(lambda: conditions(cluster).get("Ready", {}).get("status") == "True")
    assert conditions(cluster)["Healthy"]["status"] == "False"


@pytest.mark.double("requests are counted")
async def test_at_rest_there_are_no_calls_for_functions(cluster: Double) -> None:
    """Between renewals of the lease, which go on, nothing is asked of the cluster."""
    async with gateway(cluster, lease_duration=Duration.of(1.5)) as provider:
        await provider.leadership.wait()
        for number in range(20):
            await provider.apply(FunctionSpec(ref=cluster.ref(f"f{number}"), image="i"))
        await until(lambda: all(conditions(cluster, f"f{number}") for number in range(20)))

        def rests() -> bool:
            """Whether the last three renewals, half a second apart, had nothing between them."""
            last = list(cluster.requests)[::-1]
            row = itertools.takewhile(lambda call: "/leases/" in call.path, last)
            return sum(call.method != "GET" for call in row) >= 3

        await until(rests, what="a rest")


@pytest.mark.double("it sets what the metrics API says")
async def test_usage_is_told_when_the_cluster_measures_it(
    cluster: Double, provider: KubernetesProvider, admin: Api, echo: FunctionSpec
) -> None:
    await provider.apply(echo)
    assert (await provider.get(echo.ref)).usage is None
    cluster.metrics.enabled = True
    cluster.metrics.usage |= {"echo-1": ("250m", "64Mi"), "echo-2": ("1500000n", "1Mi")}
    async with gateway(cluster) as second:
        for name in cluster.metrics.usage:
            cluster.put(pod_of_echo(name, cluster.default))
            await admin.patch(kinds.PODS, name, {"status": {"phase": "Running"}}, cluster.default, sub="status")
        usage = (await second.get(echo.ref)).usage
        assert usage is not None
        assert (usage.cpu_millis, usage.memory_bytes) == (251.5, 65 * 2**20)
        (listed,) = await second.list(echo.ref.namespace)
        assert listed.usage == usage


def pod_of_echo(name: str, namespace: str) -> dict[str, Any]:
    strict = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"faas_function": "echo"}},
        "spec": {
            "containers": [{"name": "echo", "image": "echo:1", "securityContext": strict}],
            "securityContext": {"runAsNonRoot": True, "runAsUser": 12000, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    }
