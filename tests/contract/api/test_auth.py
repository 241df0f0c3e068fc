"""Who may ask: the password around every path but those few, and nothing for pages of other sites."""

from __future__ import annotations

import base64
import json

import pytest

from hilbert.api.endpoint import Access
from hilbert.api.endpoints import ENDPOINTS
from support.api import Api, running

pytestmark = pytest.mark.anyio

PRIVATE = [
    "/",
    "/ui/",
    "/ui/ui.js",
    "/openapi/",
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


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_the_public_list_is_short() -> None:
    public = {endpoint.path for endpoint in ENDPOINTS if endpoint.access is Access.PUBLIC}
    assert public == {"/healthz", "/readyz", "/async-function/{rest}"}


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
        assert (await api.call("POST", path, {"service": "x", "image": "i"}, user="")).status == 501
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
            headers = {"Sec-Fetch-Site": allowed}
            assert (await api.call("DELETE", "/system/functions", {"functionName": "x"}, headers=headers)).status == 404
