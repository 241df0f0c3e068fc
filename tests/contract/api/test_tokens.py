"""Tokens of the gateway's own: made, used, limited, revoked; and every role at every endpoint and every place."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from hilbert.api.endpoint import Endpoint
from hilbert.api.endpoints import ENDPOINTS
from hilbert.api.reference import rights_page, role_may
from hilbert.core.errors import NotFound, QuotaExceeded
from hilbert.core.identity import ADMINISTRATOR, Action
from hilbert.core.values import NamespaceName
from hilbert.iam.roles import ACTIONS, Role
from hilbert.iam.sqlite_shelf import SqliteShelves
from hilbert.iam.token_store import MOST_PER_NAMESPACE, TokenStore
from hilbert.iam.tokens import mint
from support.api import Answer, Api, running

pytestmark = pytest.mark.anyio

MINE, OTHER = NamespaceName("mine"), NamespaceName("other")


async def make(api: Api, role: str, *namespaces: str, by: str = "", **more: Any) -> str:
    """The text of a new token; made by another token if `by` is given."""
    body = {"name": f"a-{role}", "role": role, "namespaces": namespaces or ["mine"], **more}
    headers = {"Authorization": f"Bearer {by}"} if by else {}
    answer = await api.call("POST", "/system/tokens", body, headers=headers)
    assert answer.status == 201, answer
    assert re.fullmatch(r"hilbert_[0-9a-f]{16}_[0-9a-f]{64}", answer.json["token"])
    return str(answer.json["token"])


async def ask(api: Api, token: str, method: str, target: str, body: object = None, **headers: str) -> Answer:
    return await api.call(method, target, body, headers={"Authorization": f"Bearer {token}", **headers})


async def fill(api: Api, namespace: str) -> None:
    await api.call("POST", "/system/namespace/", {"name": namespace, "labels": {"openfaas": "1"}})
    await api.call("POST", f"/system/functions?namespace={namespace}", {"service": "f", "image": "i"})
    await api.call("POST", f"/system/secrets?namespace={namespace}", {"name": "s", "value": "v"})


@pytest.fixture
async def tenants(api: Api) -> Api:
    for namespace in (MINE, OTHER, "openfaas-fn"):
        await fill(api, namespace)
    return api


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[TokenStore]:
    shelves = SqliteShelves(tmp_path / "tokens.db")
    yield TokenStore(shelves.shelf("tokens"))
    shelves.close()


async def test_a_token_gets_in_as_bearer_and_as_a_password(tenants: Api) -> None:
    token = await make(tenants, "viewer")
    for answer in (
        await ask(tenants, token, "GET", "/system/functions?namespace=mine"),
        await tenants.call("GET", "/system/functions?namespace=mine", user="a-viewer", password=token),
    ):
        assert [one["name"] for one in answer.json] == ["f"]
    for user, password in (
        ("admin", token),
        ("a-viewer", token[:-1] + "x"),
        ("a-viewer", "hilbert_x_y"),
        ("other", token),
    ):
        assert (await tenants.call("GET", "/system/whoami", user=user, password=password)).status == 401


async def test_who_it_is_and_what_it_can(tenants: Api) -> None:
    token = await make(tenants, "deployer", "mine", "other")
    found = (await ask(tenants, token, "GET", "/system/whoami")).json
    assert found["identity"].startswith("token:")
    assert found["claims"] == {"name": "a-deployer", "role": "deployer", "namespaces": ["mine", "other"]}
    assert set(found["rights"]) == {"mine:*", "other:*"}
    for query, allowed in (
        ("action=Function:Create&resource=mine:f", True),
        ("action=Function:Create&resource=other:*", True),
        ("action=Function:Create&resource=third:*", False),
        ("action=Secret:Create&resource=mine:*", False),
        ("action=System:Info", False),
    ):
        assert (await ask(tenants, token, "GET", f"/system/can-i?{query}")).json["allowed"] is allowed
    for query in ("", "action=Nonsense", "action=Function:Get&resource=mine"):
        assert (await ask(tenants, token, "GET", f"/system/can-i?{query}")).status == 400
    assert (await tenants.call("GET", "/system/can-i?action=System:Info")).json["allowed"] is True


async def test_lists_never_show_a_token(tenants: Api) -> None:
    token = await make(tenants, "owner", expiresIn="90d")
    await ask(tenants, token, "GET", "/system/whoami")
    (listed,) = (await tenants.call("GET", "/system/tokens")).json
    assert {"id", "name", "role", "namespaces", "createdAt", "createdBy", "expiresAt", "lastUsed"} == set(listed)
    assert listed["createdBy"] == "admin"
    assert token.split("_")[2] not in str(listed)


async def test_a_revoked_token_is_refused_at_once(tenants: Api) -> None:
    token = await make(tenants, "viewer")
    number = token.split("_")[1]
    assert (await tenants.call("DELETE", f"/system/tokens/{number}")).status == 202
    assert (await ask(tenants, token, "GET", "/system/whoami")).status == 401
    again = await tenants.call("DELETE", f"/system/tokens/{number}")
    assert (again.status, again.text) == (404, f"token {number} not found\n")


async def test_an_owner_makes_tokens_with_no_more_than_it_has(tenants: Api) -> None:
    owner = await make(tenants, "owner")
    made = await make(tenants, "developer", by=owner)
    assert (await ask(tenants, made, "GET", "/system/secrets?namespace=mine")).status == 200
    for role, namespaces, status in (
        ("viewer", ["other"], 400),
        ("viewer", ["mine", "other"], 400),
        ("viewer", ["nowhere"], 400),
        ("viewer", ["kube-system"], 400),
        ("viewer", [], 400),
        ("viewer", [""], 400),
        ("administrator", ["mine"], 400),
    ):
        body = {"name": "x", "role": role, "namespaces": namespaces}
        assert (await ask(tenants, owner, "POST", "/system/tokens", body)).status == status, namespaces
    for role in Role:
        if role is not Role.OWNER:
            token = await make(tenants, role)
            body = {"name": "x", "role": "invoker", "namespaces": ["mine"]}
            assert (await ask(tenants, token, "POST", "/system/tokens", body)).status == 403


async def test_an_owner_sees_and_revokes_the_tokens_of_its_namespace_alone(tenants: Api) -> None:
    owner = await make(tenants, "owner")
    hidden = (await make(tenants, "viewer", "other")).split("_")[1]
    both = (await make(tenants, "viewer", "mine", "other")).split("_")[1]
    own = (await make(tenants, "viewer", "mine")).split("_")[1]
    listed = {token["id"] for token in (await ask(tenants, owner, "GET", "/system/tokens")).json}
    assert listed == {owner.split("_")[1], own}
    absent = await ask(tenants, owner, "DELETE", f"/system/tokens/{'0' * 16}", **{"X-Call-Id": "c"})
    for number in (hidden, both):
        refused = await ask(tenants, owner, "DELETE", f"/system/tokens/{number}", **{"X-Call-Id": "c"})
        assert (refused.status, refused.text) == (absent.status, absent.text.replace("0" * 16, number))
    assert (await ask(tenants, owner, "DELETE", f"/system/tokens/{own}")).status == 202
    assert len((await tenants.call("GET", "/system/tokens")).json) == 3


async def test_a_namespace_made_anew_knows_no_token_of_the_old_one(tenants: Api) -> None:
    one, two = await make(tenants, "owner"), await make(tenants, "owner", "mine", "other")
    assert (await tenants.call("DELETE", "/system/namespace/mine")).status == 202
    await fill(tenants, "mine")
    assert (await ask(tenants, one, "GET", "/system/whoami")).status == 401
    assert (await ask(tenants, two, "GET", "/system/functions?namespace=mine")).text == "namespace not valid\n"
    assert (await ask(tenants, two, "GET", "/system/functions?namespace=other")).status == 200


@pytest.mark.parametrize(
    "wrong",
    [{"name": ""}, {"name": "a b"}, {"name": "x" * 64}, {"name": "a:b"}, {"expiresIn": "soon"}, {"expiresIn": "0"},
     {"expiresIn": "99999d"}, {"namespaces": ["mine"] * 65}, {"role": ""}, {"namespaces": "mine"}],
)  # fmt: skip
async def test_wrong_requests_make_nothing(tenants: Api, wrong: dict[str, Any]) -> None:
    body = {"name": "x", "role": "viewer", "namespaces": ["mine"], **wrong}
    answer = await tenants.call("POST", "/system/tokens", body)
    assert answer.status == 400
    assert (await tenants.call("GET", "/system/tokens")).json == []


async def test_a_gateway_without_a_place_for_tokens_says_so() -> None:
    async with running() as api:
        object.__setattr__(api.services, "token_store", None)
        for method, target in (("GET", "/system/tokens"), ("POST", "/system/tokens"), ("DELETE", "/system/tokens/x")):
            body = {"name": "x", "role": "viewer", "namespaces": ["openfaas-fn"]} if method == "POST" else None
            assert (await api.call(method, target, body)).status == 501


# Every role at every endpoint, in every place.

BODIES: dict[tuple[str, str], dict[str, Any]] = {
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
    ("POST", "/system/schedules/{name}"): {"index": 0},
    ("POST", "/system/alert"): {"alerts": []},
    ("PUT", "/system/iam"): {"documents": []},
}
PLACES = ("mine", "other", "openfaas-fn", "", "two")
"""Its own namespace, another one, the default one, none named, and two that differ."""


def is_about_a_namespace(endpoint: Endpoint) -> bool:
    return "/system/namespace" not in endpoint.path and any(one.name == "namespace" for one in endpoint.query)


async def call_at(api: Api, token: str, endpoint: Endpoint, place: str) -> Answer:
    body: Any = BODIES.get((endpoint.method, endpoint.path))
    path, query = endpoint.path.replace("{name}", "f"), ""
    if is_about_a_namespace(endpoint):
        query = {"": "?", "two": "?namespace=mine&name=f.other"}.get(place, f"?namespace={place}") + "&name=f" * (
            place != "two"
        )
        if place == "two":
            path = endpoint.path.replace("{name}", "f.other")
            body = {**body, "namespace": "other"} if body is not None else body
    elif "/namespace/" in endpoint.path:
        name = place if place not in ("", "two") else "openfaas-fn"
        path = endpoint.path.replace("{name}", name)
        body = {"name": name, "labels": {"openfaas": "1"}} if endpoint.body is not None else None
        if endpoint.method == "POST":
            body = {"name": f"new-{name}"[:63], "labels": {"openfaas": "1"}}
    elif endpoint.path == "/system/tokens" and endpoint.method == "POST":
        names = {"": [], "two": ["mine", "other"]}.get(place, [place])
        body = {"name": "x", "role": "invoker", "namespaces": names}
    elif endpoint.path.startswith("/system/tokens/"):
        made = await make(api, "invoker", *{"": ["openfaas-fn"], "two": ["mine", "other"]}.get(place, [place]))
        path = f"/system/tokens/{made.split('_')[1]}"
    elif endpoint.path == "/system/can-i":
        query = "?action=Function:Get"
    return await ask(api, token, endpoint.method, path + query, body)


def expected(endpoint: Endpoint, role: Role, place: str) -> set[int]:
    """Statuses that are right; worked out from the role's actions and the place alone."""
    done = {endpoint.success} if endpoint.path != "/system/schedules/{name}" else {404}  # The function has none.
    if not isinstance(endpoint.access, Action):
        return done
    held = endpoint.access in ACTIONS[role]
    if endpoint.access in (Action.NAMESPACE_LIST, Action.TOKEN_LIST):
        return done if held else {403}
    if endpoint.access in (
        Action.SYSTEM_INFO,
        Action.SYSTEM_ALERT,
        Action.NAMESPACE_CREATE,
        Action.IAM_GET,
        Action.IAM_UPDATE,
    ):
        return {403}
    if is_about_a_namespace(endpoint):
        if place == "two":  # A list has one place to name a namespace, so it is asked for its own.
            lists = (
                endpoint.path
                in (
                    "/system/functions",
                    "/system/secrets",
                    "/system/async/dead",
                    "/system/async/calls",
                    "/system/async/queues",
                    "/system/schedules",
                    "/system/limits",
                    "/system/audit",
                    "/system/usage",
                )
                and endpoint.method == "GET"
            )
            return (done if held else {403}) if lists else {400}
        everywhere = (
            endpoint.path in ("/system/async/queues", "/system/audit", "/system/usage") and not place
        )  # It then lists what the caller may see.
        return (done if held else {403}) if place == "mine" or everywhere else {400}
    if endpoint.path == "/system/tokens":
        return (done if held else {403}) if place == "mine" else ({400} if held or place != "two" else {403})
    hidden = {404}
    return (
        (done if held else {403})
        if place == "mine"
        else (hidden if place != "two" or held or "/tokens/" not in endpoint.path else {403, 404})
    )


