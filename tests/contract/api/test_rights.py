"""Callers with less than all rights: what they may not see is as if it did not exist, what they may not do is told.

Credentials of such callers come with tokens; until then a door that tests give their callers stands in.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import pytest

from hilbert.api.door import Door
from hilbert.api.endpoints import ENDPOINTS
from hilbert.core.identity import Action, Caller, Grant
from support.api import Answer, Api

pytestmark = pytest.mark.anyio

BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/system/functions"): {"service": "g", "image": "i"},
    ("PUT", "/system/functions"): {"service": "f", "image": "i"},
    ("DELETE", "/system/functions"): {"functionName": "f"},
    ("POST", "/system/scale-function/{name}"): {"replicas": 1},
    ("POST", "/system/secrets"): {"name": "t", "value": "v"},
    ("PUT", "/system/secrets"): {"name": "s", "value": "v"},
    ("DELETE", "/system/secrets"): {"name": "s"},
    ("POST", "/system/async/dead"): {"all": True},
    ("DELETE", "/system/async/dead"): {"all": True},
    ("POST", "/system/async/batch"): {"calls": [{"function": "f"}]},
    ("PUT", "/system/schedules/{name}"): {"paused": True},
    ("PUT", "/system/namespace/{name}"): {"name": "NS", "labels": {"openfaas": "1"}},
}
IN_A_NAMESPACE = [
    endpoint
    for endpoint in ENDPOINTS
    if isinstance(endpoint.access, Action)
    and not endpoint.access.startswith(("System:", "Token:", "Iam:"))
    and endpoint.access not in (Action.NAMESPACE_LIST, Action.NAMESPACE_CREATE)
]
NAMES = [f"{endpoint.method} {endpoint.path}" for endpoint in IN_A_NAMESPACE]


@pytest.fixture
def grants(monkeypatch: pytest.MonkeyPatch) -> list[Grant]:
    """The rights of whoever says that it is `tenant`."""
    found: list[Grant] = []
    admit = Door.admit

    def admit_tenant(self: Door, method: str, headers: Mapping[str, str], **options: Any) -> Caller:
        caller = admit(self, method, headers, **options)
        return Caller(identity="tenant", grants=tuple(found)) if "x-tenant" in headers else caller

    monkeypatch.setattr(Door, "admit", admit_tenant)
    return found


async def ask(api: Api, method: str, path: str, namespace: str, *, json: bool = False) -> Answer:
    body = BODIES.get((method, path))
    if body is not None:
        body = {key: namespace if value == "NS" else value for key, value in body.items()}
    target = path.replace("{name}", namespace if "/namespace/" in path else "f")
    query = "" if "/namespace/" in path else f"?namespace={namespace}&name=f"
    headers = {"X-Tenant": "1", "X-Call-Id": "c", **({"Accept": "application/json"} if json else {})}
    return await api.call(method, f"{target}{query}", body, headers=headers)


async def fill(api: Api, namespace: str) -> None:
    await api.call("POST", "/system/namespace/", {"name": namespace, "labels": {"openfaas": "1"}})
    await api.call("POST", f"/system/functions?namespace={namespace}", {"service": "f", "image": "i"})
    await api.call("POST", f"/system/secrets?namespace={namespace}", {"name": "s", "value": "v"})


@pytest.mark.parametrize("endpoint", IN_A_NAMESPACE, ids=NAMES)
async def test_what_may_not_be_seen_answers_as_what_is_absent(api: Api, grants: list[Grant], endpoint: Any) -> None:
    await fill(api, "secret")
    grants.append(Grant(("*",), ("dev:*",)))
    for json in (False, True):
        hidden = await ask(api, endpoint.method, endpoint.path, "secret", json=json)
        absent = await ask(api, endpoint.method, endpoint.path, "absent", json=json)
        assert hidden.status in (400, 404)
        assert (hidden.status, hidden.body.replace(b"secret", b"absent")) == (absent.status, absent.body)
        assert {**hidden.headers, "date": ""} == {**absent.headers, "date": ""}
    assert len((await api.call("GET", "/system/functions?namespace=secret")).json) == 1
    assert len((await api.call("GET", "/system/secrets?namespace=secret")).json) == 1


async def test_a_deletion_that_goes_on_is_shown_to_those_alone_who_may_read_there(
    api: Api, grants: list[Grant], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def still_deleting(name: str) -> str | None:
        return "1 Pod is left" if name == "going" else None

    monkeypatch.setattr(api.provider, "still_deleting", still_deleting, raising=False)
    await fill(api, "secret")
    grants.append(Grant(("*",), ("dev:*",)))

    async def look(name: str) -> tuple[int, str]:
        found = await api.call("GET", f"/system/namespace/{name}?deleting=true", headers={"X-Tenant": "1"})
        return found.status, found.text.replace(name, "NAME")

    hidden = await look("absent")
    assert hidden[0] == 404
    assert [await look("going"), await look("secret")] == [hidden, hidden]
    grants.append(Grant(("Namespace:Get",), ("going:*",)))
    status, text = await look("going")
    assert (status, "1 Pod is left" in text) == (409, True)


@pytest.mark.parametrize("endpoint", IN_A_NAMESPACE, ids=NAMES)
async def test_what_may_be_seen_but_not_done_names_the_right(api: Api, grants: list[Grant], endpoint: Any) -> None:
    await fill(api, "mine")
    seen = Action.FUNCTION_INVOKE if endpoint.access is not Action.FUNCTION_INVOKE else Action.FUNCTION_LOGS
    grants.append(Grant((seen.value,), ("mine:*",)))
    refused = await ask(api, endpoint.method, endpoint.path, "mine")
    assert refused.status == 403
    assert endpoint.access.value in refused.text
    grants.append(Grant((endpoint.access.value,), ("mine:*",)))
    done = await ask(api, endpoint.method, endpoint.path, "mine")
    assert done.status in (200, 202) or "has no schedule" in done.text


async def test_lists_hold_what_the_caller_may_list(api: Api, grants: list[Grant]) -> None:
    await fill(api, "mine")
    await fill(api, "other")
    refused = await ask(api, "GET", "/system/namespaces", "")
    assert (refused.status, "Namespace:List" in refused.text) == (403, True)
    grants.append(Grant(("Namespace:List",), ("mine:*",)))
    assert (await ask(api, "GET", "/system/namespaces", "")).json == ["mine"]
    grants.append(Grant(("Namespace:*",), ("*",)))
    assert {"mine", "other", "dev"} <= set((await ask(api, "GET", "/system/namespaces", "")).json)


@pytest.mark.parametrize(("method", "path"), [("GET", "/system/info"), ("POST", "/system/alert")])
async def test_the_platform_needs_a_right_on_all(api: Api, grants: list[Grant], method: str, path: str) -> None:
    grants.append(Grant(("*",), ("dev:*",)))
    assert (await ask(api, method, path, "dev")).status == 403


async def test_a_namespace_is_made_with_the_right_to_make_that_one(api: Api, grants: list[Grant]) -> None:
    grants.append(Grant(("Namespace:Create",), ("mine:*",)))
    for name, status in (("mine", 201), ("other", 403), ("dev", 403)):
        body = {"name": name, "labels": {"openfaas": "1"}}
        answer = await api.call("POST", "/system/namespace/", body, headers={"X-Tenant": "1"})
        assert answer.status == status


@pytest.mark.parametrize("part", ["", "/result", "/request"])
async def test_a_queued_call_of_another_namespace_is_as_one_that_never_was(
    api: Api, grants: list[Grant], part: str
) -> None:
    """Its id is all that it takes to ask; for whoever may not see the function, it says nothing.

    The kind is known from CVE-2026-49822 (Fission).
    """
    await fill(api, "secret")
    grants.append(Grant(("*",), ("dev:*",)))
    queued = await api.call("POST", "/async-function/f.secret", b"x")
    number, never = str(queued.headers["x-call-id"]), "00000000-0000-4000-8000-000000000000"
    for json in (False, True):
        accept = {"Accept": "application/json"} if json else {}
        hidden, absent = [
            await api.call("GET", f"/async-function/{one}{part}", headers={"X-Tenant": "1", "X-Call-Id": "c", **accept})
            for one in (number, never)
        ]
        assert hidden.status == 404
        assert (hidden.status, hidden.text.replace(number, never)) == (absent.status, absent.text)
        assert {**hidden.headers, "date": ""} == {**absent.headers, "date": ""}
    grants.append(Grant(("Function:Get",), ("secret:*",)))
    seen = await api.call("GET", f"/async-function/{number}{part}", headers={"X-Tenant": "1"})
    assert seen.status == (403 if part else 200)


def test_every_endpoint_with_a_right_is_in_one_of_the_tables() -> None:
    """One that comes later is tried as well, or this says so."""
    elsewhere = {
        Action.NAMESPACE_LIST, Action.NAMESPACE_CREATE, Action.SYSTEM_INFO, Action.SYSTEM_ALERT, Action.TOKEN_LIST,
        Action.TOKEN_CREATE, Action.TOKEN_REVOKE, Action.IAM_GET, Action.IAM_UPDATE,
    }  # fmt: skip
    for endpoint in ENDPOINTS:
        if isinstance(endpoint.access, Action):
            assert (endpoint in IN_A_NAMESPACE) != (endpoint.access in elsewhere), endpoint.path
            assert endpoint.documented, f"{endpoint.path}: the table of roles tries only what is described"
    open_to_all = {endpoint.path for endpoint in ENDPOINTS if not isinstance(endpoint.access, Action)}
    without_a_name = "/system/namespace/"  # An answer that the name is missing.
    assert {path for path in open_to_all if path.startswith("/system/")} == {
        "/system/whoami",
        "/system/can-i",
        without_a_name,
    }


async def test_hiding_takes_as_long_as_not_being_there(api: Api, grants: list[Grant]) -> None:
    """Roughly: medians of interleaved requests stay within a factor of two. One of three tries must show it on a busy machine."""
    await fill(api, "secret")
    grants.append(Grant(("*",), ("dev:*",)))
    ratios = []
    for _ in range(3):
        took: dict[str, list[float]] = {"secret": [], "absent": []}
        for number in range(120):
            for name in ("secret", "absent") if number % 2 else ("absent", "secret"):
                began = time.perf_counter()
                answer = await ask(api, "GET", "/system/functions", name)
                took[name].append(time.perf_counter() - began)
                assert answer.status == 400
        ratios.append(statistics.median(took["secret"]) / statistics.median(took["absent"]))
        if 0.5 < ratios[-1] < 2:
            return
    raise AssertionError(f"a hidden namespace can be told by its time: {ratios}")
