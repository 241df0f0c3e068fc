"""Who may ask: the password around every path but those few, and nothing for pages of other sites."""

from __future__ import annotations

import base64
import json
import math

import pytest

from hilbert.api.door import Door
from hilbert.api.endpoint import Access
from hilbert.api.endpoints import ENDPOINTS
from hilbert.api.oauth import DISCOVERY, KEYS, TOKEN
from hilbert.api.problems import Refusal
from hilbert.core.identity import ADMINISTRATOR
from hilbert.core.settings import GatewaySettings, Settings
from hilbert.iam.guesses import BURST, INTERVAL
from support.api import CREDENTIALS, Api, running

pytestmark = pytest.mark.anyio

PRIVATE = [
    "/ui/x",
    "//ui/",
    "/openapi/openapi.json",
    "/system/info",
    "/system/functions",
    "/system/function/x",
    "/system/namespaces",
    "/system/namespace/openfaas-fn",
    "/system/secrets",
    "/system/logs?name=x",
    "/no/such/path",
    "/healthz/",
    "/healthz/../system/info",
    "//healthz",
    "/HEALTHZ",
    "/async-function",
]


PAGES = {
    "/",
    "/favicon.ico",
    "/ui",
    "/ui/session.js",
    "/ui/ui.js",
    "/ui/page.css",
    "/openapi",
    "/openapi/openapi.js",
}
"""They hold nothing that is anybody's: their scripts read the API, with the password."""


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_the_public_list_is_short() -> None:
    public = {endpoint.path for endpoint in ENDPOINTS if endpoint.access is Access.PUBLIC}
    assert public == {"/healthz", "/readyz", "/async-function/{rest}", TOKEN, DISCOVERY, KEYS} | PAGES


@pytest.mark.parametrize("path", PRIVATE)
async def test_private_paths_without_credentials(api: Api, path: str) -> None:
    answer = await api.call("GET", path, user="")
    assert (answer.status, answer.body) == (401, b"invalid credentials")
    assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_every_verb_of_every_route_needs_the_password(api: Api) -> None:
    for path in ("/system/functions", "/system/secrets", "/system/namespace/dev", "/system/scale-function/x"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await api.call(method, path, {}, user="")).status == 401
    assert "dev" in (await api.call("GET", "/system/namespaces")).json


@pytest.mark.parametrize(
    "authorization",
    [
        basic("admin:wrong"),
        basic("admin:"),
        basic("admin"),
        basic(":correct-horse"),
        basic("root:correct-horse"),
        basic("admin:correct-horse "),
        basic("admin:correct-horse\0"),
        {"Authorization": "Basic"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic /w=="},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer correct-horse"},
        {"Authorization": "Basic " + "QUJD" * 5000},
    ],
)
async def test_wrong_credentials(api: Api, authorization: dict[str, str]) -> None:
    assert (await api.call("GET", "/system/info", headers=authorization, user="")).status == 401


@pytest.mark.parametrize("name", ["Authorization", "Origin", "Content-Type", "Sec-Fetch-Site", "Sec-Fetch-Mode"])
@pytest.mark.parametrize("first", [True, False])
async def test_what_says_who_asks_is_said_once(api: Api, name: str, first: bool) -> None:
    """A proxy in front might look at one where we look at the other. Written in another case, it is the same header."""
    right = {"Authorization": basic("admin:correct-horse")["Authorization"], "Origin": "http://127.0.0.1:8080"}
    wrong = {"Authorization": basic("admin:wrong")["Authorization"], "Origin": "http://evil.example"}
    values = right.get(name, "application/json"), wrong.get(name, "text/plain")
    one, other = values if first else reversed(values)
    headers = {**right, name: one, name.upper(): other}
    answer = await api.call("POST", "/system/functions", {"service": "x", "image": "i"}, headers=headers, user="")
    assert (answer.status, f"one {name.lower()} header" in answer.text) == (400, True)
    assert (await api.call("GET", "/system/functions")).json == []


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    value = basic("admin:correct-horse")["Authorization"].replace("Basic", "bAsIc")
    assert (await api.call("GET", "/system/info", headers={"Authorization": value}, user="")).status == 200


async def test_without_basic_auth_everything_is_open() -> None:
    async with running(credentials=None) as api:
        for headers in ({}, {"Authorization": "Bearer "}, basic("who:ever")):
            assert (await api.call("GET", "/system/info", headers=headers, user="")).status == 200


async def test_a_refusal_as_json(api: Api) -> None:
    answer = await api.call("GET", "/system/info", user="", headers={"Accept": "application/json", "X-Call-Id": "abc"})
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'
    assert answer.json == {"error": {"code": "unauthenticated", "message": "invalid credentials", "call_id": "abc"}}


