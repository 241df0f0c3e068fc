"""The audit log through the API: every change and every refusal, before the answer, without a secret, for whom it concerns."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from hilbert.api.endpoints import ENDPOINTS
from hilbert.audit.log import AuditLog
from hilbert.audit.verify import verify
from hilbert.audit.webhook import POSITION, Held, LogFollower, Webhook
from hilbert.core.errors import StorageFull
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from support.api import Api, Recorded, running

pytestmark = pytest.mark.anyio

PEER = {"X-Forwarded-For": "192.0.2.7"}
AT_ONCE = Pace(first=0.001, most=0.001)


@pytest.fixture
async def log(tmp_path: Path, anyio_backend: object) -> AsyncIterator[AuditLog]:
    found = AuditLog(tmp_path / "audit", max_bytes=1 << 30, max_age=1e9)
    await found.start()
    yield found
    await found.stop()


@pytest.fixture
async def audited(log: AuditLog) -> AsyncIterator[Api]:
    async with running(audit=log) as api:
        for name in ("mine", "other"):
            await api.call("POST", "/system/namespace/", {"name": name, "labels": {"openfaas": "1"}})
        yield api


async def token(api: Api, role: str, namespace: str = "mine") -> dict[str, str]:
    made = await api.call("POST", "/system/tokens", {"name": "t", "role": role, "namespaces": [namespace]})
    return {"Authorization": f"Bearer {made.json['token']}"}


async def records(api: Api, query: str = "", **more: Any) -> list[dict[str, Any]]:
    answer = await api.call("GET", f"/system/audit?limit=1000{query}", **more)
    assert answer.status == 200, answer
    return [line["record"] for line in answer.json["lines"]]


async def test_a_change_says_who_did_what_from_where_and_by_which_right(audited: Api) -> None:
    owner = await token(audited, "owner")
    body = {"service": "f", "image": "i", "labels": {"team": "x"}, "envVars": {"DB_PASSWORD": "hunter2"}}
    answer = await audited.call(
        "POST", "/system/functions?namespace=mine", body,
        headers={**owner, **PEER, "X-Call-Id": "call-7", "User-Agent": "ci/1"},
    )  # fmt: skip
    assert answer.status == 202
    begun, done = (await records(audited))[-2:]
    assert (begun["stage"], begun["id"], begun.get("response_code", 0)) == ("begun", done["id"], 0)
    wanted = {
        "token_id": owner["Authorization"].split("_")[1],
        "source_ip": "192.0.2.7",
        "user_agent": "ci/1",
        "request_id": "call-7",
        "method": "POST",
        "path": "/system/functions",
        "actions": ["Function:Create"],
        "namespace": "mine",
        "resource": "mine:*",
        "name": "f",
        "decision": "allowed",
        "policy": ["role owner"],
        "response_code": 202,
    }
    assert {name: done[name] for name in wanted} == wanted
    assert set(done["change"]) == {"service", "image", "labels.team", "envVars.DB_PASSWORD"}
    assert done["actor"] == {"sub": f"token:{wanted['token_id']}", "name": "t"}


async def test_every_kind_of_refusal_is_there(audited: Api) -> None:
    viewer = await token(audited, "viewer")
    before = len(await records(audited))
    assert (await audited.call("GET", "/system/functions", user="", headers=PEER)).status == 401
    assert (await audited.call("GET", "/system/functions", password="wrong", headers=PEER)).status == 401
    assert (
        await audited.call("DELETE", "/system/functions?namespace=mine", {"functionName": "f"}, headers=viewer)
    ).status == 403
    assert (await audited.call("GET", "/system/secrets?namespace=other", headers=viewer)).status == 400  # As if absent.
    assert (await audited.call("GET", "/system/iam", headers=viewer)).status == 403
    found = (await records(audited))[before:]
    assert [(one["decision"], one["response_code"]) for one in found] == [
        ("unauthenticated", 401), ("unauthenticated", 401), ("refused", 403), ("refused", 400), ("refused", 403),
    ]  # fmt: skip
    assert [one.get("resource") for one in found[2:]] == ["mine:f", "other:*", "*"]
    assert found[1]["source_ip"] == "192.0.2.7"
    assert "Function:Delete" in found[2]["custom_message"]
    assert await records(audited, "&refused=true") == found


async def test_reads_that_are_allowed_are_not_recorded(audited: Api) -> None:
    before = len(await records(audited))
    for path in ("/system/functions", "/system/namespaces", "/system/info", "/healthz", "/system/function/nothing"):
        await audited.call("GET", path)
    assert len(await records(audited)) == before


async def test_a_failed_change_says_so(audited: Api) -> None:
    await audited.call("DELETE", "/system/functions?namespace=mine", {"functionName": "absent"})
    await audited.call("POST", "/system/functions", b"{nonsense")
    missing, broken = [one for one in await records(audited) if one.get("response_code", 0) >= 400][-2:]
    assert (missing["response_code"], missing["error"], missing["decision"]) == (404, "function-not-found", "allowed")
    assert (broken["response_code"], broken["decision"]) == (400, "none")


async def test_no_value_of_a_secret_and_no_credential_is_in_the_files(audited: Api, log: AuditLog) -> None:
    secret = "s3cr3t-v4lue"
    bearer = f"hilbert_0123456789abcdef_{secret}"
    for method in ("POST", "PUT", "DELETE"):
        await audited.call(method, "/system/secrets?namespace=mine", {"name": "db", "value": secret})
        await audited.call(method, "/system/secrets", {"name": secret * 40, "value": 7, secret: secret})
        await audited.call(method, "/system/secrets", f'{{"name": "{secret}'.encode())
        await audited.call(method, f"/system/functions?token={secret}&namespace={secret}", {secret: {secret: secret}})
    await audited.call("GET", f"/system/functions?password={secret}", user="")
    await audited.call("GET", "/system/functions", user="", headers={"Authorization": f"Bearer {bearer}"})
    await audited.call("GET", f"/unknown/{secret}", user="")
    await audited.call("POST", f"/oauth/token?subject_token={secret}&grant_type={secret}", user="")
    await audited.call("POST", "/oauth/token", f"subject_token={secret}".encode(), user="")
    made = await token(audited, "owner")
    held = made["Authorization"].removeprefix("Bearer ")
    await audited.call("DELETE", f"/system/tokens/{held}", headers={"User-Agent": f"curl {held} eyJhbGci.{secret}.x"})
    await audited.call("GET", f"/system/function/{held}?namespace=mine", user="", headers={"User-Agent": held})
    whole = b"".join(path.read_bytes() for path in log.folder.glob("*.jsonl"))
    assert whole.count(b'"record"') > 20
    assert secret.encode() not in whole
    assert made["Authorization"].rpartition("_")[2].encode() not in whole
    assert b"correct-horse" not in whole


@pytest.mark.parametrize(
    "hostile", ["a\tb", "\x1b[2J", "\u202e", '"},{"seq":1', "x" * 7000, "\x7f", "%0a%0d", "\\u000a"]
)
async def test_hostile_texts_break_nothing(audited: Api, log: AuditLog, hostile: str) -> None:
    value = hostile.encode().decode("latin-1")
    for field in ("User-Agent", "X-Call-Id", "X-Forwarded-For", "Authorization"):
        await audited.call("GET", "/system/functions", user="", headers={field: value})
    await audited.call("POST", "/system/functions", {"service": hostile, "annotations": {hostile: hostile}})
    await audited.call("DELETE", "/system/namespace/a.b%0a%00%ff", {})
    assert len(await records(audited)) >= 4
    assert verify(log.folder).is_good
    for path in log.folder.glob("*.jsonl"):
        for line in path.read_bytes().splitlines():
            assert line.isascii()
            json.loads(line)


async def test_an_owner_sees_its_own_part(audited: Api) -> None:
    owner, other = await token(audited, "owner"), await token(audited, "owner", "other")
    for namespace in ("mine", "other"):
        await audited.call("POST", f"/system/secrets?namespace={namespace}", {"name": "s", "value": "v"})
    mine = await records(audited, headers=owner)
    assert mine
    assert {one["namespace"] for one in mine} == {"mine"}
    assert await records(audited, "&namespace=mine", headers=owner) == mine
    hidden = await audited.call("GET", "/system/audit?namespace=mine", headers=other)
    absent = await audited.call("GET", "/system/audit?namespace=nowhere", headers=other)
    assert (hidden.status, hidden.body) == (absent.status, absent.body)
    assert (await audited.call("GET", "/system/audit", headers=await token(audited, "viewer"))).status == 403
    mine = await records(audited, headers=owner)
    both = {"name": "b", "role": "viewer", "namespaces": ["mine", "other"]}
    await audited.call("POST", "/system/tokens", both)
    assert await records(audited, headers=owner) == mine, "it names a namespace that this owner may not know of"


async def test_a_new_tenant_sees_nothing_of_the_last_one(audited: Api) -> None:
    await audited.call("POST", "/system/secrets?namespace=mine", {"name": "s", "value": "v"})
    assert (await audited.call("DELETE", "/system/namespace/mine", {})).status == 202
    await audited.call("POST", "/system/namespace/", {"name": "mine", "labels": {"openfaas": "1"}})
    seen = await records(audited, headers=await token(audited, "owner"))
    assert {tuple(one["actions"]) for one in seen} == {("Namespace:Create",), ("Token:Create",)}


async def test_nothing_is_changed_that_cannot_be_written_down() -> None:
    class Full(Recorded):
        async def append(self, record: Any) -> None:
            raise StorageFull("the audit log cannot be written, so nothing can be changed")

    async with running(audit=Full()) as api:
        answer = await api.call("POST", "/system/secrets", {"name": "s", "value": "v"})
        assert answer.status == 507
        assert (await api.call("GET", "/system/secrets")).json == []
        assert (await api.call("GET", "/system/functions", user="")).status == 401


async def test_every_change_that_is_declared_is_recorded() -> None:
    for endpoint in ENDPOINTS:
        public_calls = endpoint.path.startswith("/async-function") or endpoint.method in ("GET", "HEAD")
        assert endpoint.is_change or public_calls, endpoint.path


@pytest.mark.bound("audit-listed")
@pytest.mark.parametrize(
    ("query", "status"),
    [("limit=0", 400), ("limit=1001", 400), ("since=yesterday", 400), ("after=-1", 400), ("until=2026-13-01T00:00:00Z", 400), ("namespace=A%20b", 400)],
)  # fmt: skip
async def test_bad_queries(audited: Api, query: str, status: int) -> None:
    assert (await audited.call("GET", f"/system/audit?{query}")).status == status


async def test_filters(audited: Api) -> None:
    await audited.call("POST", "/system/secrets?namespace=mine", {"name": "s", "value": "v"})
    assert {tuple(one["actions"]) for one in await records(audited, "&action=Secret:*")} == {("Secret:Create",)}
    assert await records(audited, "&actor=somebody") == []
    assert {one["actor"]["sub"] for one in await records(audited, "&actor=admin")} == {"admin"}
    assert await records(audited, "&since=2999-01-01T00:00:00Z") == []
    assert len(await records(audited, "&until=2999-01-01T00:00:00%2B02:00")) == len(await records(audited))


async def test_the_webhook_gets_each_once_in_order_signed_in_spite_of_failures(audited: Api, log: AuditLog) -> None:
    taken: list[dict[str, Any]] = []
    tries = 0
    enough = asyncio.Event()

    async def post(body: bytes, headers: Mapping[str, str]) -> int:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise OSError("away")
        if tries == 2:
            return 503
        assert headers["X-Openfaas-Event"] == "api_access"
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Openfaas-Delivery"]
        assert headers["X-Openfaas-Signature-256"] == f"sha256={hmac.new(b'key', body, 'sha256').hexdigest()}"
        taken.extend(json.loads(body))
        if len(taken) >= 3:
            enough.set()
        return 202

    (log.folder / POSITION).write_bytes(str(log.seq).encode())
    for name in ("first", "second"):
        follower = spawn(LogFollower(log, Webhook(post, b"key"), pace=AT_ONCE).run(), name="follower")
        for number in range(3):
            await audited.call("POST", "/system/secrets?namespace=mine", {"name": f"{name}-{number}", "value": "v"})
        async with asyncio.timeout(20):
            await enough.wait()
        enough.clear()
        await cancel(follower)
        if name == "first":
            assert len(taken) == 3
            taken.clear()
    for event in taken:
        assert event["event"] == "api_access"
        assert set(event) >= {
            "actor",
            "path",
            "method",
            "actions",
            "response_code",
            "custom_message",
            "namespace",
            "time",
        }
        assert set(event["actor"]) == {"sub", "name", "issuer", "fed_issuer"}
    assert len({event["id"] for event in taken}) == len(taken)


async def test_events_in_memory_are_bounded_and_their_loss_is_counted() -> None:
    held = Held("api_access", Webhook(_never, None), most=3)
    for number in range(5):
        held.put({"number": number})
    assert held.lost == 2


async def _never(_body: bytes, _headers: Mapping[str, str]) -> int:
    raise OSError("away")
