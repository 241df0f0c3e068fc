"""Whatever happens between the gateway and the API server, what was asked for is what comes out."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from hilbert.core.errors import HilbertError
from hilbert.core.model import EndpointSet, FunctionSpec, Phase, Synced
from hilbert.core.values import Duration, FunctionRef
from hilbert.kit.aio import cancel, spawn
from hilbert.providers.kubernetes.provider import KubernetesProvider
from hilbert.providers.kubernetes.render import function_object as functions
from support.cluster import ACCOUNT, Double, gateway, installed, until

pytestmark = [pytest.mark.anyio, pytest.mark.double("watches are disturbed and requests refused")]

NS = "openfaas-fn"
ECHO = FunctionSpec(ref=FunctionRef.parse("echo"), image="echo:1")

QUICK = {"resync": Duration.of(1.5), "lease_duration": Duration.of(1)}
"""A full look often enough for a test: what a watch never told is found by it."""


@pytest.fixture
async def cluster() -> AsyncIterator[Double]:
    async with installed() as cluster:
        cluster.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "not-ours"}})
        yield cluster
        assert cluster.controllers.errors == []
        for call in cluster.requests:
            if call.user == ACCOUNT and call.method != "GET":
                assert "/namespaces/not-ours" not in call.path
                assert "/namespaces/default" not in call.path


class Follower:
    """What a router would know."""

    def __init__(self, provider: KubernetesProvider) -> None:
        self.sets: dict[FunctionRef, EndpointSet] = {}
        self.history: list[EndpointSet] = []
        self.synced = asyncio.Event()
        self._task = spawn(self._run(provider), name="follower")

    async def _run(self, provider: KubernetesProvider) -> None:
        async for item in provider.watch():
            if isinstance(item, Synced):
                self.synced.set()
            else:
                self.history.append(item)
                self.sets[item.ref] = item

    async def close(self) -> None:
        await cancel(self._task)

    def replicas(self, ref: FunctionRef = ECHO.ref) -> set[str]:
        found = self.sets.get(ref)
        return set() if found is None or found.spec is None else {endpoint.replica for endpoint in found.endpoints}


@contextlib.asynccontextmanager
async def following(provider: KubernetesProvider) -> AsyncIterator[Follower]:
    follower = Follower(provider)
    try:
        await asyncio.wait_for(follower.synced.wait(), 30)
        yield follower
    finally:
        await follower.close()


def ready_pods(cluster: Double, name: str, namespace: str = NS) -> set[str]:
    found = set()
    for pod in cluster.objects("pods", namespace):
        conditions = {item["type"]: item["status"] for item in pod["status"].get("conditions") or ()}
        if (
            pod["metadata"].get("labels", {}).get("faas_function") == name
            and conditions.get("Ready") == "True"
            and "deletionTimestamp" not in pod["metadata"]
        ):
            found.add(pod["metadata"]["name"])
    return found


async def test_endpoints_follow_the_pods(cluster: Double) -> None:
    async with gateway(cluster) as provider, following(provider) as routes:
        await provider.apply(ECHO)
        await until(lambda: len(routes.replicas()) == 1)
        await provider.scale(ECHO.ref, 3)
        await until(lambda: len(routes.replicas()) == 3)
        assert routes.replicas() == ready_pods(cluster, "echo")
        assert (await provider.get(ECHO.ref)).phase is Phase.READY
        await provider.scale(ECHO.ref, 0)
        await until(lambda: not routes.replicas())
        await provider.scale(ECHO.ref, 1)
        await until(lambda: len(routes.replicas()) == 1)
        await provider.remove(ECHO.ref)
        await until(lambda: routes.sets[ECHO.ref].spec is None)


TROUBLES: dict[str, Callable[[Double], None]] = {
    "lost": lambda cluster: setattr(cluster.chaos, "drop", 25),
    "doubled": lambda cluster: setattr(cluster.chaos, "duplicate", True),
    "shuffled": lambda cluster: setattr(cluster.chaos, "reorder", 4),
    "late": lambda cluster: setattr(cluster.chaos, "delay", 0.05),
    "silent": lambda cluster: setattr(cluster.chaos, "mute", True),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_watches_that_tell_it_wrong(cluster: Double, trouble: str) -> None:
    async with gateway(cluster, **QUICK) as provider, following(provider) as routes:
        TROUBLES[trouble](cluster)
        await provider.apply(ECHO)
        await provider.scale(ECHO.ref, 3)
        await provider.apply(msgspec.structs.replace(ECHO, image="echo:2"))
        await cluster.controllers.settled()
        await provider.scale(ECHO.ref, 2)
        await until(lambda: len(ready_pods(cluster, "echo")) == 2)
        if trouble == "shuffled":
            cluster.chaos.release()
        cluster.chaos.mute = False
        await until(lambda: len(routes.replicas()) == 2 and routes.replicas() == ready_pods(cluster, "echo"))
        status = await provider.get(ECHO.ref)
        assert (status.spec.image, status.replicas, status.generation) == ("echo:2", 2, 2)


@pytest.mark.parametrize("dice", range(2))
async def test_everything_at_once(cluster: Double, dice: int) -> None:
    """Random work by two gateways, while watches end, expire and lie, and requests are refused and throttled."""
    chance = random.Random(dice)
    images: dict[str, str] = {}
    async with gateway(cluster, **QUICK) as one, gateway(cluster, **QUICK) as two, following(one) as routes:
        for number in range(25):
            name = chance.choice("abcd")
            provider = chance.choice((one, two))
            spec = FunctionSpec(ref=FunctionRef.parse(name), image=f"echo:{number}")
            cluster.chaos.duplicate = chance.random() < 0.3
            cluster.chaos.drop = chance.choice((0, 0, 0, 3))
            if chance.random() < 0.1:
                chance.choice((cluster.chaos.close_watches, cluster.chaos.expire_watches))()
            if chance.random() < 0.15:
                cluster.chaos.fail(chance.choice((429, 500, 503)), times=2, retry_after=0, after=chance.random() < 0.5)
            with contextlib.suppress(HilbertError):
                if chance.random() < 0.25:
                    await provider.remove(spec.ref)
                    images.pop(name, None)
                else:
                    images[name] = spec.image
                    await provider.apply(spec)
                    await provider.scale(spec.ref, chance.choice((1, 1, 2)))
        cluster.chaos.faults.clear()
        cluster.chaos.drop, cluster.chaos.duplicate = 0, False
        # The last word of each function, spoken clearly.
        for name in "abcd":
            await one.apply(FunctionSpec(ref=FunctionRef.parse(name), image="echo:last"))
            await one.scale(FunctionRef.parse(name), 1)
        for name in "abcd":
            ref = FunctionRef.parse(name)
            await until(
                lambda ref=ref, name=name: (
                    len(routes.replicas(ref)) == 1 and routes.replicas(ref) == ready_pods(cluster, name)
                ),
                what=f"routes of {name}",
            )
            for provider in (one, two):
                await until(lambda provider=provider, ref=ref: _is_ready(provider, ref), what=f"status of {name}")


async def _is_ready(provider: KubernetesProvider, ref: FunctionRef) -> bool:
    try:
        status = await provider.get(ref)
    except HilbertError:
        return False
    return status.spec.image == "echo:last" and status.phase is Phase.READY and status.replicas == 1


async def test_routes_stay_while_the_api_server_is_away(cluster: Double) -> None:
    async with gateway(cluster, **QUICK) as provider, following(provider) as routes:
        await provider.apply(ECHO)
        await until(lambda: len(routes.replicas()) == 1)
        told = len(routes.history)
        await cluster.refuse()
        await until(lambda: _is_stale(provider))
        assert len(routes.history) == told
        assert len(routes.replicas()) == 1
        await cluster.listen()
        cluster.chaos.forget()
        await provider.scale(ECHO.ref, 2)
        await until(lambda: len(routes.replicas()) == 2)
        assert all(found.endpoints for found in routes.history[told:]), "nothing flickered"


@pytest.mark.parametrize(
    ("split", "code"),
    [(False, 403), (True, 403), (False, 401), (False, 500), (False, 503), (False, 504)],
    ids=["cluster-wide", "split", "401", "500", "503", "504"],
)
async def test_an_api_server_that_comes_back_refuses_everything_and_forgot_its_past(
    split: bool, code: int, cluster: Double
) -> None:
    """K1: a server that has just started answers 403 until it has read its roles, then 410 to versions of before.

    One that cannot read tokens or reach its store yet answers 401 or 5xx.
    """
    given = {**QUICK, "resync": Duration.of(0), **({"namespaces": NS} if split else {})}
    async with gateway(cluster, **given) as provider, following(provider) as routes:
        await provider.apply(ECHO)
        await until(lambda: len(routes.replicas()) == 1)
        before, told = routes.replicas(), len(routes.history)
        await cluster.refuse()
        await until(lambda: _is_stale(provider))
        other = functions.to_object(msgspec.structs.replace(ECHO, ref=FunctionRef.parse("other")))
        for pod in cluster.objects("pods", NS):
            cluster.controllers.kubelet.remove(pod)
        await cluster.controllers.settled()
        cluster.put(other)
        loading = cluster.chaos.fail(code, times=60)
        cluster.chaos.forget()
        await cluster.listen()
        await until(lambda: loading.times == 0, what="everybody has asked again")
        assert all(found.spec is not None for found in routes.history[told:]), "a refusal takes nothing away"
        await until(lambda: cluster.object("deployments", "other", NS, group="apps"), what="a Function of meanwhile")
        await until(lambda: len(routes.replicas()) == 1 and not routes.replicas() & before, what="the Pods of now")
        await until(lambda: not provider.leadership.leads or routes.replicas(FunctionRef.parse("other")))


async def _is_stale(provider: KubernetesProvider) -> bool:
    return "warning.stale" in await provider.facts()


async def test_a_gateway_that_starts_anew_knows_all_from_its_first_pass(cluster: Double) -> None:
    async with gateway(cluster) as provider, following(provider) as routes:
        for name in "abc":
            await provider.apply(FunctionSpec(ref=FunctionRef.parse(name), image="echo:1"))
        await until(lambda: all(len(routes.replicas(FunctionRef.parse(name))) == 1 for name in "abc"))
        known = {ref: found.endpoints for ref, found in routes.sets.items()}
    async with gateway(cluster) as again, following(again) as routes:
        assert {found.ref: found.endpoints for found in routes.history} == known


async def test_expired_tokens_are_replaced_or_told(cluster: Double) -> None:
    async with gateway(cluster, **QUICK) as provider:
        await provider.apply(ECHO)
        cluster.chaos.reject_tokens = True
        cluster.chaos.close_watches()
        await until(lambda: _is_stale(provider))
        with pytest.raises(HilbertError):
            await provider.apply(msgspec.structs.replace(ECHO, image="echo:2"))
        cluster.chaos.reject_tokens = False
        await provider.apply(msgspec.structs.replace(ECHO, image="echo:2"))
        assert (await provider.get(ECHO.ref)).spec.image == "echo:2"


async def test_the_second_gateway_takes_over(cluster: Double) -> None:
    async with gateway(cluster, **QUICK) as second:
        async with gateway(cluster, **QUICK) as first:
            await asyncio.wait(
                (asyncio.ensure_future(first.leadership.wait()), asyncio.ensure_future(second.leadership.wait())),
                return_when=asyncio.FIRST_COMPLETED,
            )
            assert first.leadership.leads != second.leadership.leads
        await asyncio.wait_for(second.leadership.wait(), 30)
        await second.apply(ECHO)
        pods = cluster.object("functions", "echo", NS, group="openfaas.com")
        assert pods is not None
        await until(lambda: (cluster.object("functions", "echo", NS, group="openfaas.com") or {}).get("status"))
