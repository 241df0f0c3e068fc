"""Turns at a namespace's quota: nobody waits for ever, and what is not ours is left alone."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hilbert.core.errors import BackendUnavailable
from hilbert.core.settings import KubernetesSettings
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.keep.turns import LABEL, Turns
from kubernetes_double import ApiServer
from support.cluster import installed

pytestmark = [pytest.mark.anyio, pytest.mark.double("a clock of its own")]

NAME = "hilbert-turn-dev"


class Clock:
    """Time passes by waiting alone."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
async def cluster() -> AsyncIterator[ApiServer]:
    async with installed(controllers=False) as cluster:
        yield cluster


@pytest.fixture
async def api(cluster: ApiServer) -> AsyncIterator[Api]:
    api = connect(KubernetesSettings(kubeconfig=str(cluster.kubeconfig)))
    yield api
    await api.close()


def leases(cluster: ApiServer) -> list[str]:
    return [item["metadata"]["name"] for item in cluster.objects("leases", "openfaas", group="coordination.k8s.io")]


def put(cluster: ApiServer, holder: str, **labels: str) -> None:
    metadata: dict[str, Any] = {"name": NAME, "namespace": "openfaas", "labels": labels}
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 15}
    cluster.put({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec})


async def test_a_turn_is_given_back(cluster: ApiServer, api: Api) -> None:
    with contextlib.suppress(LookupError):
        async with Turns(api, "openfaas", "one").taken("dev"):
            assert leases(cluster) == [NAME]
            raise LookupError
    assert leases(cluster) == []


async def test_the_turn_of_a_gateway_that_died_is_taken_away(cluster: ApiServer, api: Api) -> None:
    put(cluster, "dead", **{LABEL: "dev"})
    clock = Clock()
    async with Turns(api, "openfaas", "one", clock=clock).taken("dev"):
        assert 15 <= clock.seconds < 20
    assert leases(cluster) == []


async def test_a_turn_whose_answer_was_lost_is_ours(cluster: ApiServer, api: Api) -> None:
    put(cluster, "one", **{LABEL: "dev"})
    clock = Clock()
    async with Turns(api, "openfaas", "one", clock=clock).taken("dev"):
        assert clock.seconds == 0
    assert leases(cluster) == []


async def test_a_lease_that_is_not_ours_is_left_alone(cluster: ApiServer, api: Api) -> None:
    put(cluster, "one")
    with pytest.raises(BackendUnavailable, match="others are changing namespace dev"):
        async with Turns(api, "openfaas", "one", clock=Clock()).taken("dev"):
            raise AssertionError
    assert leases(cluster) == [NAME]


async def test_a_turn_that_cannot_be_given_back_does_not_fail_the_change(cluster: ApiServer, api: Api) -> None:
    refused = cluster.chaos.fail(403, method="DELETE", path="/leases/")
    async with Turns(api, "openfaas", "one").taken("dev"):
        pass
    assert refused.times == 0
