"""Schedules over the API: what is listed and told, pausing, running by hand, and what a deployment is warned of."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.api.app import create_app
from hilbert.api.services import Services
from hilbert.control.delivery.intake import Intake
from hilbert.control.delivery.room import Rooms
from hilbert.control.leader import SoleLeader
from hilbert.control.schedules.firing import Firing
from hilbert.core.settings import Settings
from hilbert.core.values import NamespaceName
from hilbert.iam.sqlite_shelf import SqliteShelves
from hilbert.providers.memory import MemoryProvider
from hilbert.queues.memory import MemoryQueue
from support.api import CREDENTIALS, Answer, Api, serving, signing_in

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
DAILY = {"topic": "cron-function", "schedule": "0 9 * * *"}


class Scheduled(Api):
    queue: MemoryQueue

    async def deploy(self, name: str, annotations: dict[str, str], *, update: bool = False) -> Answer:
        spec = {"service": name, "image": "echo:1", "namespace": "dev", "annotations": annotations}
        return await self.call("PUT" if update else "POST", "/system/functions", spec)

    async def listed(self, query: str = "", **who: str) -> Any:
        return (await self.call("GET", f"/system/schedules?namespace=dev{query}", **who)).json

    async def until_listed(self, count: int) -> Any:
        """The list once it has `count` schedules: functions are watched, not asked."""
        async with asyncio.timeout(20):
            while len((found := await self.listed())["schedules"]) != count:
                await asyncio.sleep(0.01)
        return found


@contextlib.asynccontextmanager
async def gateway(*, fires: bool = True) -> AsyncIterator[Scheduled]:
    provider, queue = MemoryProvider(), MemoryQueue()
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.push_async_callback(provider.close)
        shelves = SqliteShelves(folder / "tokens.db")
        stack.callback(shelves.close)
        firing = Firing(queue, provider, leader=SoleLeader(), rooms=Rooms(provider))
        if fires:
            firing.start()
            stack.push_async_callback(firing.stop)
        services = Services(
            provider=provider,
            settings=Settings(),
            credentials=CREDENTIALS,
            **await signing_in(shelves),
            intake=Intake(queue, rooms=Rooms(provider)),
            firing=firing if fires else None,
        )
        await stack.enter_async_context(serving(create_app(services), folder / "a"))
        found = Scheduled(folder / "a", services)
        found.queue = queue
        for name in ("dev", "other"):
            await found.call("POST", "/system/namespace/", {"name": name, "annotations": {"openfaas": "1"}})
        yield found


@pytest.fixture
async def api() -> AsyncIterator[Scheduled]:
    async with gateway() as found:
        yield found


async def test_schedules_are_listed_with_their_next_times(api: Scheduled) -> None:
    assert (await api.deploy("f", {**DAILY, "com.hilbert.schedule.timezone": "Asia/Tokyo"})).status == 202
    assert (await api.deploy("g", {"topic": "cron-function", "schedule": "@hourly; nonsense"})).status == 202
    assert (await api.deploy("h", {})).status == 202
    found = await api.until_listed(2)
    (first, second) = found["schedules"]
    assert {key: first[key] for key in ("function", "namespace", "index", "schedule", "timezone", "overlap")} == {
        "function": "f", "namespace": "dev", "index": 0, "schedule": "0 9 * * *", "timezone": "Asia/Tokyo", "overlap": "allow",
    }  # fmt: skip
    assert [time[11:] for time in first["next"]] == ["00:00:00Z"] * 5
    assert second["function"] == "g"
    assert found["problems"] == [{"function": "g", "problem": found["problems"][0]["problem"]}]
    assert "5 fields" in found["problems"][0]["problem"]
    assert len((await api.listed("&function=f&count=2"))["schedules"][0]["next"]) == 2
    assert (await api.listed("&function=f"))["problems"] == []
    assert (await api.call("GET", "/system/schedules?namespace=other")).json == {"schedules": [], "problems": []}


@pytest.mark.bound("listed-times")
async def test_times_are_listed_within_a_bound(api: Api) -> None:
    assert (await api.deploy("f", DAILY)).status == 202
    await api.until_listed(1)
    assert len((await api.listed("&count=100"))["schedules"][0]["next"]) == 100
    for count in ("101", "-1", "9" * 400, "x"):
        assert (await api.call("GET", f"/system/schedules?namespace=dev&count={count}")).status == 400, count


async def test_pausing_and_resuming(api: Scheduled) -> None:
    await api.deploy("f", DAILY)
    await api.until_listed(1)
    answer = await api.call("PUT", "/system/schedules/f", {"namespace": "dev", "paused": True})
    assert (answer.status, answer.json) == (202, {"count": 1})
    (shown,) = (await api.listed())["schedules"]
    assert (shown["paused"], shown.get("next")) == (True, None)
    assert (await api.call("PUT", "/system/schedules/f.dev", {"paused": False})).status == 202
    (shown,) = (await api.listed())["schedules"]
    assert (shown.get("paused"), len(shown["next"])) == (None, 5)


async def test_an_annotation_cannot_be_resumed_from(api: Scheduled) -> None:
    await api.deploy("f", {**DAILY, "com.hilbert.schedule.paused": "true"})
    await api.until_listed(1)
    answer = await api.call("PUT", "/system/schedules/f.dev", {"paused": False})
    assert (answer.status, "annotation" in answer.text) == (409, True)


async def test_running_by_hand(api: Scheduled) -> None:
    await api.deploy("f", {"topic": "cron-function", "schedule": "@daily; @hourly"})
    await api.until_listed(2)
    answer = await api.call("POST", "/system/schedules/f.dev", {"index": 1})
    assert answer.status == 202
    (record,) = await api.queue.list_calls(DEV, limit=9)
    assert answer.json == {"callId": record.id}
    assert (await api.call("POST", "/system/schedules/f.dev")).status == 400, "it has two"
    for index in (2, -1):
        assert (await api.call("POST", "/system/schedules/f.dev", {"index": index})).status == 404


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_what_is_not_there(api: Scheduled, method: str) -> None:
    await api.deploy("plain", {})
    for name, said in (("nobody.dev", "not"), ("plain.dev", "has no schedule")):
        answer = await api.call(method, f"/system/schedules/{name}", {"paused": True})
        assert (answer.status, said in answer.text) == (404, True)


@pytest.mark.parametrize(
    ("role", "reads", "writes"), [("invoker", 403, 403), ("viewer", 200, 403), ("deployer", 200, 202)]
)
async def test_rights(api: Scheduled, role: str, reads: int, writes: int) -> None:
    await api.deploy("f", DAILY)
    await api.until_listed(1)
    made = await api.call("POST", "/system/tokens", {"name": "t", "role": role, "namespaces": ["dev"]})
    bearer = {"headers": {"Authorization": f"Bearer {made.json['token']}"}, "user": ""}
    assert (await api.call("GET", "/system/schedules?namespace=dev", **bearer)).status == reads
    assert (await api.call("PUT", "/system/schedules/f.dev", {"paused": True}, **bearer)).status == writes
    assert (await api.call("POST", "/system/schedules/f.dev", {}, **bearer)).status == writes
    elsewhere = await api.call("GET", "/system/schedules?namespace=other", **bearer)
    assert elsewhere.text == (await api.call("GET", "/system/schedules?namespace=nowhere", **bearer)).text.replace("nowhere", "other")  # fmt: skip


@pytest.mark.parametrize("update", [False, True])
async def test_a_deployment_is_warned_and_its_answer_is_otherwise_the_same(api: Scheduled, update: bool) -> None:
    plain = await api.deploy("f", DAILY)
    if not update:
        await api.call("DELETE", "/system/functions", {"functionName": "f", "namespace": "dev"})
    wrong = await api.deploy(
        "f", {"topic": "cron-function", "schedule": "0 9 * * 7; 0 0 30 2 *", "com.openfaas.retry.attempts": "many"}, update=update
    )  # fmt: skip
    assert "x-hilbert-warning" not in plain.headers
    warning = wrong.headers["x-hilbert-warning"]
    assert all(said in warning for said in ("day of the week (7)", "never comes due", "com.openfaas.retry.attempts"))
    assert (plain.status, plain.body) == (wrong.status, wrong.body) == (202, b"")
    odd = await api.deploy("odd", {"topic": "cron-function", "schedule": "ü\n\tX: y " * 90})
    assert odd.headers["x-hilbert-warning"].isascii()


async def test_a_gateway_that_fires_none_says_so() -> None:
    async with gateway(fires=False) as api:
        answer = await api.deploy("f", DAILY)
        assert "this gateway fires none" in answer.headers["x-hilbert-warning"]
        assert "x-hilbert-warning" not in (await api.deploy("g", {})).headers
        assert (await api.call("GET", "/system/schedules?namespace=dev")).status == 501
        assert (await api.call("PUT", "/system/schedules/f.dev", {"paused": True})).status == 501
