"""What faas-cli sends, and the status and body that each of its commands needs to succeed."""

from __future__ import annotations

import pytest

from support.api import Api

pytestmark = pytest.mark.anyio

AGENT = {"User-Agent": "faas-cli/0.17.4"}

FIGLET = {
    "service": "figlet",
    "image": "ghcr.io/openfaas/figlet:latest",
    "envProcess": "figlet",
    "labels": {},
    "annotations": {},
}


async def test_login_asks_for_the_functions(api: Api) -> None:
    assert (await api.call("GET", "/system/functions", headers=AGENT)).status == 200
    refused = await api.call("GET", "/system/functions", headers=AGENT, password="wrong")
    assert refused.status == 401


async def test_without_a_login_it_sends_an_empty_bearer_token(api: Api) -> None:
    answer = await api.call("GET", "/system/functions", headers={**AGENT, "Authorization": "Bearer "})
    assert (answer.status, answer.body) == (401, b"invalid credentials")
    assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'


async def test_deploy_puts_then_posts(api: Api) -> None:
    missing = await api.call("PUT", "/system/functions", FIGLET, headers=AGENT)
    assert missing.status == 404
    created = await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    assert (created.status, created.body) == (202, b"")
    updated = await api.call("PUT", "/system/functions", FIGLET, headers=AGENT)
    assert (updated.status, updated.body) == (202, b"")


async def test_deploy_without_update_of_what_is_there(api: Api) -> None:
    await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    again = await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    assert (again.status, again.text) == (409, "function figlet.openfaas-fn already exists\n")


async def test_deploy_with_replace_deletes_then_posts(api: Api) -> None:
    await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    deleted = await api.call("DELETE", "/system/functions", {"functionName": "figlet", "namespace": ""}, headers=AGENT)
    assert deleted.status == 202
    assert (await api.call("POST", "/system/functions", FIGLET, headers=AGENT)).status == 202


async def test_deploy_into_a_namespace_that_is_none(api: Api) -> None:
    body = {**FIGLET, "namespace": "nowhere"}
    for method in ("PUT", "POST"):
        answer = await api.call(method, "/system/functions", body, headers=AGENT)
        assert (answer.status, answer.text) == (400, "namespace not valid\n")


async def test_list(api: Api) -> None:
    empty = await api.call("GET", "/system/functions", headers=AGENT)
    assert (empty.status, empty.body) == (200, b"[]")
    assert empty.headers["content-type"] == "application/json"
    await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    (found,) = (await api.call("GET", "/system/functions?namespace=openfaas-fn", headers=AGENT)).json
    assert found["name"] == "figlet"
    assert found["image"] == "ghcr.io/openfaas/figlet:latest"
    assert found["envProcess"] == "figlet"
    assert found["replicas"] == 1
    assert "invocationCount" not in found
    assert (await api.call("GET", "/system/functions?namespace=dev", headers=AGENT)).json == []


async def test_describe(api: Api) -> None:
    await api.call("POST", "/system/functions", {**FIGLET, "namespace": "dev"}, headers=AGENT)
    found = await api.call("GET", "/system/function/figlet?namespace=dev&usage=1", headers=AGENT)
    assert found.status == 200
    assert found.json["namespace"] == "dev"
    assert found.json["availableReplicas"] == 1
    missing = await api.call("GET", "/system/function/figlet?usage=1", headers=AGENT)
    assert (missing.status, missing.body) == (404, b"")


async def test_remove(api: Api) -> None:
    await api.call("POST", "/system/functions", {**FIGLET, "namespace": "dev"}, headers=AGENT)
    body = {"functionName": "figlet", "namespace": "dev"}
    assert (await api.call("DELETE", "/system/functions", body, headers=AGENT)).status == 202
    assert (await api.call("DELETE", "/system/functions", body, headers=AGENT)).status == 404


async def test_ready_polls_without_a_password(api: Api) -> None:
    answer = await api.call("GET", "/healthz", headers=AGENT, user="")
    assert (answer.status, answer.body) == (200, b"OK")


async def test_health_may_be_asked_for_by_head(api: Api) -> None:
    answer = await api.call("HEAD", "/healthz", user="")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_secret_create_and_its_replacement(api: Api) -> None:
    body = {"name": "token", "namespace": "dev", "value": "one"}
    assert (await api.call("POST", "/system/secrets", body, headers=AGENT)).status == 202
    assert (await api.call("POST", "/system/secrets", body, headers=AGENT)).status == 409
    assert (await api.call("PUT", "/system/secrets", {**body, "value": "two"}, headers=AGENT)).status == 202
    assert api.provider._secrets["dev", "token"] == b"two"


async def test_secret_from_a_file_keeps_every_byte(api: Api) -> None:
    body = {"name": "token", "value": "trimmed", "rawValue": "AP8gdHJpbW1lZCAK"}
    assert (await api.call("POST", "/system/secrets", body, headers=AGENT)).status == 202
    assert api.provider._secrets["openfaas-fn", "token"] == b"\x00\xff trimmed \n"


async def test_secret_list_update_and_remove(api: Api) -> None:
    assert (await api.call("GET", "/system/secrets", headers=AGENT)).body == b"[]"
    unknown = {"name": "token", "namespace": "dev", "value": "x"}
    assert (await api.call("PUT", "/system/secrets", unknown, headers=AGENT)).status == 404
    await api.call("POST", "/system/secrets", unknown, headers=AGENT)
    listed = await api.call("GET", "/system/secrets?namespace=dev", headers=AGENT)
    assert (listed.status, listed.json) == (200, [{"name": "token", "namespace": "dev"}])
    gone = {"name": "token", "namespace": "dev"}
    assert (await api.call("DELETE", "/system/secrets", gone, headers=AGENT)).status == 202
    assert (await api.call("DELETE", "/system/secrets", gone, headers=AGENT)).status == 404


async def test_logs_as_the_command_line_asks(api: Api) -> None:
    await api.call("POST", "/system/functions", FIGLET, headers=AGENT)
    target = "/system/logs?name=figlet&namespace=&follow=false&tail=-1"
    answer = await api.call("GET", target, headers=AGENT)
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_version(api: Api) -> None:
    info = (await api.call("GET", "/system/info", headers=AGENT)).json
    assert info["provider"]["provider"] == "hilbert-memory"
    assert info["provider"]["orchestration"] == "memory"
    for version in (info["version"], info["provider"]["version"]):
        assert version["release"]
        assert version["sha"]


async def test_old_versions_name_the_namespace_in_the_query(api: Api) -> None:
    await api.call("POST", "/system/functions", {**FIGLET, "namespace": "dev"}, headers=AGENT)
    scaled = await api.call(
        "POST", "/system/scale-function/figlet?namespace=dev", {"serviceName": "figlet", "replicas": 3}, headers=AGENT
    )
    assert scaled.status == 202
    assert (await api.call("GET", "/system/function/figlet?namespace=dev")).json["replicas"] == 3
    removed = await api.call("DELETE", "/system/functions?namespace=dev", {"functionName": "figlet"}, headers=AGENT)
    assert removed.status == 202


async def test_a_queued_call(api: Api) -> None:
    function = {"service": "figlet", "image": "i", "namespace": "dev"}
    await api.call("POST", "/system/functions", function, headers=AGENT)
    answer = await api.call("POST", "/async-function/figlet.dev", b"hello", headers=AGENT, user="")
    assert (answer.status, answer.body) == (202, b"")
    assert answer.headers["x-call-id"]


async def test_lower_case_addresses_and_a_base_path_joined_twice(api: Api) -> None:
    assert (await api.call("GET", "//system//functions", headers=AGENT)).status == 200
