"""Requests over a real connection to a server that answers as scripted."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from lightkube.config.kubeconfig import KubeConfig
from lightkube.config.models import Cluster, User

from hilbert.core.errors import InvalidSettings
from hilbert.core.settings import KubernetesSettings
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.connect import connect
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable

pytestmark = pytest.mark.anyio


class QuickClock:
    def __init__(self) -> None:
        self.slept: list[float] = []

    def now(self) -> float:
        return sum(self.slept)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


class Script:
    """Answers in turn; the last one again and again."""

    def __init__(self, *answers: tuple[int, Any, dict[str, str]] | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *rest = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in rest if line)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests.append((first, headers, body))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                if answer is None:
                    break
                status, content, more = answer
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                lines = [f"HTTP/1.1 {status} X", f"content-length: {len(data)}", "content-type: application/json"]
                lines += [f"{name}: {value}" for name, value in more.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def talking(script: Script, user: User | None = None) -> AsyncIterator[tuple[Api, QuickClock]]:
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    config = KubeConfig.from_one(
        cluster=Cluster(server=f"http://127.0.0.1:{script.port}"), user=user or User(token="t")
    ).get()
    assert config is not None
    clock = QuickClock()
    api = Api(config, clock=clock)
    try:
        yield api, clock
    finally:
        await api.close()
        server.close()
        await server.wait_closed()


def status(code: int, reason: str = "", message: str = "no", **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


SECRET = {"metadata": {"name": "s", "namespace": "n"}, "type": "Opaque"}


async def test_waits_as_long_as_it_is_told_and_tries_again() -> None:
    script = Script((429, status(429, "TooManyRequests"), {"Retry-After": "3"}), (200, SECRET, {}))
    async with talking(script) as (api, clock):
        found = await api.get(kinds.SECRETS, "s", "n")
    assert found.type == "Opaque"
    assert clock.slept == [3.0]
    assert script.requests[0][0] == "GET /api/v1/namespaces/n/secrets/s HTTP/1.1"


async def test_patience_has_an_end() -> None:
    script = Script((429, status(429), {"Retry-After": "15"}))
    async with talking(script) as (api, clock):
        with pytest.raises(Refused) as caught:
            await api.get(kinds.SECRETS, "s", "n")
    assert caught.value.code == 429
    assert clock.slept == [15.0]


async def test_a_create_is_not_repeated_when_its_answer_got_lost() -> None:
    script = Script(None)
    async with talking(script) as (api, clock):
        with pytest.raises(Unreachable):
            await api.create(kinds.SECRETS, SECRET, "n")
    assert (len(script.requests), clock.slept) == (1, [])


async def test_a_create_that_was_throttled_is_repeated() -> None:
    script = Script((429, status(429), {"Retry-After": "1"}), (201, SECRET, {}))
    async with talking(script) as (api, _):
        await api.create(kinds.SECRETS, SECRET, "n")
    assert len(script.requests) == 2


async def test_an_apply_is_repeated_after_a_broken_connection() -> None:
    script = Script(None, (200, SECRET, {}))
    async with talking(script) as (api, _):
        await api.apply(kinds.SECRETS, {"kind": "Secret", **SECRET})
    line, headers, _body = script.requests[-1]
    assert line == "PATCH /api/v1/namespaces/n/secrets/s?fieldManager=hilbert&force=true HTTP/1.1"
    assert headers["content-type"] == "application/apply-patch+yaml"


async def test_a_schema_error_is_not_repeated() -> None:
    """An apply with an unknown field is answered with 500 and no reason."""
    script = Script((500, {"kind": "Status", "code": 500, "message": "field not declared in schema"}, {}))
    async with talking(script) as (api, _):
        with pytest.raises(Refused, match="not declared"):
            await api.apply(kinds.SECRETS, {"kind": "Secret", **SECRET})
    assert len(script.requests) == 1


async def test_answers_that_are_no_status_are_told_too() -> None:
    script = Script((502, b"<html>bad gateway</html>", {}))
    async with talking(script) as (api, _):
        with pytest.raises(Refused, match="bad gateway"):
            await api.get(kinds.SECRETS, "s", "n")


async def test_an_expired_token_is_read_again(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    script = Script((200, SECRET, {}), (401, status(401, "Unauthorized"), {}), (200, SECRET, {}))
    async with talking(script, User(token_file=str(token))) as (api, _):
        await api.get(kinds.SECRETS, "s", "n")
        token.write_text("new")
        await api.get(kinds.SECRETS, "s", "n")
    assert [headers["authorization"] for _, headers, _ in script.requests] == ["Bearer old", "Bearer old", "Bearer new"]


async def test_lists_follow_their_pages() -> None:
    first = {"items": [SECRET], "metadata": {"resourceVersion": "5", "continue": "more"}}
    last = {"items": None, "metadata": {"resourceVersion": "5"}}
    script = Script((200, first, {}), (200, last, {}))
    async with talking(script) as (api, _):
        assert len(await api.every(kinds.SECRETS, "n", selector="a=b")) == 1
    assert "continue=more" in script.requests[1][0]
    assert "labelSelector=a%3Db" in script.requests[1][0]


async def test_delete_says_whether_it_was_there() -> None:
    script = Script(
        (200, status(200), {}), (404, status(404), {}), (409, status(409, "Conflict"), {}), (403, status(403), {})
    )
    async with talking(script) as (api, _):
        assert await api.delete(kinds.SECRETS, "s", "n")
        assert not await api.delete(kinds.SECRETS, "s", "n")
        assert not await api.delete(kinds.SECRETS, "s", "n", uid="u")
        with pytest.raises(Refused):
            await api.delete(kinds.SECRETS, "s", "n")
    assert json.loads(script.requests[2][2])["preconditions"] == {"uid": "u"}


async def test_a_stream_that_falls_silent_is_an_error() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"a"\n\r\n')
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = KubeConfig.from_one(cluster=Cluster(server=f"http://127.0.0.1:{port}"), user=User(token="t")).get()
    assert config is not None
    api = Api(config)
    lines: list[bytes] = []

    async def read() -> None:
        async with api.stream("/x", {}, quiet=0.05) as source:
            async for line in source:
                lines.append(line)

    with pytest.raises(Unreachable):
        await read()
    assert lines == [b'{"a"']
    await api.close()
    server.close()
    await server.wait_closed()


def test_a_missing_kubeconfig_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings) as caught:
        connect(KubernetesSettings(kubeconfig=str(tmp_path / "absent")))
    assert "KUBECONFIG" in caught.value.hint


async def test_a_server_that_takes_connections_and_says_nothing_counts_as_away() -> None:
    """A stopped process still has its listening socket; a watch would wait there for as long as it may be quiet."""
    config = KubeConfig.from_one(cluster=Cluster(server="http://127.0.0.1:1"), user=User(token="t")).get()
    assert config is not None
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = config._replace(cluster=Cluster(server=f"http://127.0.0.1:{listener.getsockname()[1]}"))
        api = Api(config)
        try:
            with pytest.raises(Unreachable):
                async with api.stream("/api/v1/pods", {"watch": "1"}, quiet=3600, begins=0.05):
                    pytest.fail("nothing was answered")
        finally:
            await api.close()
