"""Requests that are made to wait for each other: limits of a namespace, classes, turns."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from hilbert.api import fair
from hilbert.api.door import Door
from hilbert.api.services import TENANT_TURNS, TURNS
from hilbert.core.identity import Caller, Grant
from hilbert.core.limits import LogUse, Scope
from hilbert.core.model import FunctionStatus
from hilbert.core.values import NamespaceName
from hilbert.kit.turns import Turns
from hilbert.providers.memory import MemoryProvider
from hilbert.testing.harness import eventually
from support.api import Api, running

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a namespace in `X-Tenant` has all rights there, and none elsewhere."""
    admit = Door.admit

    def admit_tenant(self: Door, method: str, headers: Mapping[str, str], **options: Any) -> Caller:
        caller = admit(self, method, headers, **options)
        tenant = headers.get("x-tenant")
        return Caller(identity=f"of {tenant}", grants=(Grant(("*",), (f"{tenant}:*",)),)) if tenant else caller

    monkeypatch.setattr(Door, "admit", admit_tenant)


class Held(MemoryProvider):
    """Lists that wait for the test."""

    def __init__(self) -> None:
        super().__init__(default_namespace="openfaas-fn")
        self.go = asyncio.Event()
        self.listed: list[str] = []

    async def list(self, namespace: NamespaceName) -> Sequence[FunctionStatus]:
        self.listed.append(namespace)
        await self.go.wait()
        return await super().list(namespace)


async def tenant_of(api: Api, name: str, **annotations: str) -> None:
    given = {
        "openfaas": "1",
        **{f"com.hilbert.limits.{key.replace('_', '-')}": text for key, text in annotations.items()},
    }
    answer = await api.call("POST", "/system/namespace/", {"name": name, "annotations": given})
    assert answer.status == 201, answer.text


@pytest.mark.bound("api-writes")
async def test_changes_of_a_namespace_have_a_rate_and_reads_and_administrators_none(api: Api) -> None:
    await tenant_of(api, "busy", api_writes="0.5")
    await tenant_of(api, "calm", api_writes="0.5")

    async def deploy(tenant: str, number: int, *, admin: bool = False) -> Any:
        body = {"service": f"f{number}", "image": "i", "namespace": tenant}
        return await api.call("POST", "/system/functions", body, headers={} if admin else {"X-Tenant": tenant})

    answers = [await deploy("busy", number) for number in range(10)]
    assert [answer.status for answer in answers] == [202] * 5 + [429] * 5
    refused = answers[-1]
    assert "namespace busy has reached its limit of 0.5 changes a second" in refused.text
    assert "an administrator can raise its annotation com.hilbert.limits.api-writes" in refused.text
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert refused.headers["ratelimit"] == f'"namespace-api-writes";r=0;t={refused.headers["retry-after"]}'
    assert refused.headers["ratelimit-policy"] == '"namespace-api-writes";q=5;w=10'
    assert (await deploy("calm", 1)).status == 202
    assert (await deploy("busy", 11, admin=True)).status == 202
    found = await api.call("GET", "/system/limits?namespace=busy", headers={"X-Tenant": "busy"})
    (line,) = [one for one in found.json if one["limit"] == "api-writes"]
    assert (line["value"], line["burst"], line["refused"], line["raisedBy"]) == (0.5, 5, 5, "administrator")
    assert 4 <= line["used"] <= 5


class Logged(MemoryProvider):
    """Holds logs to a limit, as a host does."""

    uses: Mapping[Scope, LogUse] | None = None

    async def log_uses(self) -> Mapping[Scope, LogUse] | None:
        return self.uses


