"""The gateway calls functions for others: queued calls, their call-backs, schedules. Nobody gets more by it than they have themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest

from hilbert.audit.record import Decision
from hilbert.control.delivery.request import QueuedRequest
from hilbert.core.function_tokens import check
from hilbert.core.model import EndpointSet, FunctionSpec
from hilbert.core.values import FunctionRef
from hilbert.dataplane.feed.messages import CallKey, CallKeys, CallPass, Refusal
from hilbert.dataplane.turned_away import MOST, TurnedAwayCalls
from hilbert.iam.federation import PASS_LIFE
from hilbert.server.auditing import record_of
from hilbert.server.call_keys import KeyTeller
from support.api import URL, Answer
from support.dataplane import DELIVERY_SECRET, Plane, until
from support.guarded import Guarded
from support.replicas import mirror

pytestmark = pytest.mark.anyio

ASKS = {"com.hilbert.auth": "required"}
BACK = "http://gateway.openfaas:8080/function/asks"


async def fill(guarded: Guarded) -> None:
    for name, asks in (("open", {}), ("asks", ASKS), ("asks-too", ASKS)):
        body = {"service": name, "image": "i", "annotations": asks}
        assert (await guarded.api.call("POST", "/system/functions?namespace=dev", body)).status == 202


async def queue(guarded: Guarded, name: str, back: str, token: str = "") -> Answer:
    headers = {"X-Callback-Url": back, **({"Authorization": f"Bearer {token}"} if token else {})}
    return await guarded.api.call("POST", f"/async-function/{name}.dev", b"x", headers=headers, user="")


async def kept(guarded: Guarded, answer: Answer) -> QueuedRequest:
    assert answer.status == 202, answer.text
    queued = guarded.api.services.intake.queue  # type: ignore[union-attr]
    return QueuedRequest.load(await queued.body("dev", answer.headers["x-call-id"]))  # type: ignore[arg-type]


async def test_a_call_back_opens_nothing_that_its_sender_could_not_open(guarded: Guarded) -> None:
    """Who queues a call of an open function chooses where its answer goes, and shapes the answer."""
    await fill(guarded)
    invoker, viewer = await guarded.token("invoker"), await guarded.token("viewer")
    stranger = await guarded.token("invoker", "other")
    assert (await queue(guarded, "open", BACK)).status == 401
    assert (await queue(guarded, "open", BACK, viewer)).status == 403
    assert (await queue(guarded, "open", BACK, stranger)).status == 403
    narrow = (await guarded.function_token(invoker, "dev:open"))["access_token"]
    assert (await queue(guarded, "open", BACK, narrow)).status == 403
    assert (await queue(guarded, "open", f"{BACK}-too?x=1", narrow)).status == 403
    assert (await kept(guarded, await queue(guarded, "open", BACK, invoker))).is_vouched
    for elsewhere in ("https://example.com/", "http://gateway/function/open", "http://gateway/function/none",
                      "http://gateway/system/functions", "http://gateway/function/asks.other"):  # fmt: skip
        assert not (await kept(guarded, await queue(guarded, "open", elsewhere, invoker))).is_vouched


async def test_a_call_back_does_not_queue_a_call_of_such_a_function(guarded: Guarded) -> None:
    await fill(guarded)
    invoker = await guarded.token("invoker")
    refused = await queue(guarded, "open", BACK.replace("/function/", "/async-function/"), invoker)
    assert (refused.status, "use /function/" in refused.text) == (400, True)


async def test_an_entry_has_the_callers_name_and_none_of_its_credentials(guarded: Guarded) -> None:
    await fill(guarded)
    invoker = await guarded.token("invoker")
    name = f"token:{invoker.split('_')[1]}"
    for function in ("asks", "open"):
        answer = await queue(guarded, function, BACK, invoker)
        request = await kept(guarded, answer)
        assert invoker.encode() not in request.dump()
        shown = (await guarded.api.call("GET", f"/async-function/{answer.headers['x-call-id']}")).json
        assert shown.get("queuedBy", "") == (name if function == "asks" else "")
    of_functions = (await guarded.function_token(invoker))["access_token"]
    answer = await queue(guarded, "asks", BACK, of_functions)
    assert of_functions.encode() not in (await kept(guarded, answer)).dump()
    shown = (await guarded.api.call("GET", f"/async-function/{answer.headers['x-call-id']}")).json
    assert shown["queuedBy"] == name
    batch = {"calls": [{"function": "asks"}], "namespace": "dev"}
    (number,) = (await guarded.api.call("POST", "/system/async/batch", batch)).json["callIds"]
    assert (await guarded.api.call("GET", f"/async-function/{number}")).json["queuedBy"] == "admin"


async def test_the_audit_log_has_who_queued_and_who_was_refused(guarded: Guarded) -> None:
    await fill(guarded)
    invoker, viewer = await guarded.token("invoker"), await guarded.token("viewer")
    for token in (invoker, viewer, ""):
        await queue(guarded, "asks", "", token)
    await queue(guarded, "open", "", "")
    page = (await guarded.api.call("GET", "/system/audit?namespace=dev")).json
    found = [line["record"] for line in page["lines"] if line["record"]["path"].startswith("/async-function/")]
    told = {
        (one["actor"].get("sub", ""), one.get("decision", "none"), one["resource"], one["response_code"])
        for one in found
    }
    assert told == {
        (f"token:{invoker.split('_')[1]}", "none", "dev:asks", 202),
        (f"token:{viewer.split('_')[1]}", "refused", "dev:asks", 403),
        ("", "unauthenticated", "dev:asks", 401),
    }


def watched(name: str, **env: str) -> EndpointSet:
    ref = FunctionRef.parse(f"{name}.dev")
    return EndpointSet(ref=ref, spec=FunctionSpec(ref=ref, image="i", env=env))


async def test_a_pass_opens_one_function_and_is_renewed(guarded: Guarded) -> None:
    told: list[CallKeys] = []
    federation = guarded.api.services.federation
    teller = KeyTeller(None, federation, told.append, now=guarded.clock)
    teller.seen(watched("asks", jwt_auth="true"))
    teller.seen(watched("open"))
    teller.look()
    (given,) = told[-1].passes
    assert (given.namespace, given.name) == ("dev", "asks")
    keys = {one["kid"]: one for one in told[-1].keys}
    token = check(given.token, keys, URL, now=guarded.clock.now)
    assert token.opens("dev", "asks")
    assert not token.opens("dev", "open")
    assert not token.opens("other", "asks")
    teller.look()
    assert len(told) == 1
    guarded.clock.now += PASS_LIFE / 2 + 1
    teller.look()
    assert told[-1].passes[0].token != given.token
    await federation.ring.rotate(revoke=True)
    teller.look()
    keys = {one["kid"]: one for one in told[-1].keys}
    assert check(told[-1].passes[0].token, keys, URL, now=guarded.clock.now).opens("dev", "asks")
    teller.seen(watched("asks"))
    teller.look()
    assert told[-1].passes == []


@pytest.fixture(scope="module")
def plane() -> Iterator[Plane]:
    found = Plane()
    yield found
    found.close()


KEY = CallKey(id="1", name="t", digest=hashlib.sha256(b"s").digest(), namespaces=["dev"], may_call=True)


def seen_by_function(plane: Plane, name: str, headers: str) -> bytes:
    answer = plane.call(f"/function/{name}.dev", headers=headers)
    assert answer.status == 200, answer.body
    lines: list[bytes] = answer.body.split(b"\n")
    return b",".join(line.partition(b": ")[2] for line in lines if line.lower().startswith(b"authorization:"))


@pytest.mark.parametrize(
    "credentials", ["Authorization: Bearer hilbert_1_s", "authorization: Basic dDpoaWxiZXJ0XzFfcw==",
                    "Authorization: Bearer hilbert_1_s\nAuthorization: Bearer hilbert_1_s",
                    f"X-Hilbert-Delivery: {DELIVERY_SECRET} 192.0.2.1\nAuthorization: Bearer hilbert_1_s"],
)  # fmt: skip
def test_no_function_sees_a_token_of_the_gateways_own(plane: Plane, credentials: str) -> None:
    """It may open other namespaces, too. A function whose watchdog asks gets one that opens only this function."""
    replica = plane.replica(mirror)
    for name in ("kept", "passed"):
        plane.put(name, replica.endpoint, namespace="dev", guarded=True)
    passes = [CallPass("dev", "passed", "for-it-alone")]
    plane.run(plane.feed.tell_keys, CallKeys("", [], [KEY], passes))
    plane.put(f"settled-{hash(credentials)}", replica.endpoint, namespace="dev")
    for _ in range(2):
        assert seen_by_function(plane, "kept", credentials) == b""
        assert seen_by_function(plane, "passed", credentials) == b"Bearer for-it-alone"


def test_who_passed_once_is_asked_again_when_something_has_changed(plane: Plane) -> None:
    replica = plane.replica(mirror)
    plane.put("again", replica.endpoint, namespace="dev", guarded=True)
    path, headers = "/function/again.dev", "Authorization: Bearer hilbert_1_s"

    def told(*keys: Any) -> int:
        plane.run(plane.feed.tell_keys, CallKeys("", [], list(keys)))
        plane.put("settled-again", replica.endpoint, namespace="dev")
        return plane.call(path, headers=headers).status

    assert [told(KEY), plane.call(path, headers=headers).status, told(), told(KEY)] == [200, 200, 401, 200]


@pytest.mark.bound("audit-refused-calls")
def test_refused_calls_are_told_and_a_flood_of_them_is_counted() -> None:
    calls = TurnedAwayCalls()
    assert calls.take() is None
    for number in range(MOST + 7):
        calls.add(Refusal(1.0, "dev", "f", 401, "GET", "192.0.2.1", str(number), "", "no"))
    told = calls.take()
    assert told is not None
    assert (len(told.calls), told.more, calls.take()) == (MOST, 7, None)
    record = record_of(told.calls[0], suppressed=told.more)
    assert (record.decision, record.resource, record.suppressed) == (Decision.UNAUTHENTICATED, "dev:f", 7)


def test_a_worker_tells_whom_it_has_refused(plane: Plane) -> None:
    """For the audit log: who, from where, of which function, under which id; and no token."""
    replica = plane.replica()
    plane.put("asks", replica.endpoint, namespace="dev", guarded=True)
    told: list[Refusal] = []
    plane.feed.on_turned_away = lambda message: told.extend(one for one in message.calls if one.name == "asks")
    viewer = CallKey(id="2", name="v", digest=hashlib.sha256(b"v").digest(), namespaces=["dev"], may_call=False)
    plane.run(plane.feed.tell_keys, CallKeys("", [], [KEY, viewer]))
    plane.put("settled-refusals", replica.endpoint, namespace="dev")
    assert plane.call("/function/asks.dev", headers="X-Call-Id: mine").status == 401
    assert plane.call("/function/asks.dev", headers="Authorization: Bearer hilbert_2_v").status == 403
    assert plane.call("/function/asks.dev", headers="Authorization: Bearer hilbert_1_s").status == 200
    until(lambda: len(told) == 2, what="two refusals")
    first, second = told
    assert (first.namespace, first.name, first.status, first.method, first.who) == ("dev", "asks", 401, "GET", "")
    assert (first.source, first.call_id) == ("127.0.0.1", "mine")
    assert (second.status, second.who) == (403, "token:2")
    assert "hilbert_" not in repr(told)
