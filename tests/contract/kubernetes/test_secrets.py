"""Secrets: how a new value reaches the replicas that run."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.model import FunctionSpec, Phase, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.testing.harness import eventually, watching
from support.cluster import AnyCluster, Double, until

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
