"""Calls, while everything around them changes: versions, Pods, the API server, the gateways themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psutil
import pytest

from support.cluster import until
from support.gateways import ECHO, Session, function, session

pytestmark = pytest.mark.anyio


class Load:
    """Calls a function without end, through whichever gateway the Service leads to; keeps what failed."""

    def __init__(self, user: Session, name: str, *, seconds: float = 0.0) -> None:
        self._user = user
        self._name = name
        self._seconds = seconds
        self.calls = 0
        self.failures: list[str] = []

    @asynccontextmanager
    async def on(self, *, callers: int = 4) -> AsyncIterator[Load]:
        """Run while the block runs, and some calls before and after."""
        stop = asyncio.Event()
        tasks = [asyncio.create_task(self._work(stop, number)) for number in range(callers)]
        try:
            await self.more(20)
            yield self
            await self.more(20)
        finally:
            stop.set()
            await asyncio.gather(*tasks)

    async def more(self, count: int) -> None:
        """Until so many more calls have ended."""
        target = self.calls + count
        await until(lambda: self.calls >= target)

    async def _work(self, stop: asyncio.Event, number: int) -> None:
        headers = {"X-Seconds": str(self._seconds)} if self._seconds else {}
        turn = number
        while not stop.is_set() and self.calls < 20_000:
            gateways = self._user.gateways
            if not gateways:
                self.failures.append("no gateway is ready")
                return
            turn += 1
            try:
                answer = await self._user.http.post(
                    f"{gateways[turn % len(gateways)]}/function/{self._name}", content=b"x", headers=headers
                )
            except httpx2.HTTPError as exc:
                self.failures.append(f"{type(exc).__name__}: {exc}")
            else:
                if answer.status_code != 200:
                    self.failures.append(f"{answer.status_code}: {answer.text[:300]}")
            self.calls += 1
            await asyncio.sleep(0.005)


@pytest.fixture
async def user(tmp_path: Path) -> AsyncIterator[Session]:
    async with session(tmp_path) as user:
        yield user


async def test_new_versions_scaling_and_ends_of_pods_fail_no_call(user: Session) -> None:
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--label", "com.openfaas.scale.min=2")
    load, slow = Load(user, "echo"), Load(user, "echo", seconds=0.3)
    async with load.on(), slow.on(callers=2):
        for version in ("two", "three"):
            await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--env", f"SAY={version}")
        await user.hilbert("scale", "echo", "4")
        await until(lambda: len(user.pods("faas_function=echo", "openfaas-fn")) == 4)
        await user.hilbert("scale", "echo", "1")
        await until(lambda: len(user.cluster.objects("pods", "openfaas-fn")) == 1)
        (pod,) = user.pods("faas_function=echo", "openfaas-fn")
        await user.hilbert("scale", "echo", "2")
        await until(lambda: available(user, "echo", 2))
        await user.kubectl("delete", "pod", pod["metadata"]["name"], "-n", "openfaas-fn")
    assert (load.failures, slow.failures) == ([], [])


async def test_what_scaling_does_is_seen_with_kubectl(user: Session) -> None:
    """Up by load, to zero when nobody calls, and back with the next call: each is an event of the Function."""
    labels = {
        "type": "capacity",
        "target": "1",
        "target-proportion": "1",
        "max": "3",
        "zero": "true",
        "zero-duration": "4s",
    }
    flags = [word for key, text in labels.items() for word in ("--label", f"com.openfaas.scale.{key}={text}")]
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo", *flags)

    def told() -> dict[str, str]:
        found = user.cluster.objects("events", "openfaas-fn")
        return {one["reason"]: one["message"] for one in found if one["involvedObject"]["kind"] == "Function"}

    load = Load(user, "echo", seconds=0.3)
    async with load.on():
        await until(lambda: "ScaledUp" in told())
    await until(lambda: "ScaledToZero" in told())

    async def woken() -> bool:
        """The first calls may still find a Pod that is about to end."""
        answer = await user.http.post(f"{user.gateways[0]}/function/echo", content=b"x")
        assert answer.status_code == 200
        return "Woken" in told()

    await until(woken)
    assert load.failures == []
    assert "(Load: capacity" in told()["ScaledUp"]
    shown = await user.kubectl("describe", "function", "echo", "-n", "openfaas-fn")
    for reason, message in told().items():
        assert reason in shown
        assert message[:60] in shown


async def available(user: Session, name: str, count: int) -> bool:
    answer = await user.api("GET", f"/system/function/{name}")
    return answer.status_code == 200 and answer.json()["availableReplicas"] == count


async def test_warm_calls_go_on_while_the_api_server_is_away(user: Session) -> None:
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo")
    url = user.url
    async with Load(user, "echo").on() as load:
        await user.cluster.refuse()
        await load.more(50)
        answer = await user.api("POST", "/system/functions", {"service": "late", "image": ECHO}, url=url)
        assert answer.status_code == 503, answer.text
        assert (await user.api("GET", "/system/functions", url=url)).status_code == 200, "what is known is told"
        assert (await user.http.get(f"{url}/readyz")).status_code == 200
        assert "may be out of date" in (await user.api("GET", "/system/info", url=url)).text
        await user.cluster.listen()
        await user.hilbert("deploy", "--image", ECHO, "--name", "late")
    assert load.failures == []
    assert (await user.call("late", "hello")).text == "hello"


async def test_a_control_process_that_dies_costs_no_call_and_finds_everything_again(user: Session) -> None:
    await user.hilbert("deploy", "--image", ECHO, "--name", "echo")
    (supervisor,) = [psutil.Process(pid) for name, pid in user.cluster.kubelet.processes().items() if "gateway" in name]
    async with Load(user, "echo").on() as load:
        (old,) = [child for child in supervisor.children() if "hilbert.server.control" in child.cmdline()]
        old.kill()
        await until(lambda: answers(user))
        await user.hilbert("deploy", "--image", ECHO, "--name", "late")
    assert load.failures == []


async def answers(user: Session) -> bool:
    answer = await user.api("GET", "/system/functions")
    return answer.status_code == 200 and [item["name"] for item in answer.json()] == ["echo"]


async def test_two_gateways_of_which_one_leads_are_replaced_under_load(tmp_path: Path) -> None:
    async with session(tmp_path, replicas=2) as user:
        await user.hilbert("deploy", "--image", ECHO, "--name", "echo")
        leading = [url for url in user.gateways if "yes" in json.dumps(await leads(user, url))]
        assert len(leading) == 1
        for url in user.gateways:
            assert (await user.call("echo", "x", url=url)).status_code == 200
        for _ in range(3):
            assert (await user.call("echo", "x", url=user.gateways[0])).status_code == 200
        for url in user.gateways:
            await until(lambda url=url: counted(user, url, 5), what=f"all five calls, counted by {url}")

        async with Load(user, "echo").on() as load:
            before = set(user.gateways)
            await user.kubectl("rollout", "restart", "deployment/gateway", "-n", "openfaas")
            await user.kubectl("rollout", "status", "deployment/gateway", "-n", "openfaas", "--timeout", "60s")
            await until(lambda: len(user.gateways) == 2 and not before & set(user.gateways))
        assert load.failures == []
        await until(lambda: one_leads(user))

        (url,) = [url for url in user.gateways if await leads(user, url) == "yes"]
        for name, pid in user.cluster.kubelet.processes().items():
            pod = user.cluster.object("pods", name, "openfaas")
            if pod is not None and pod["status"]["podIP"] in url:
                psutil.Process(pid).kill()
        await user.kubectl("apply", "-f", "-", stdin=function("after", "openfaas-fn"))
        await until(lambda: is_called(user, "after"))


async def counted(user: Session, url: str, calls: int) -> bool:
    answer = await user.api("GET", "/system/functions", url=url)
    return [item.get("invocationCount", 0) for item in answer.json()] == [calls]


async def leads(user: Session, url: str) -> str:
    answer = await user.api("GET", "/system/info", url=url)
    found: str = answer.json()["hilbert"]["leads"]
    return found


async def one_leads(user: Session) -> bool:
    return sorted([await leads(user, url) for url in user.gateways]) == ["no", "yes"]


async def is_called(user: Session, name: str) -> bool:
    try:
        return (await user.call(name, "x")).status_code == 200
    except httpx2.HTTPError:
        return False
