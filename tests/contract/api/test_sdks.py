"""What the Go and Python SDKs send, and what each of their methods needs."""

from __future__ import annotations

import base64
from datetime import datetime

import pytest

from support.api import Api

MARK = {"openfaas": "1"}
ENV = {"service": "env", "image": "functions/alpine:latest", "envProcess": "env", "namespace": "dev"}

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("agent", ["openfaas-go-sdk/0.1", "python-httpx/0.27"])]


@pytest.fixture
def headers(agent: str) -> dict[str, str]:
    return {"User-Agent": agent, "Accept": "*/*"}


async def test_create_namespace(api: Api, headers: dict[str, str]) -> None:
    body = {"name": "staging", "labels": {**MARK, "tier": "two"}, "annotations": {**MARK, "tenant": "a@b.example"}}
    created = await api.call("POST", "/system/namespace/", body, headers=headers)
    assert (created.status, created.body) == (201, b"")
    found = await api.call("GET", "/system/namespace/staging", headers=headers)
    assert (found.status, found.json) == (200, body)
    again = await api.call("POST", "/system/namespace/", body, headers=headers)
    assert (again.status, again.text) == (409, "namespace staging already exists\n")


async def test_namespaces_are_listed_as_texts(api: Api, headers: dict[str, str]) -> None:
    found = await api.call("GET", "/system/namespaces", headers=headers)
    assert (found.status, sorted(found.json)) == (200, ["dev", "openfaas-fn"])


async def test_update_namespace_replaces_all_but_the_mark(api: Api, headers: dict[str, str]) -> None:
    first = {"name": "dev", "labels": {**MARK, "a": "1"}, "annotations": {**MARK, "b": "2"}}
    assert (await api.call("PUT", "/system/namespace/dev", first, headers=headers)).status == 202
    second = {"name": "dev", "labels": {**MARK, "c": "3"}}
    assert (await api.call("PUT", "/system/namespace/dev", second, headers=headers)).status == 202
    found = (await api.call("GET", "/system/namespace/dev", headers=headers)).json
    assert found == {"name": "dev", "labels": {**MARK, "c": "3"}, "annotations": MARK}


async def test_delete_namespace_sends_the_label_alone(api: Api, headers: dict[str, str]) -> None:
    await api.call("POST", "/system/functions", ENV, headers=headers)
    body = {"name": "dev", "labels": MARK}
    assert (await api.call("DELETE", "/system/namespace/dev", body, headers=headers)).status == 202
    assert (await api.call("GET", "/system/namespace/dev", headers=headers)).status == 404
    assert (await api.call("DELETE", "/system/namespace/dev", body, headers=headers)).status == 404
    listed = await api.call("GET", "/system/functions?namespace=dev", headers=headers)
    assert (listed.status, listed.text) == (400, "namespace not valid\n")


async def test_deploy_then_update(api: Api, headers: dict[str, str]) -> None:
    assert (await api.call("POST", "/system/functions", ENV, headers=headers)).status == 202
    changed = {**ENV, "envVars": {"NO": "no", "VERSION": "1.10"}, "labels": {"a": "b"}}
    assert (await api.call("PUT", "/system/functions", changed, headers=headers)).status == 202
    found = (await api.call("GET", "/system/function/env?namespace=dev", headers=headers)).json
    assert found["envVars"] == {"NO": "no", "VERSION": "1.10"}
    assert found["labels"] == {"a": "b", "faas_function": "env"}
    plain = {**ENV, "labels": None, "annotations": None}
    assert (await api.call("PUT", "/system/functions", plain, headers=headers)).status == 202
    found = (await api.call("GET", "/system/function/env?namespace=dev", headers=headers)).json
    assert "envVars" not in found
    assert (found["labels"], found["annotations"]) == ({"faas_function": "env"}, {})


async def test_a_status_has_the_types_that_strict_clients_want(api: Api, headers: dict[str, str]) -> None:
    await api.call("POST", "/system/functions", ENV, headers=headers)
    found = (await api.call("GET", "/system/function/env?namespace=dev", headers=headers)).json
    assert type(found["replicas"]) is int
    assert type(found["availableReplicas"]) is int
    assert datetime.fromisoformat(found["createdAt"]).utcoffset() is not None
    assert isinstance(found["labels"], dict)
    assert isinstance(found["annotations"], dict)


async def test_scale_names_the_namespace_in_the_body(api: Api, headers: dict[str, str]) -> None:
    await api.call("POST", "/system/functions", ENV, headers=headers)
    for replicas in (3, 0, 1):
        body = {"serviceName": "env", "replicas": replicas, "namespace": "dev"}
        assert (await api.call("POST", "/system/scale-function/env", body, headers=headers)).status == 202
        found = (await api.call("GET", "/system/function/env?namespace=dev", headers=headers)).json
        assert found.get("replicas", 0) == replicas
    missing = {"serviceName": "nope", "replicas": 1, "namespace": "dev"}
    assert (await api.call("POST", "/system/scale-function/nope", missing, headers=headers)).status == 404


async def test_delete_function(api: Api, headers: dict[str, str]) -> None:
    await api.call("POST", "/system/functions", ENV, headers=headers)
    body = {"functionName": "env", "namespace": "dev"}
    assert (await api.call("DELETE", "/system/functions", body, headers=headers)).status == 202
    assert (await api.call("GET", "/system/function/env?namespace=dev", headers=headers)).status == 404


async def test_secrets(api: Api, headers: dict[str, str]) -> None:
    raw = base64.b64encode(b"bytes\x00").decode()
    body = {"name": "key", "namespace": "dev", "rawValue": raw}
    assert (await api.call("POST", "/system/secrets", body, headers=headers)).status == 202
    assert (await api.call("POST", "/system/secrets", body, headers=headers)).status == 409
    assert (await api.call("PUT", "/system/secrets", body, headers=headers)).status == 202
    listed = (await api.call("GET", "/system/secrets?namespace=dev", headers=headers)).json
    assert listed == [{"name": "key", "namespace": "dev"}]
    gone = {"name": "key", "namespace": "dev"}
    assert (await api.call("DELETE", "/system/secrets", gone, headers=headers)).status == 202
    assert (await api.call("DELETE", "/system/secrets", gone, headers=headers)).status == 404
    assert (await api.call("PUT", "/system/secrets", body, headers=headers)).status == 404


async def test_logs(api: Api, headers: dict[str, str]) -> None:
    await api.call("POST", "/system/functions", ENV, headers=headers)
    since = "2024-05-01T10%3A00%3A00.123456%2B00%3A00"
    target = f"/system/logs?name=env&namespace=dev&since={since}&follow=0&tail=10"
    assert (await api.call("GET", target, headers=headers)).status == 200
    missing = await api.call("GET", "/system/logs?name=nope&namespace=dev&follow=0", headers=headers)
    assert missing.status == 404


async def test_info(api: Api, headers: dict[str, str]) -> None:
    found = (await api.call("GET", "/system/info", headers=headers)).json
    assert set(found) >= {"arch", "provider", "version"}
    assert found["provider"]["provider"] != "faasd"
