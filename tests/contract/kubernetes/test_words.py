"""Why a function is not ready, in words, as the cluster makes it so."""

from __future__ import annotations

import msgspec
import pytest

from hilbert.core.errors import InvalidSpec
from hilbert.core.model import FunctionSpec, FunctionStatus, Namespace, Phase, Resources
from hilbert.core.values import NamespaceName, Quantity
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.testing.harness import eventually, watching
from kubernetes_double import scripts
from support.cluster import AnyCluster, Double, until

pytestmark = pytest.mark.anyio


async def reason_of(provider: KubernetesProvider, spec: FunctionSpec, reason: str) -> FunctionStatus:
    async def told() -> FunctionStatus | None:
        for status in await provider.list(spec.ref.namespace):
            if status.spec.ref == spec.ref and status.reason == reason:
                return status
        return None

    found = await until(told, what=f"{reason} of {spec.ref}")
    assert isinstance(found, FunctionStatus)
    assert found.phase is Phase.FAILED
    return found


def spec_of(cluster: AnyCluster, image: str = "", name: str = "f", namespace: str = "") -> FunctionSpec:
    return FunctionSpec(ref=cluster.ref(name, namespace), image=image or cluster.image)


def absent(cluster: AnyCluster) -> str:
    """An image that cannot be had."""
    image = "registry.invalid/absent:1"
    if isinstance(cluster, Double):
        cluster.images[image] = scripts.absent(image)
    return image


async def until_stalled(cluster: AnyCluster, said: str) -> None:
    """The Function's own status says it too."""

    def stalled() -> bool:
        found = cluster.object("functions", "f", cluster.default, group="openfaas.com") or {}
        conditions = {item["type"]: item for item in (found.get("status") or {}).get("conditions") or ()}
        return conditions.get("Stalled", {}).get("status") == "True" and said in conditions["Stalled"]["message"]

    await until(stalled, what=f"stalled, and why: {said}")


CASES = {
    "crash:1": (
        scripts.Outcome(exits=(3,), log=("starting", "no database")),
        "CrashLoop",
        "; last output: starting | no database",
    ),
    "oom:1": (scripts.Outcome(exits=(137,), oom=True), "OutOfMemory", "more memory"),
}


@pytest.mark.double("what images do is scripted")
@pytest.mark.parametrize("image", CASES)
async def test_trouble_of_containers_is_told(cluster: Double, provider: KubernetesProvider, image: str) -> None:
    outcome, reason, said = CASES[image]
    cluster.images[image] = outcome
    spec = spec_of(cluster, image)
    await provider.apply(spec)
    status = await reason_of(provider, spec, reason)
    assert said in status.message
    await until_stalled(cluster, said)


FAULTS = {
    "crash:1": "the container exited with status 3",
    "oom:1": "the container was killed for using more memory than its limit",
    "raise:1": "the container exited with status 1 (KeyError)",
    "absent:1": "the image cannot be pulled",
}


@pytest.mark.double("what images do is scripted")
@pytest.mark.parametrize("image", FAULTS)
async def test_the_routes_say_why_calls_are_refused(cluster: Double, provider: KubernetesProvider, image: str) -> None:
    """Without a word that the function wrote; and no more once it runs."""
    cluster.images["crash:1"], cluster.images["oom:1"] = CASES["crash:1"][0], CASES["oom:1"][0]
    cluster.images["raise:1"] = scripts.Outcome(exits=(1,), log=("Traceback", "KeyError: 'PASSWORD'"))
    cluster.images["absent:1"] = scripts.absent("absent:1")
    spec = spec_of(cluster, image)
    await provider.apply(spec)
    async with watching(provider) as table:
        fault = await eventually(lambda: spec.ref in table.sets and table.sets[spec.ref].fault)
        assert fault.message == FAULTS[image]
        assert (await reason_of(provider, spec, fault.reason)).reason == fault.reason
        await provider.apply(spec_of(cluster))
        await table.ready(spec.ref)
        assert table.sets[spec.ref].fault is None


async def test_an_image_that_cannot_be_had_is_told(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    spec = spec_of(cluster, absent(cluster))
    await provider.apply(spec)
    assert spec.image in (await reason_of(provider, spec, "ImageUnavailable")).message
    await until_stalled(cluster, spec.image)


async def test_what_no_node_has_room_for_is_told(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    much = Resources(cpu=Quantity.parse("10000"))
    spec = msgspec.structs.replace(spec_of(cluster, absent(cluster)), limits=much, requests=much)
    await provider.apply(spec)
    assert "Insufficient cpu" in (await reason_of(provider, spec, "Unschedulable")).message
    await until_stalled(cluster, "Insufficient cpu")


async def test_a_bad_version_never_replaces_a_good_one_and_is_repaired_by_the_next(
    cluster: AnyCluster, provider: KubernetesProvider
) -> None:
    good = spec_of(cluster)
    await provider.apply(good)
    await until(lambda: _is_ready(provider, good))
    bad = msgspec.structs.replace(good, image=absent(cluster))
    await provider.apply(bad)
    status = await reason_of(provider, bad, "ImageUnavailable")
    assert (status.available, status.ready_generation, status.generation) == (1, 1, 2)
    await provider.apply(msgspec.structs.replace(good, env={"version": "3"}))
    await until(lambda: _is_ready(provider, good))
    assert (await provider.get(good.ref)).ready_generation == 3


async def _is_ready(provider: KubernetesProvider, spec: FunctionSpec) -> bool:
    return (await provider.get(spec.ref)).phase is Phase.READY


async def test_our_pods_pass_the_strictest_level(cluster: AnyCluster, provider: KubernetesProvider) -> None:
    """And one that a profile makes weaker is refused, in words."""
    dev = NamespaceName(cluster.name("dev"))
    await provider.create_namespace(Namespace(name=dev, annotations={"com.hilbert.profiles.allowed": "root"}))
    spec = spec_of(cluster, namespace="dev")
    await provider.apply(spec)
    await until(lambda: _is_ready(provider, spec))
    profile = {
        "apiVersion": "openfaas.com/v1",
        "kind": "Profile",
        "metadata": {"name": "root", "namespace": cluster.platform},
    }
    cluster.put({**profile, "spec": {"podSecurityContext": {"runAsNonRoot": False, "runAsUser": 0}}})
    weak = msgspec.structs.replace(
        spec_of(cluster, name="weak", namespace="dev"), annotations={"com.openfaas.profile": "root"}
    )

    async def applied() -> bool:
        try:
            await provider.apply(weak)
        except InvalidSpec:  # The profile has not been seen yet.
            return False
        return True

    await until(applied)
    assert "runAsNonRoot" in (await reason_of(provider, weak, "PodSecurity")).message
