"""What OpenFaaS's clients send when they queue calls, unmodified: faas-cli, both SDKs, and the connectors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import pytest

from hilbert.control.delivery.request import QueuedRequest
from hilbert.core.values import NamespaceName
from support.api import Api, running

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
GO = {"User-Agent": "Go-http-client/1.1", "Accept-Encoding": "gzip"}
CLIENTS: dict[str, tuple[str, Mapping[str, str], bytes]] = {
    "faas-cli invoke --async": (
        "/async-function/env.dev",
        {**GO, "Content-Type": "text/plain", "X-Callback-Url": "http://gateway.openfaas:8080/function/env"},
        b"hello",
    ),
    "faas-cli invoke --async --query": ("/async-function/env.dev?a=b&c=d", {**GO, "Content-Type": "text/plain"}, b""),
    "python-sdk invoke_function_async": (
        "/async-function/env.dev",
        {"User-Agent": "python-httpx/0.27.0", "Accept": "*/*", "X-Callback-Url": "https://example.com/hook"},
        b'{"a": 1}',
    ),
    "go-sdk InvokeFunction, asynchronous": ("/async-function/env.dev", {**GO, "Content-Type": "application/json"}, b"{}"),
    "cron-connector, asynchronous": (
        "/async-function/env.dev",
        {**GO, "X-Topic": "cron-function", "X-Connector": "cron-connector"},
        b"",
    ),
    "connector-sdk, asynchronous": (
        "/async-function/env.dev",
        {"User-Agent": "openfaasltd-kafka-connector/1", "X-Connector": "connector-sdk openfaasltd/kafka", "X-Topic": "payments", "X-Kafka-Key": "k", "Content-Type": "text/plain"},
        b"\x00\xff",
    ),
}  # fmt: skip


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    async with running() as found:
        await found.call("POST", "/system/namespace/", {"name": "dev", "labels": {"openfaas": "1"}})
        await found.call("POST", "/system/functions", {"service": "env", "image": "i", "namespace": "dev"})
        yield found


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_call_is_queued(api: Api, client: str) -> None:
    """202 without a body, the call id and the start time in headers; the function hears what the client said."""
    target, headers, body = CLIENTS[client]
    answer = await api.call("POST", target, body, headers=headers, user="")
    assert (answer.status, answer.body) == (202, b"")
    assert len(answer.headers["x-call-id"]) == 36
    assert answer.headers["x-start-time"].isdigit()
    assert api.services.intake is not None
    request = QueuedRequest.load(await api.services.intake.queue.body(DEV, answer.headers["x-call-id"]))
    heard = {name.decode().lower(): value.decode() for name, value in request.fields}
    said = {name.lower(): value for name, value in headers.items()}
    assert request.callback == said.pop("x-callback-url", "")
    assert (request.method, request.body) == ("POST", body)
    assert request.target == b"/" + target.partition("?")[1].encode() + target.partition("?")[2].encode()
    assert {name: heard.get(name) for name in said} == said


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_function_that_is_not_there(api: Api, client: str) -> None:
    target, headers, body = CLIENTS[client]
    answer = await api.call("POST", target.replace("env", "nobody"), body, headers=headers, user="")
    assert answer.status == 404


@pytest.mark.parametrize("agent", ["python-httpx/0.27.0", "Go-http-client/1.1"])
async def test_cancelling_needs_the_id_alone(api: Api, agent: str) -> None:
    queued = await api.call("POST", "/async-function/env.dev", b"", user="")
    target = f"/async-function/{queued.headers['x-call-id']}"
    answer = await api.call("DELETE", target, headers={"User-Agent": agent}, user="")
    assert (answer.status, answer.body) == (202, b"")
    assert (await api.call("GET", target)).json["state"] == "cancelled"


async def test_a_connector_finds_the_functions_of_its_topic_whoever_calls_them(api: Api) -> None:
    """It lists namespaces, then functions, and reads their annotations: also of those that the gateway calls itself."""
    said = {"topic": "cron-function", "schedule": "* * * * *", "com.hilbert.schedule.by": "connector"}
    spec = {"service": "tick", "image": "i", "namespace": "dev", "annotations": said}
    assert (await api.call("POST", "/system/functions", spec)).status == 202
    assert "dev" in (await api.call("GET", "/system/namespaces")).json
    listed = (await api.call("GET", "/system/functions?namespace=dev")).json
    assert {one["name"]: one["annotations"] for one in listed}["tick"] == said