async def test_limits_on_logs_are_told_with_their_use_where_there_are_any() -> None:
    """`/metrics` has its own test."""

    async def lines(api: Api) -> dict[str, tuple[float | None, int]]:
        found = (await api.call("GET", "/system/limits?namespace=talks")).json
        return {one["function"]: (one["used"], one["refused"]) for one in found if one["limit"] == "log-bytes"}

    async def prepare(api: Api) -> None:
        await tenant_of(api, "talks", log_bytes="64Ki")
        annotations = {"com.hilbert.limits.log-bytes": "1Ki"}
        body = {"service": "f", "image": "i", "namespace": "talks", "annotations": annotations}
        assert (await api.call("POST", "/system/functions", body)).status == 202

    provider = Logged(default_namespace="openfaas-fn")
    try:
        async with running(provider) as api:
            await prepare(api)
            assert await lines(api) == {"": (None, 0), "f": (None, 0)}
            provider.uses = {("talks", "f"): LogUse(512.5, 3), ("other", ""): LogUse(1.0, 1)}
            assert await lines(api) == {"": (0.0, 0), "f": (512.5, 3)}
    finally:
        await provider.close()
    async with running() as api:
        await prepare(api)
        assert await lines(api) == {}


async def test_a_limit_is_not_its_tenants_to_set(api: Api) -> None:
    await tenant_of(api, "dear", starts="2", log_bytes="64Ki")
    change = {"name": "dear", "annotations": {"openfaas": "1", "com.hilbert.limits.starts": "200"}}
    answer = await api.call("PUT", "/system/namespace/dear", change, headers={"X-Tenant": "dear"})
    assert answer.status == 403
    for key, wrong in (("starts", "0"), ("api-writes", "often"), ("log-bytes", "10"), ("held-bytes", "-1")):
        change["annotations"] = {"openfaas": "1", f"com.hilbert.limits.{key}": wrong}  # type: ignore[assignment]
        answer = await api.call("PUT", "/system/namespace/dear", change)
        assert answer.status == 400, answer.text
        assert f"com.hilbert.limits.{key}" in answer.text


@pytest.mark.bound("api-turns")
async def test_a_namespace_that_asks_much_keeps_nobody_waiting() -> None:
    """Most of the places are never its own; an administrator has others altogether."""
    provider = Held()
    async with running(provider) as api:
        for name in ("greedy", "modest"):
            await tenant_of(api, name)

        async def listed(tenant: str, *, admin: bool = False) -> int:
            headers = {} if admin else {"X-Tenant": tenant}
            return (await api.call("GET", f"/system/functions?namespace={tenant}", headers=headers)).status

        greedy = [asyncio.create_task(listed("greedy")) for _ in range(5 * TURNS)]
        await eventually(lambda: api.services.turns.waiting >= 5 * TURNS - TENANT_TURNS)
        assert provider.listed == ["greedy"] * TENANT_TURNS
        others = [asyncio.create_task(listed("modest")), asyncio.create_task(listed("greedy", admin=True))]
        await eventually(lambda: sorted(provider.listed[TENANT_TURNS:]) == ["greedy", "modest"])
        provider.go.set()
        assert set(await asyncio.gather(*greedy, *others)) == {200}


async def test_requests_that_run_in_one_go_let_others_in_between() -> None:
    """What a tenant has sent is all read before another's request comes: of that, only its turns are handled first."""
    order: list[str] = []
    services = SimpleNamespace(turns=Turns(TURNS, each=TENANT_TURNS))
    endpoint = SimpleNamespace(path="/system/functions", access=None)

    async def asks(tenant: str) -> None:
        caller = Caller(identity=tenant, grants=(Grant(("*",), (f"{tenant}:*",)),))
        call: Any = SimpleNamespace(endpoint=endpoint, caller=caller, services=services)
        async with fair.turn(call):
            order.append(tenant)

    async def comes_later() -> None:
        await asyncio.sleep(0)
        await asks("calm")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(50):
            tasks.create_task(asks("loud"))
        tasks.create_task(comes_later())
    assert order.count("loud") == 50
    assert order.index("calm") <= 2 * TENANT_TURNS
