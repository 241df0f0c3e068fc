"""`/system/async/queues`, `/calls` and `/batch`: what is listed to whom, and many calls queued at once."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hilbert.api.metrics import exposition
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.core.ports.queue import GivenUp
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.queues.memory import MemoryQueue
from support.api import Answer, Api, running

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
F = FunctionRef.parse("f.dev")


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running() as found:
        for name in ("dev", "other"):
            await found.call("POST", "/system/namespace/", {"name": name, "annotations": {"openfaas": "1"}})
            for function in ("f", "g"):
                spec = {"service": function, "image": "echo:1", "namespace": name}
                assert (await found.call("POST", "/system/functions", spec)).status == 202
        yield found


def queue_of(api: Api) -> Any:
    assert api.services.intake is not None
    return api.services.intake.queue


async def put(api: Api, name: str, body: bytes = b"x") -> str:
    answer = await api.call("POST", f"/async-function/{name}", body, user="")
    return answer.headers["x-call-id"]


async def die(api: Api, number: str) -> None:
    (lease,) = await queue_of(api).lease(F, count=1, now=time.time() + 1, until=time.time() + 60)
    assert lease.call.id == number
    kept = QueuedAnswer(500, ((b"Content-Type", b"text/x-a"),), b"oh").dump()
    await queue_of(api).settle(number, lease.epoch, GivenUp(reason="no", answer=kept), now=time.time())


async def bearer(api: Api, role: str) -> dict[str, Any]:
    made = await api.call("POST", "/system/tokens", {"name": role, "role": role, "namespaces": ["dev"]})
    return {"headers": {"Authorization": f"Bearer {made.json['token']}"}, "user": ""}


async def test_queues_by_function(api: Api) -> None:
    dead = await put(api, "f.dev", b"abc")
    await die(api, dead)
    for name in ("f.dev", "f.dev", "g.other"):
        await put(api, name, b"12345")
    found = (await api.call("GET", "/system/async/queues")).json
    assert [(one["function"], one["namespace"], one["pending"], one["inFlight"], one["dead"], one["bytes"] > 10) for one in found] == [
        ("f", "dev", 2, 0, 1, True),
        ("g", "other", 1, 0, 0, True),
    ]  # fmt: skip
    assert found[0]["oldestAt"].startswith("20")
    only = (await api.call("GET", "/system/async/queues?namespace=other")).json
    assert [one["function"] for one in only] == ["g"]
    mine = (await api.call("GET", "/system/async/queues", **await bearer(api, "viewer"))).json
    assert {one["namespace"] for one in mine} == {"dev"}
    assert (await api.call("GET", "/system/async/queues", **await bearer(api, "invoker"))).status == 403


@pytest.mark.bound("listed-calls")
@pytest.mark.parametrize("path", ["/system/async/calls", "/system/async/dead"])
async def test_lists_have_a_bound(api: Api, path: str) -> None:
    for limit, status in ((500, 200), (501, 400), (0, 400), ("9" * 400, 400), ("5e2", 400)):
        assert (await api.call("GET", f"{path}?namespace=dev&limit={limit}")).status == status, limit


async def test_calls_are_listed_in_pages(api: Api) -> None:
    numbers = [await put(api, "f.dev" if n % 2 else "g.dev") for n in range(4)]
    found = (await api.call("GET", "/system/async/calls?namespace=dev")).json
    assert [one["callId"] for one in found] == numbers
    page = (await api.call("GET", f"/system/async/calls?namespace=dev&after={found[1]['number']}&limit=1")).json
    assert [one["callId"] for one in page] == [numbers[2]]
    some = (await api.call("GET", "/system/async/calls?namespace=dev&function=f&state=queued")).json
    assert [one["callId"] for one in some] == [numbers[1], numbers[3]]
    assert (await api.call("GET", "/system/async/calls?namespace=dev&state=lost")).status == 400
    assert (await api.call("GET", "/system/async/calls?namespace=dev&limit=501")).status == 400
    assert (await api.call("GET", "/system/async/calls?namespace=other", **await bearer(api, "viewer"))).status == 400


@pytest.mark.parametrize(("role", "status"), [("viewer", 403), ("deployer", 200)])
async def test_what_calls_carry_needs_a_right_of_its_own(api: Api, role: str, status: int) -> None:
    number = await put(api, "f.dev/a?b=c", b"secret")
    await die(api, number)
    who = await bearer(api, role)
    request = await api.call("GET", f"/async-function/{number}/request", **who)
    result = await api.call("GET", f"/async-function/{number}/result", **who)
    assert (request.status, result.status) == (status, status)
    assert (await api.call("GET", f"/async-function/{number}", **who)).status == 200
    if status == 200:
        assert (request.body, request.headers["x-hilbert-method"], request.headers["x-hilbert-path"]) == (
            b"secret",
            "POST",
            "/a?b=c",
        )
        assert (result.body, result.headers["x-function-status"]) == (b"oh", "500")
    else:
        assert "Function:Payload" in request.text
    assert (await api.call("GET", f"/async-function/{number}/else", **who)).status == 404
    other = await put(api, "f.other", b"secret")
    for part in ("", "/request", "/result"):
        assert (await api.call("GET", f"/async-function/{other}{part}", **who)).status == 404


async def batch(api: Api, *calls: dict[str, Any], **more: Any) -> Answer:
    return await api.call("POST", "/system/async/batch", {"namespace": "dev", "calls": list(calls)}, **more)


async def test_a_batch_is_queued_in_order(api: Api) -> None:
    answer = await batch(
        api,
        {"function": "f", "body": "eins", "headers": {"X-A": "1", "X-Delay": "90s"}},
        {"function": "g", "method": "PUT", "path": "/p?q", "bodyBase64": "AP8="},
        **await bearer(api, "invoker"),
    )
    assert answer.status == 202
    records = await queue_of(api).list_calls(DEV, limit=9)
    assert answer.json == {"callIds": [record.id for record in records]}
    assert records[0].due > time.time() + 60
    requests = [QueuedRequest.load(await queue_of(api).body(DEV, record.id)) for record in records]
    assert [(request.method, request.target, request.body) for request in requests] == [
        ("POST", b"/", b"eins"),
        ("PUT", b"/p?q", b"\x00\xff"),
    ]
    assert requests[0].fields == ((b"X-A", b"1"),)


@pytest.mark.parametrize(
    ("wrong", "status", "said"),
    [
        ({"function": "nobody"}, 404, "nobody"),
        ({"function": "f.other"}, 400, "calls[1]: validation failed"),
        ({"function": "f", "method": "BREW"}, 400, "calls[1]: method"),
        ({"function": "f", "path": "a b"}, 400, "calls[1]: path"),
        ({"function": "f", "path": "/a\r\nX: y"}, 400, "calls[1]: path"),
        ({"function": "f", "headers": {"A\r\nB": "c"}}, 400, "calls[1]: headers"),
        ({"function": "f", "headers": {"A": "b\r\nC: d"}}, 400, "calls[1]: headers"),
        ({"function": "f", "headers": {"X-Call-Id": "a"}}, 400, "X-Call-Id"),
        ({"function": "f", "headers": {"X-Delay": "soon"}}, 400, "X-Delay"),
        ({"function": "f", "headers": {"X-Callback-Url": "nonsense"}}, 400, "call-back"),
        ({"function": "f", "body": "a", "bodyBase64": "YQ=="}, 400, "not both"),
        ({"function": "f", "bodyBase64": "?"}, 400, "bodyBase64"),
        ({"function": "f", "bodyBase64": "\u00fc"}, 400, "bodyBase64"),
        ({"body": "a"}, 400, "function"),
    ],
)  # fmt: skip
async def test_one_wrong_call_refuses_them_all(api: Api, wrong: dict[str, Any], status: int, said: str) -> None:
    answer = await batch(api, {"function": "f"}, wrong)
    assert (answer.status, said in answer.text) == (status, True), answer.text
    assert await queue_of(api).list_calls(DEV, limit=9) == []


@pytest.mark.bound("batch")
async def test_a_batch_has_bounds_and_needs_a_right(api: Api) -> None:
    assert (await batch(api)).status == 400
    assert (await batch(api, *[{"function": "f"}] * 1001)).status == 400
    assert (await batch(api, {"function": "f"}, **await bearer(api, "viewer"))).status == 403
    assert (await batch(api, {"function": "f"}, user="")).status == 401
    assert (await batch(api, *[{"function": "f"}] * 1000)).status == 202


async def test_metrics_of_queues(api: Api) -> None:
    await die(api, await put(api, "f.dev", b"abc"))
    await put(api, "f.dev")
    await batch(api, {"function": "f"}, {"function": "f"})
    lines = (await exposition(api.services)).decode().splitlines()
    worker = f'{{kubernetes_pod_name="{socket.gethostname()}",queue_name="faas-request"}}'
    for expected in (
        'queue_worker_pending_messages{function_name="f.dev",queue_name="faas-request"} 3.0',
        'queue_worker_function_invocation_inflight{function_name="f.dev",queue_name="faas-request"} 0.0',
        f"queue_worker_messages_submitted_total{worker} 4.0",
        'hilbert_queue_dead_letters{function_name="f.dev"} 1.0',
        "hilbert_queue_drift 0.0",
        'hilbert_schedule_lateness_seconds_bucket{le="+Inf"} 0.0',
    ):
        assert expected in lines


async def test_metrics_of_a_queue_that_servers_keep(api: Api) -> None:
    class Remote(MemoryQueue):
        reconnects = 3

    assert api.services.intake is not None
    assert b"queue_worker_nats_reconnect" not in await exposition(api.services)
    api.services.intake.queue = Remote()
    assert b"\nqueue_worker_nats_reconnect_total 3.0\n" in await exposition(api.services)