@pytest.mark.parametrize("role", Role)
async def test_every_endpoint_at_every_place(role: Role) -> None:
    described = [endpoint for endpoint in ENDPOINTS if endpoint.documented and endpoint.path.startswith("/system/")]
    assert len(described) >= 26
    for endpoint in described:
        for place in PLACES:
            async with running() as api:
                for namespace in (MINE, OTHER, "openfaas-fn"):
                    await fill(api, namespace)
                token = await make(api, role)
                answer = await call_at(api, token, endpoint, place)
                where = (endpoint.method, endpoint.path, role, place, answer)
                assert answer.status in expected(endpoint, role, place), where
                assert answer.status != endpoint.success or role_may(role, endpoint), where


def test_the_page_says_what_was_tried() -> None:
    page = rights_page(ENDPOINTS)
    for endpoint in ENDPOINTS:
        if endpoint.documented and isinstance(endpoint.access, Action):
            (line,) = [
                line for line in page.splitlines() if line.startswith(f"| `{endpoint.method} {endpoint.path}` |")
            ]
            cells = [cell.strip() for cell in line.split("|")[3:-1]]
            assert cells == ["yes" if endpoint.access in ACTIONS[role] else "" for role in Role]


# Where they are kept.


async def test_tokens_survive_a_restart_and_only_as_hashes(tmp_path: Path) -> None:
    path = tmp_path / "tokens.db"
    made = mint("ci", Role.DEPLOYER, (MINE,), by=ADMINISTRATOR.identity, now=datetime.now(UTC))
    for number in range(2):
        shelves = SqliteShelves(path)
        store = TokenStore(shelves.shelf("tokens"))
        await store.load()
        if number == 0:
            await store.add(made)
        found = store.prove(made.text)
        assert found is not None
        assert (found.name, found.role, found.namespaces) == ("ci", Role.DEPLOYER, (MINE,))
        shelves.close()
    assert path.stat().st_mode & 0o777 == 0o600
    secret = made.text.split("_")[2].encode()
    assert all(secret not in file.read_bytes() for file in tmp_path.iterdir())
    assert secret.decode() not in repr(made)


