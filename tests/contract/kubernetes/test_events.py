"""What `kubectl describe function` and `kubectl get events` show of scaling."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from hilbert.core.model import FunctionSpec
from hilbert.core.settings import KubernetesSettings
from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.connect import connect
from support.cluster import Double, gateway, installed, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("requests are counted, and rights taken away")]

REF = FunctionRef.parse("echo")


@pytest.fixture
async def cluster() -> AsyncIterator[Double]:
    async with installed(controllers=False) as cluster:
        yield cluster


def events(cluster: Double) -> list[dict[str, Any]]:
    """About functions, the oldest first."""
    found = [one for one in cluster.objects("events") if one["involvedObject"]["kind"] == "Function"]
    return sorted(found, key=lambda one: str(one["metadata"]["name"]))


def written(cluster: Double) -> list[tuple[str, int]]:
    """Requests about events, with their answers."""
    return [(call.method, call.status) for call in cluster.requests if "/events" in call.path]


async def test_an_event_stands_on_the_function_and_is_counted_when_it_comes_again(cluster: Double) -> None:
    async with gateway(cluster) as provider:
        await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
        provider.notice(REF, "ScaledUp", "1 => 3 replicas (Load: rps 12, for 4.5 a replica)")
        provider.notice(REF, "NotScaled", "3 => 9 replicas: the quota is used up", warning=True)
        provider.notice(REF, "ScaledUp", "1 => 3 replicas (Load: rps 12, for 4.5 a replica)")
        await until(lambda: len(written(cluster)) == 3)
        first, second = events(cluster)
        function = cluster.object("functions", "echo", "openfaas-fn", group="openfaas.com")
        assert function is not None
    assert first["involvedObject"] == {
        "apiVersion": "openfaas.com/v1",
        "kind": "Function",
        "name": "echo",
        "namespace": "openfaas-fn",
        "uid": function["metadata"]["uid"],
    }
    assert (first["type"], first["reason"], first["count"]) == ("Normal", "ScaledUp", 2)
    assert first["message"] == "1 => 3 replicas (Load: rps 12, for 4.5 a replica)"
    assert first["firstTimestamp"] <= first["lastTimestamp"]
    assert first["source"]["component"] == "hilbert"
    assert (second["type"], second["reason"], second["count"]) == ("Warning", "NotScaled", 1)


async def test_a_new_function_of_the_same_name_begins_anew(cluster: Double) -> None:
    async with gateway(cluster) as provider:
        for _ in range(2):
            await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
            provider.notice(REF, "ScaledToZero", "1 => 0 replicas")
            count = len(written(cluster))
            await until(lambda count=count: len(written(cluster)) > count)
            await provider.remove(REF)
        assert [one["count"] for one in events(cluster)] == [1, 1]
        provider.notice(REF, "ScaledUp", "there is nothing any more of which this could be told")
        provider.notice(FunctionRef.parse("nobody.nowhere"), "ScaledUp", "nor here")
    assert len(events(cluster)) == 2


async def test_an_event_that_somebody_deleted_is_written_anew(cluster: Double) -> None:
    async with gateway(cluster) as provider:
        await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
        provider.notice(REF, "ScaledUp", "1 => 2 replicas")
        await until(lambda: events(cluster))
        admin = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
        await admin.delete(kinds.EVENTS, events(cluster)[0]["metadata"]["name"], "openfaas-fn")
        await admin.close()
        provider.notice(REF, "ScaledUp", "1 => 2 replicas")
        await until(lambda: events(cluster))
        assert events(cluster)[0]["count"] == 1


async def test_a_missing_right_costs_the_events_and_nothing_else(cluster: Double) -> None:
    """As after an upgrade of the gateway alone; it is not tried again and again."""
    async with gateway(cluster) as provider:
        admin = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
        role = cluster.object("clusterroles", "openfaas-hilbert", group="rbac.authorization.k8s.io")
        assert role is not None
        rules = [rule for rule in role["rules"] if rule["resources"] != ["events"]]
        roles = kinds.Kind("rbac.authorization.k8s.io", "v1", "clusterroles", kinds.Object, namespaced=False)
        await admin.patch(roles, "openfaas-hilbert", {"rules": rules})
        await admin.close()
        await provider.apply(FunctionSpec(ref=REF, image="echo:1"))
        provider.notice(REF, "ScaledUp", "1 => 2 replicas")
        await until(lambda: written(cluster))
        for number in range(50):
            provider.notice(REF, "ScaledUp", f"1 => {number} replicas")
        await provider.scale(REF, 2)
    assert written(cluster) == [("POST", 403)]
