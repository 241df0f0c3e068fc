"""`/async-function/` over the API: what is accepted and what is told, with a queue in memory and nobody who delivers."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import tempfile
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.api.app import create_app
from hilbert.api.services import Services
from hilbert.control.delivery.intake import Intake
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.control.delivery.room import Rooms
from hilbert.core.errors import StorageFull
from hilbert.core.ports.queue import Finished, GivenUp, QueueBounds, QueuedCall
from hilbert.core.settings import Settings
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.providers.memory import MemoryProvider
from hilbert.queues.memory import MemoryQueue
from support.api import CREDENTIALS, Api, serving

pytestmark = pytest.mark.anyio

HERE = NamespaceName("openfaas-fn")
F = FunctionRef.parse("f")
BOUNDS = QueueBounds(function_calls=5)


class Queued(Api):
    queue: MemoryQueue
    cancelled: list[str]

    async def post(self, target: str, body: bytes = b"", **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.call("POST", target, body, headers=named, user="")

    async def request(self, number: str, namespace: NamespaceName = HERE) -> QueuedRequest:
        return QueuedRequest.load(await self.queue.body(namespace, number))


@pytest.fixture
async def api() -> AsyncIterator[Queued]:
    provider = MemoryProvider()
    queue = MemoryQueue()
    cancelled: list[str] = []
    services = Services(
        provider=provider,
        settings=Settings(),
        credentials=CREDENTIALS,
        intake=Intake(queue, rooms=Rooms(provider, BOUNDS), cancelled=cancelled.append),
    )
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        stack.push_async_callback(provider.close)
        await stack.enter_async_context(serving(create_app(services), folder / "a"))
        found = Queued(folder / "a", services)
        found.queue, found.cancelled = queue, cancelled
        for namespace in ("", "dev"):
            if namespace:
                await found.call("POST", "/system/namespace/", {"name": namespace, "annotations": {"openfaas": "1"}})
            spec = {"service": "f", "image": "echo:1", "namespace": namespace}
            assert (await found.call("POST", "/system/functions", spec)).status == 202
        yield found


async def test_a_call_is_queued_as_it_came(api: Queued) -> None:
    answer = await api.post("/async-function/f/a%2Fb/?x=1&x=2", b" \xff body ", X_Own="1", X_Callback_Url="http://h/", Connection="x-hop", X_Hop="1", Authorization="Bearer t")  # fmt: skip
    assert (answer.status, answer.body) == (202, b"")
    number = answer.headers["x-call-id"]
    assert answer.headers["x-start-time"].isdigit()
    request = await api.request(number)
    assert (request.method, request.target, request.body) == ("POST", b"/a%2Fb/?x=1&x=2", b" \xff body ")
    assert request.callback == "http://h/"
    names = {name.lower(): value for name, value in request.fields}
    assert (names[b"x-own"], names[b"authorization"]) == (b"1", b"Bearer t")
    assert not {b"host", b"connection", b"x-hop", b"x-callback-url", b"content-length"} & names.keys()


@pytest.mark.parametrize(
    ("target", "path"), [("/async-function/f", b"/"), ("/async-function/f?q", b"/?q"), ("/async-function/f/", b"/")]
)
async def test_paths(api: Queued, target: str, path: bytes) -> None:
    answer = await api.post(target)
    assert (await api.request(answer.headers["x-call-id"])).target == path


async def test_namespaces(api: Queued) -> None:
    answer = await api.post("/async-function/f.dev")
    record = await api.queue.look_up(NamespaceName("dev"), answer.headers["x-call-id"], now=0)
    assert str(record.ref) == "f.dev"


@pytest.mark.parametrize("name", ["nobody.openfaas-fn", "f.nowhere", "f.kube-system", "f.NOT_ONE", "nobody.dev"])
async def test_what_is_not_there(api: Queued, name: str) -> None:
    """Nobody can find out which namespaces there are: it is always the function that is missing."""
    answer = await api.post(f"/async-function/{name}")
    assert (answer.status, answer.text) == (404, f"function {name} not found\n")
    assert await api.queue.list_calls(HERE, limit=9) == []


async def test_nothing_is_promised_while_the_disk_is_full(api: Queued, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr(api.queue, "put", full)
    answer = await api.post("/async-function/f")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    batch = await api.call("POST", "/system/async/batch", {"calls": [{"function": "f"}]})
    assert (batch.status, batch.headers["retry-after"]) == (503, "5")
    assert await api.queue.list_calls(HERE, limit=9) == []


@pytest.mark.parametrize(
    ("name", "value", "after"),
    [
        ("X_Delay", "0", 0.0),
        ("X_Delay", "5", 5.0),
        ("X_Delay", "1m30s", 90.0),
        ("X_Delay", " 250ms ", 0.25),
        ("X_Delay", "720h", 30 * 86_400.0),
        ("X_Run_At", "0001-01-01T00:00:00+23:59", 0.0),
        ("X_Run_At", "1970-01-01", 0.0),
    ],
)
async def test_odd_times_that_mean_something(api: Queued, name: str, value: str, after: float) -> None:
    before = time.time()
    answer = await api.post("/async-function/f", **{name: value})
    assert answer.status == 202, answer.text
    due = (await api.queue.look_up(HERE, answer.headers["x-call-id"], now=0)).due
    assert before + after <= due <= time.time() + after


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("X_Callback_Url", "nonsense", "call-back"),
        ("X_Callback_Url", "ftp://a/", "call-back"),
        ("X_Delay", "soon", "X-Delay"),
        ("X_Delay", "-3s", "X-Delay"),
        ("X_Delay", "9999h", "30 days"),
        ("X_Delay", "1e400", "X-Delay"),
        ("X_Delay", "nan", "X-Delay"),
        ("X_Delay", "inf", "X-Delay"),
        ("X_Delay", "\u0661s", "X-Delay"),
        ("X_Delay", "720h1s", "30 days"),
        ("X_Run_At", "9999-12-31T23:59:59-23:59", "30 days"),
        ("X_Run_At", "2030-13-01T00:00:00Z", "X-Run-At"),
        ("X_Run_At", "1767225600", "X-Run-At"),
        ("X_Run_At", "tomorrow", "X-Run-At"),
        ("Idempotency_Key", "k" * 256, "Idempotency-Key"),
        ("X_Hilbert_Depth", "16", "led to one another"),
    ],
)
@pytest.mark.bound("delay", "idempotency-key", "depth")
async def test_headers_without_a_meaning(api: Queued, name: str, value: str, said: str) -> None:
    answer = await api.post("/async-function/f", **{name: value})
    assert (answer.status, said in answer.text) == (400, True)
    assert await api.queue.list_calls(HERE, limit=9) == []


async def test_delays(api: Queued) -> None:
    before = time.time()
    first = (await api.post("/async-function/f", X_Delay="90s")).headers["x-call-id"]
    second = (await api.post("/async-function/f", X_Run_At="2100-01-01T00:00:00Z")).status
    third = (await api.post("/async-function/f", X_Run_At="1999-01-01T00:00:00Z")).headers["x-call-id"]
    assert before + 90 <= (await api.queue.look_up(HERE, first, now=0)).due <= time.time() + 90
    assert second == 400, "further than a call may be put off"
    assert (await api.queue.look_up(HERE, third, now=0)).due >= before
    both = await api.post("/async-function/f", X_Delay="1s", X_Run_At="2030-01-01T00:00:00Z")
    assert (both.status, "not both" in both.text) == (400, True)


async def test_idempotency(api: Queued) -> None:
    first = await api.post("/async-function/f", b"x", Idempotency_Key="k", X_Forwarded_For="1.2.3.4")
    again = await api.post("/async-function/f", b"x", Idempotency_Key="k", X_Forwarded_For="5.6.7.8")
    other = await api.post("/async-function/f", b"y", Idempotency_Key="k")
    assert (again.status, again.headers["x-call-id"]) == (202, first.headers["x-call-id"])
    assert other.status == 422
    assert len(await api.queue.list_calls(HERE, limit=9)) == 1


async def test_a_clients_own_call_id(api: Queued) -> None:
    """It is kept, but it makes no two calls one, and tells nobody that another tenant has used it."""
    mine = str(uuid.uuid4())
    first = await api.post("/async-function/f", b"x", X_Call_Id=mine)
    second = await api.post("/async-function/f", b"x", X_Call_Id=mine)
    third = await api.post("/async-function/f.dev", b"x", X_Call_Id=mine)
    assert first.headers["x-call-id"] == mine
    assert len({answer.headers["x-call-id"] for answer in (first, second, third)}) == 3
    assert {answer.status for answer in (first, second, third)} == {202}


async def test_an_id_that_others_could_guess_is_not_kept(api: Queued) -> None:
    """Whoever knows the id of a queued call may cancel it."""
    answer = await api.post("/async-function/f", b"x", X_Call_Id="order-17", X_Delay="1h")
    assert answer.headers["x-call-id"] != "order-17"
    assert (await api.call("DELETE", "/async-function/order-17", user="")).status == 404


@pytest.mark.bound("queued-calls")
async def test_a_full_queue(api: Queued) -> None:
    for _ in range(5):
        assert (await api.post("/async-function/f")).status == 202
    answer = await api.post("/async-function/f")
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "may hold 5 calls" in answer.text


async def test_a_body_that_is_too_large(api: Queued) -> None:
    answer = await api.post("/async-function/f", b"x" * (4 * 1024 * 1024 + 1))
    assert (answer.status, "gateway.max_api_body" in answer.text) == (413, True)


async def test_cancelling(api: Queued) -> None:
    number = (await api.post("/async-function/f.dev")).headers["x-call-id"]
    for _ in range(2):
        assert (await api.call("DELETE", f"/async-function/{number}", user="")).status == 202
    assert api.cancelled == [number, number]
    status = (await api.call("GET", f"/async-function/{number}")).json
    assert (status["state"], status["reason"]) == ("cancelled", "cancelled by a client")
    assert (await api.call("DELETE", "/async-function/never", user="")).status == 404


async def test_the_state_of_a_call(api: Queued) -> None:
    number = (await api.post("/async-function/f.dev", X_Delay="1h")).headers["x-call-id"]
    status = (await api.call("GET", f"/async-function/{number}")).json
    assert {key: status[key] for key in ("callId", "function", "namespace", "state", "attempts")} == {
        "callId": number,
        "function": "f",
        "namespace": "dev",
        "state": "delayed",
        "attempts": 0,
    }
    assert "nextAttemptAt" in status
    assert (await api.call("GET", f"/async-function/{number}/result")).status == 404
    assert (await api.call("GET", "/async-function/never")).status == 404


async def test_states_and_results_need_credentials(api: Queued) -> None:
    number = (await api.post("/async-function/f")).headers["x-call-id"]
    for target in (number, f"{number}/result", "never"):
        answer = await api.call("GET", f"/async-function/{target}", user="")
        assert (answer.status, answer.body) == (401, b"invalid credentials")


async def test_the_answer_of_a_call(api: Queued) -> None:
    number = (await api.post("/async-function/f")).headers["x-call-id"]
    (lease,) = await api.queue.lease(F, count=1, now=time.time() + 1, until=time.time() + 9)
    kept = QueuedAnswer(201, ((b"Content-Type", b"text/html"), (b"Set-Cookie", b"a=b")), b"<p>", cut=True)
    done = Finished(succeeded=True, answer=kept.dump(), answer_until=time.time() + 60)
    await api.queue.settle(number, lease.epoch, done, now=time.time())
    assert (await api.call("GET", f"/async-function/{number}")).json["hasResult"] is True
    answer = await api.call("GET", f"/async-function/{number}/result")
    assert (answer.status, answer.body) == (200, b"<p>")
    found = {name: answer.headers.get(name) for name in ("content-type", "x-function-status", "x-hilbert-truncated", "set-cookie")}  # fmt: skip
    assert found == {
        "content-type": "text/html",
        "x-function-status": "201",
        "x-hilbert-truncated": "true",
        "set-cookie": None,
    }
    assert answer.headers["content-disposition"] == "attachment"


async def test_a_removed_function_takes_its_calls_along(api: Queued) -> None:
    number = (await api.post("/async-function/f")).headers["x-call-id"]
    assert (await api.call("DELETE", "/system/functions", {"functionName": "f"})).status == 202
    status = (await api.call("GET", f"/async-function/{number}")).json
    assert (status["state"], status["reason"]) == ("cancelled", "the function was removed")


async def test_a_removed_namespace_takes_all_along(api: Queued) -> None:
    number = (await api.post("/async-function/f.dev", Idempotency_Key="k")).headers["x-call-id"]
    assert (await api.call("DELETE", "/system/namespace/dev", {"name": "dev"})).status in (200, 202)
    assert (await api.call("GET", f"/async-function/{number}")).status == 404
    assert [counts.ref.namespace for counts in await api.queue.counts()] == []


async def test_calls_of_namespaces_that_went_unseen_are_forgotten(api: Queued) -> None:
    await api.post("/async-function/f")
    await api.post("/async-function/f.dev")
    assert api.services.intake is not None

    async def there() -> list[NamespaceName]:
        return [HERE]

    await api.services.intake.catch_up(there)
    assert [counts.ref.namespace for counts in await api.queue.counts()] == [HERE]


async def dead(api: Queued, function: str, *numbers: str) -> None:
    for number in numbers:
        ref = FunctionRef.parse(function)
        request = QueuedRequest("POST", "/", (), b"", "", 0)
        call = QueuedCall(id=number, ref=ref, due=0.0, body=request.dump(), fingerprint=number.encode())
        await api.queue.put([call], now=time.time())
        (lease,) = await api.queue.lease(ref, count=1, now=time.time() + 1, until=time.time() + 9)
        await api.queue.settle(number, lease.epoch, GivenUp(reason="no"), now=time.time())


def listed(answer: Any) -> list[str]:
    assert answer.status == 200
    return [entry["callId"] for entry in answer.json]


async def test_dead_letters_are_listed(api: Queued) -> None:
    await dead(api, "f", "a", "b", "c")
    await dead(api, "f.dev", "d")
    await api.post("/async-function/f")
    first = await api.call("GET", "/system/async/dead?limit=2")
    assert listed(first) == ["a", "b"]
    assert (first.json[0]["state"], first.json[0]["reason"]) == ("dead", "no")
    assert listed(await api.call("GET", f"/system/async/dead?after={first.json[-1]['number']}")) == ["c"]
    assert listed(await api.call("GET", "/system/async/dead?function=g")) == []
    assert listed(await api.call("GET", "/system/async/dead?namespace=dev")) == ["d"]
    for wrong in ("limit=0", "limit=501", "after=-1", "after=x"):
        assert (await api.call("GET", f"/system/async/dead?{wrong}")).status == 400


async def test_dead_letters_are_queued_again_and_purged(api: Queued) -> None:
    await dead(api, "f", "a", "b", "c")
    await dead(api, "f.dev", "d")
    answer = await api.call("POST", "/system/async/dead", {"calls": ["a", "d", "never"]})
    assert (answer.status, answer.json) == (202, {"count": 1}), "those of another namespace are not there"
    assert (await api.call("GET", "/async-function/a")).json["state"] == "queued"
    assert (await api.call("DELETE", "/system/async/dead", {"all": True, "function": "f"})).json == {"count": 2}
    assert (await api.call("DELETE", "/system/async/dead", {"all": True, "namespace": "dev"})).json == {"count": 1}
    assert listed(await api.call("GET", "/system/async/dead")) == []


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_all_dead_letters_are_meant_only_when_said(api: Queued, method: str) -> None:
    await dead(api, "f", "a")
    for body in ({}, {"calls": []}, {"all": False}, {"function": "f"}):
        assert (await api.call(method, "/system/async/dead", body)).status == 400
    assert listed(await api.call("GET", "/system/async/dead")) == ["a"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD", "OPTIONS"])
async def test_other_methods(api: Queued, method: str) -> None:
    answer = await api.call(method, "/async-function/f", user="")
    assert (answer.status, answer.headers["allow"]) == (405, "DELETE, GET, POST")


async def test_an_installation_without_a_queue_says_so(api: Queued) -> None:
    services = dataclasses.replace(api.services, intake=None)
    async with serving(create_app(services), api.path.with_name("b")):
        answer = await Api(api.path.with_name("b"), services).call("POST", "/async-function/f", b"", user="")
    assert answer.status == 501
    assert "has no queue" in answer.text


@pytest.mark.bound("namespace-calls", "queue-rate")
async def test_a_namespaces_own_bounds_and_rate(api: Queued) -> None:
    """Whoever governs the namespace says them; the errors name them."""

    async def govern(**annotations: str) -> int:
        named = {f"com.hilbert.queue.{key}": text for key, text in annotations.items()}
        spec = {"name": "dev", "annotations": {"openfaas": "1", **named}}
        return (await api.call("PUT", "/system/namespace/dev", spec)).status

    assert await govern(calls="2") == 202
    assert [(await api.post("/async-function/f.dev")).status for _ in range(3)] == [202, 202, 503]
    assert await govern(rate="0.1") == 202
    answers = [await api.post("/async-function/f.dev") for _ in range(4)]
    assert [answer.status for answer in answers][-1] == 429
    assert int(answers[-1].headers["retry-after"]) >= 1
    assert "com.hilbert.queue.rate" in answers[-1].text
    assert (await api.post("/async-function/f")).status == 202, "others are not held back"
    assert await govern(weight="none") == 400


async def test_a_function_can_only_lower_its_bounds(api: Queued) -> None:
    for calls, accepted in (("1", 1), ("50", 5)):
        spec = {"service": "f", "image": "echo:1", "annotations": {"com.hilbert.queue.calls": calls}}
        assert (await api.call("PUT", "/system/functions", spec)).status == 202
        await api.queue.cancel_function(F, reason="", now=0)
        assert sum([(await api.post("/async-function/f")).status == 202 for _ in range(7)]) == (
            accepted if calls == "1" else 7
        )
    wrong = {"service": "f", "image": "echo:1", "annotations": {"com.hilbert.queue.calls": "all"}}
    assert "com.hilbert.queue.calls" in (await api.call("PUT", "/system/functions", wrong)).headers["x-hilbert-warning"]


@pytest.mark.parametrize("whose", ["function", "namespace"])
@pytest.mark.bound("queued-bytes", "namespace-bytes")
async def test_requests_take_up_room(api: Queued, whose: str) -> None:
    annotations = {"com.hilbert.queue.bytes": "1Ki"}
    if whose == "function":
        spec = {"service": "f", "image": "echo:1", "namespace": "dev", "annotations": annotations}
        assert (await api.call("PUT", "/system/functions", spec)).status == 202
    else:
        spec = {"name": "dev", "annotations": {"openfaas": "1", **annotations}}
        assert (await api.call("PUT", "/system/namespace/dev", spec)).status == 202
    assert (await api.post("/async-function/f.dev", b"x" * 800)).status == 202
    refused = await api.post("/async-function/f.dev", b"x" * 800)
    assert (refused.status, f"the queue of {whose}" in refused.text, "1024 bytes" in refused.text) == (503, True, True)