async def test_a_token_ends_when_it_was_to_end(tmp_path: Path) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    shelves = SqliteShelves(tmp_path / "tokens.db")
    store = TokenStore(shelves.shelf("tokens"), now=lambda: now)
    made = mint("x", Role.VIEWER, (MINE,), by="admin", now=now, expires_at=now + timedelta(hours=1))
    await store.add(made)
    assert store.prove(made.text) is not None
    now += timedelta(hours=1)
    assert store.prove(made.text) is None
    shelves.close()


@pytest.mark.bound("tokens")
async def test_there_is_a_most(store: TokenStore) -> None:
    for _ in range(MOST_PER_NAMESPACE):
        await store.add(mint("x", Role.VIEWER, (MINE,), by="admin", now=datetime.now(UTC)))
    with pytest.raises(QuotaExceeded, match="namespace mine has 100 tokens"):
        await store.add(mint("x", Role.VIEWER, (OTHER, MINE), by="admin", now=datetime.now(UTC)))
    await store.add(mint("x", Role.VIEWER, (OTHER,), by="admin", now=datetime.now(UTC)))


@pytest.mark.bound("all-tokens")
async def test_there_is_a_most_of_all_namespaces(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilbert.iam.token_store.MOST", 2)
    for namespace in (MINE, OTHER):
        await store.add(mint("x", Role.VIEWER, (namespace,), by="admin", now=datetime.now(UTC)))
    with pytest.raises(QuotaExceeded, match="the gateway has 2 tokens"):
        await store.add(mint("x", Role.VIEWER, (OTHER,), by="admin", now=datetime.now(UTC)))


async def test_what_was_deleted_just_before_a_crash_leaves_no_tokens(store: TokenStore) -> None:
    one = mint("x", Role.VIEWER, (MINE,), by="admin", now=datetime.now(UTC))
    two = mint("x", Role.VIEWER, (MINE, OTHER), by="admin", now=datetime.now(UTC))
    for made in (one, two):
        await store.add(made)
    await store.keep_only([OTHER])
    await store.load()
    with pytest.raises(NotFound):
        store.get(one.token.id)
    assert store.get(two.token.id).namespaces == (OTHER,)


async def test_use_of_a_revoked_token_does_not_bring_it_back(store: TokenStore) -> None:
    made = mint("x", Role.VIEWER, (MINE,), by="admin", now=datetime.now(UTC))
    await store.add(made)
    assert store.prove(made.text) is not None  # Notes the use, later.
    await store.remove(made.token.id)
    await store.load()
    assert store.all() == []
    assert msgspec.to_builtins(store.all()) == []