async def test_dots_in_a_public_path_lead_nowhere(api: Api) -> None:
    for path in ("/async-function/../system/functions", "/async-function/%2e%2e/system/functions"):
        assert (await api.call("POST", path, {"service": "x", "image": "i"}, user="")).status == 400
    assert (await api.call("GET", "/system/functions")).json == []


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("password", [True, False])
async def test_pages_of_other_sites_may_not_write(site: str, password: bool) -> None:
    async with running() if password else running(credentials=None) as api:
        body = json.dumps({"service": "x", "image": "i"}).encode()
        headers = {"Sec-Fetch-Site": site, "Content-Type": "text/plain"}
        refused = await api.call("POST", "/system/functions", body, headers=headers)
        assert refused.status == 403
        assert (await api.call("GET", "/system/functions")).json == []
        for allowed in ("same-origin", "none"):
            headers = {"Sec-Fetch-Site": allowed, "Content-Type": "application/json"}
            assert (await api.call("DELETE", "/system/functions", {"functionName": "x"}, headers=headers)).status == 404


async def test_browsers_are_not_asked_for_a_password_that_they_would_keep(api: Api) -> None:
    for headers in ({"User-Agent": "Mozilla/5.0"}, {"Accept": "text/html"}, {"Sec-Fetch-Mode": "cors"}):
        answer = await api.call("GET", "/system/info", user="", headers=headers)
        assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Hilbert realm="Restricted"')
        assert (await api.call("GET", "/system/info", headers=headers)).status == 200


async def test_origin_host_and_body_of_a_browsers_write(api: Api) -> None:
    body = {"service": "x", "image": "i"}
    for headers, status in (
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:8080", "Content-Type": "text/plain"}, 415),
        ({"Origin": "http://127.0.0.1:8080", "Content-Type": "application/json"}, 202),
        ({"Content-Type": "text/plain"}, 409),  # Not a browser.
    ):
        assert (await api.call("POST", "/system/functions", body, headers=headers)).status == status
    assert len((await api.call("GET", "/system/functions")).json) == 1


async def test_without_a_password_a_strangers_name_gets_nothing() -> None:
    async with running(credentials=None) as api:
        for host, status in (("evil.example", 421), ("127.0.0.1:8080", 200), ("gateway.openfaas:8080", 200)):
            assert (await api.call("GET", "/system/info", headers={"Host": host}, user="")).status == status
    settings = Settings(gateway=GatewaySettings(hosts="gw.example, .corp.example"))
    async with running(credentials=None, settings=settings) as api:
        for host, status in (("gw.example", 200), ("a.corp.example:80", 200), ("a.gw.example", 421)):
            assert (await api.call("GET", "/system/info", headers={"Host": host}, user="")).status == status


def at(address: str, password: str = "wrong") -> dict[str, str]:
    return {"X-Forwarded-For": f"{address}:4321", **basic(f"admin:{password}")}


async def test_wrong_passwords_are_slowed_by_source(api: Api) -> None:
    statuses = [(await api.call("GET", "/system/info", headers=at("192.0.2.1"))).status for _ in range(BURST + 5)]
    assert statuses == [401] * BURST + [429] * 5
    refused = await api.call("GET", "/system/info", headers={**at("192.0.2.1"), "Accept": "application/json"})
    assert 1 <= int(refused.headers["retry-after"]) <= math.ceil(INTERVAL)
    assert refused.json["error"]["code"] == "rate-limited"
    # Nothing is learnt by guessing on; others are not held up; nor are probes and whoever sends no password.
    assert (await api.call("GET", "/system/info", headers=at("192.0.2.1", "correct-horse"))).status == 429
    assert (await api.call("GET", "/system/info", headers=at("192.0.2.2", "correct-horse"))).status == 200
    assert (await api.call("GET", "/system/info", headers={"X-Forwarded-For": "192.0.2.1"}, user="")).status == 401
    assert (await api.call("GET", "/healthz", headers=at("192.0.2.1"))).status == 200


async def test_right_passwords_are_never_slowed(api: Api) -> None:
    for _ in range(BURST * 3):
        assert (await api.call("GET", "/system/info", headers=at("192.0.2.3", "correct-horse"))).status == 200


async def test_a_source_may_try_again_once_it_has_waited() -> None:
    now = 0.0
    door = Door(CREDENTIALS, now=lambda: now)
    for _ in range(BURST):
        with pytest.raises(Refusal, match="invalid credentials"):
            door.admit("GET", {"x-forwarded-for": "::1", "authorization": "Bearer x"}, public=False)
    right = {"x-forwarded-for": "::1", "authorization": basic("admin:correct-horse")["Authorization"]}
    with pytest.raises(Refusal, match="too many wrong passwords"):
        door.admit("GET", right, public=False)
    now = INTERVAL
    assert door.admit("GET", right, public=False) is ADMINISTRATOR
