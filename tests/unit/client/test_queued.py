"""Queued calls and schedules, by either client against a gateway that is played."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hilbert.client import BatchCall, Deployment, Forbidden, GatewayTimeout, HilbertError, NotFound, Unsupported
from support.cli import Gateway, Reply
from support.clients import Either

CALL = {
    "number": 7,
    "callId": "c-1",
    "function": "f",
    "namespace": "dev",
    "state": "queued",
    "attempts": 2,
    "queuedAt": "2024-05-06T07:08:09Z",
    "new": {"of": "later versions"},
}


def answer(gateway: Gateway, method: str, path: str, *documents: Any, status: int = 200) -> None:
    gateway.script[method, path] = [Reply(status, msgspec.json.encode(document)) for document in documents]


def test_queueing_with_all_that_can_be_said(client: Either, gateway: Gateway) -> None:
    gateway.add("f")
    gateway.bodies["f"] = lambda _: Reply()
    sent = client.do("invoke_async", "f", b"x", callback_url="http://a/b", key="order-17", delay=1.5)
    assert sent == "call-1"
    headers = gateway.last("POST", "/async-function/f").headers
    assert {name: headers[name] for name in ("x-callback-url", "idempotency-key", "x-delay")} == {
        "x-callback-url": "http://a/b",
        "idempotency-key": "order-17",
        "x-delay": "1500ms",
    }
    client.do("invoke_async", "f")
    assert "x-delay" not in gateway.last("POST", "/async-function/f").headers


def test_queues_and_calls(client: Either, gateway: Gateway) -> None:
    queue = {
        "function": "f",
        "namespace": "dev",
        "pending": 3,
        "inFlight": 1,
        "dead": 2,
        "bytes": 9,
        "finishedPerMinute": 4,
    }
    answer(gateway, "GET", "/system/async/queues", [queue])
    (found,) = client.do("list_queues", "dev")
    assert (found.pending, found.in_flight, found.dead, found.oldest_at) == (3, 1, 2, None)
    answer(gateway, "GET", "/system/async/calls", [CALL], [])
    (call,) = client.do("list_calls", "dev", function="f", state="queued", after=3, limit=9)
    assert (call.call_id, call.number, call.attempts, call.queued_at.year) == ("c-1", 7, 2, 2024)
    assert gateway.last("GET", "/system/async/calls").query == {
        "namespace": "dev", "function": "f", "state": "queued", "after": "3", "limit": "9",
    }  # fmt: skip
    assert client.do("list_calls") == []
    assert gateway.last("GET", "/system/async/calls").query == {}


def test_one_call(client: Either, gateway: Gateway) -> None:
    answer(gateway, "GET", "/async-function/c-1", CALL)
    assert client.do("get_call", "c-1").state == "queued"
    gateway.script["GET", "/async-function/c-1/result"] = [
        Reply(200, b"teapot", {"X-Function-Status": "418", "Content-Type": "text/x"}),
        Reply(403, b"this needs the right Function:Payload on dev:f"),
        Reply(404, b"no result of call c-1 is kept"),
    ]
    result = client.do("call_result", "c-1")
    assert (result.status, result.text, result.ok, result.headers["content-type"]) == (418, "teapot", False, "text/x")
    with pytest.raises(Forbidden, match="Function:Payload"):
        client.do("call_result", "c-1")
    with pytest.raises(NotFound, match="no result"):
        client.do("call_result", "c-1")
    gateway.script["GET", "/async-function/c-1/request"] = [Reply(200, b"\x00\xff")]
    assert client.do("call_request", "c-1") == b"\x00\xff"
    gateway.script["DELETE", "/async-function/c-1"] = [Reply(202)]
    client.do("cancel_async", "c-1")


def test_waiting_for_the_end(client: Either, gateway: Gateway) -> None:
    states = ("queued", "delayed", "running", "succeeded")
    answer(gateway, "GET", "/async-function/c-1", *({**CALL, "state": state} for state in states))
    assert client.do("wait_call", "c-1", timeout=30).state == "succeeded"
    answer(gateway, "GET", "/async-function/c-1", CALL, CALL)
    with pytest.raises(GatewayTimeout, match="has not ended in 0 seconds; it is queued"):
        client.do("wait_call", "c-1", timeout=0)


def test_a_batch(client: Either, gateway: Gateway) -> None:
    answer(gateway, "POST", "/system/async/batch", {"callIds": ["a", "b"]}, status=202)
    batch = [BatchCall(function="f", body="x", headers={"X-Delay": "1s"}), BatchCall(function="g", body_base64="AA==")]
    assert client.do("invoke_batch", batch, "dev") == ["a", "b"]
    sent = gateway.last("POST", "/system/async/batch").json
    assert sent["namespace"] == "dev"
    assert sent["calls"][1]["bodyBase64"] == "AA=="
    gateway.script["POST", "/system/async/batch"] = [
        Reply(503, b"the queue of namespace dev is full", {"Retry-After": "5"})
    ]
    with pytest.raises(HilbertError, match="is full") as caught:
        client.do("invoke_batch", batch)
    assert caught.value.retryable


def test_dead_letters(client: Either, gateway: Gateway) -> None:
    for verb, method in (("redrive", "POST"), ("purge", "DELETE")):
        answer(gateway, method, "/system/async/dead", {"count": 2}, {"count": 5})
        assert client.do(verb, ["a", "b"], "dev") == 2
        assert gateway.last(method, "/system/async/dead").json["all"] is False
        assert client.do(verb, namespace="dev", function="f") == 5
        sent = gateway.last(method, "/system/async/dead").json
        assert (sent["all"], sent["calls"], sent["function"]) == (True, [], "f")


def test_schedules(client: Either, gateway: Gateway) -> None:
    schedule = {
        "function": "f", "namespace": "dev", "index": 0, "schedule": "@hourly", "timezone": "UTC", "overlap": "skip",
        "next": ["2030-01-31T09:00:00Z"],
    }  # fmt: skip
    answer(
        gateway, "GET", "/system/schedules", {"schedules": [schedule], "problems": [{"function": "g", "problem": "no"}]}
    )
    found = client.do("list_schedules", "dev", function="f", count=1)
    assert (found.schedules[0].next[0].hour, found.schedules[0].paused, found.problems[0].problem) == (9, False, "no")
    answer(gateway, "PUT", "/system/schedules/f", {"count": 1}, {"count": 1}, status=202)
    assert client.do("pause_schedules", "f", "dev") == 1
    assert gateway.last("PUT", "/system/schedules/f").json == {"namespace": "dev", "paused": True}
    client.do("pause_schedules", "f", "dev", paused=False)
    assert gateway.last("PUT", "/system/schedules/f").json["paused"] is False
    answer(gateway, "POST", "/system/schedules/f", {"callId": "c-9"}, status=202)
    assert client.do("run_schedule", "f", "dev", index=1) == "c-9"
    gateway.script["GET", "/system/schedules"] = [Reply(501, b"this gateway fires no schedules")]
    with pytest.raises(Unsupported):
        client.do("list_schedules")


def test_a_deployment_brings_its_warning(client: Either, gateway: Gateway) -> None:
    gateway.script["PUT", "/system/functions"] = [
        Reply(202, headers={"X-Hilbert-Warning": "annotation schedule: no"}),
        Reply(202),
    ]
    deployment = Deployment(service="f", image="i:1")
    assert [client.do("deploy", deployment).warning for _ in range(2)] == ["annotation schedule: no", ""]
