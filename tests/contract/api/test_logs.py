"""`/system/logs`: parameters, NDJSON line by line, following, and clients that leave."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from hilbert.api.log_streams import LogStreams
from hilbert.core.errors import BackendUnavailable, Overloaded
from hilbert.core.model import FunctionSpec, LogLine, LogQuery
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.providers.memory import MemoryProvider
from support.api import CREDENTIALS, Api, running

pytestmark = pytest.mark.anyio

REF = FunctionRef(NamespaceName("openfaas-fn"), FunctionName("f"))
HEADERS = {"Host": "h", "Authorization": "Basic YWRtaW46Y29ycmVjdC1ob3JzZQ=="}


def line(number: int) -> LogLine:
    return LogLine(REF, "f-1", 1_700_000_000_000_000_000 + number, f"line {number}")


class Scripted(MemoryProvider):
    """Gives the lines that a test puts in, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.queries: list[LogQuery] = []
        self.lines: asyncio.Queue[LogLine | Exception | None] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def read_logs(self, query: LogQuery) -> AsyncIterator[LogLine]:
        self.queries.append(query)
        try:
            while (found := await self.lines.get()) is not None:
                if isinstance(found, Exception):
                    raise found
                yield found
        finally:
            self.closed.set()


@pytest.fixture
async def provider(anyio_backend: object) -> AsyncIterator[Scripted]:
    found = Scripted()
    await found.apply(FunctionSpec(ref=REF, image="i"))
    yield found
    await found.close()


@pytest.fixture
async def api(provider: Scripted) -> AsyncIterator[Api]:
    async with running(provider) as found:
        yield found


async def asked(api: Api, provider: Scripted, query: str) -> LogQuery:
    """What the provider is asked for these parameters."""
    provider.lines.put_nowait(None)
    answer = await api.call("GET", f"/system/logs?name=f&{query}")
    assert answer.status == 200, answer
    return provider.queries[-1]


async def test_every_line_is_one_object_with_all_fields(api: Api, provider: Scripted) -> None:
    for number in (0, 500_000_000, 223_912_519):
        provider.lines.put_nowait(line(number))
    provider.lines.put_nowait(None)
    answer = await api.call("GET", "/system/logs?name=f")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(text) for text in answer.text.splitlines()] == [
        {"name": "f", "namespace": "openfaas-fn", "instance": "f-1", "timestamp": timestamp, "text": text}
        for timestamp, text in (
            ("2023-11-14T22:13:20Z", "line 0\n"),
            ("2023-11-14T22:13:20.5Z", "line 500000000\n"),
            ("2023-11-14T22:13:20.223912519Z", "line 223912519\n"),
        )
    ]


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
async def test_follow(api: Api, provider: Scripted, text: str) -> None:
    assert (await asked(api, provider, f"follow={text}")).follow is True


@pytest.mark.parametrize("text", ["0", "f", "false", "FALSE", "yes", "on", "tRUE", "2", ""])
async def test_no_follow(api: Api, provider: Scripted, text: str) -> None:
    assert (await asked(api, provider, f"follow={text}")).follow is False


@pytest.mark.parametrize(("text", "count"), [("5", 5), ("0", 0), ("-1", 0), ("", 0), ("+3", 3)])
async def test_tail(api: Api, provider: Scripted, text: str, count: int) -> None:
    assert (await asked(api, provider, f"tail={quote(text)}")).tail == count


async def test_without_since_it_is_the_last_five_minutes(api: Api, provider: Scripted) -> None:
    for query in ("", "tail=-1", "tail=0", "since="):
        found = await asked(api, provider, query)
        assert found.since is not None
        assert 299 < (datetime.now(UTC) - found.since).total_seconds() < 330
    assert (await asked(api, provider, "tail=10")).since is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-01T10:00:00Z", "2024-05-01T10:00:00+00:00"),
        ("2024-05-01T10:00:00.123456+02:00", "2024-05-01T10:00:00.123456+02:00"),
        ("2024-05-01T10:00:00.123456789Z", "2024-05-01T10:00:00.123456+00:00"),
    ],
)
async def test_since(api: Api, provider: Scripted, text: str, expected: str) -> None:
    assert (await asked(api, provider, f"since={quote(text)}&tail=3")).since == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "query",
    ["tail=x", "tail=1.5", "tail=9999999999999999999", "since=yesterday", "since=2024-05-01", "since=2024-05-01T10:00:00",
     "since=2024-13-01T10:00:00Z", "since=5m", "instance=" + "x" * 300, "call_id=a%20b", "call_id=" + "x" * 129],
)  # fmt: skip
async def test_what_cannot_be_read(api: Api, query: str) -> None:
    answer = await api.call("GET", f"/system/logs?name=f&{query}")
    assert (answer.status, answer.text) == (422, "could not parse the log request\n")


async def test_the_last_of_repeated_parameters_wins(api: Api, provider: Scripted) -> None:
    found = await asked(api, provider, "tail=x&tail=3&instance=a&instance=f-1&follow=1&follow=0&name=nope&name=f")
    assert (found.tail, found.instance, found.follow, found.ref) == (3, "f-1", False, REF)


async def test_a_name_is_needed_and_must_exist(api: Api) -> None:
    assert (await api.call("GET", "/system/logs")).status == 400
    assert (await api.call("GET", "/system/logs?name=nope")).status == 404


async def test_each_line_is_there_at_once_and_leaving_ends_it(api: Api, provider: Scripted) -> None:
    async with asyncio.timeout(20):
        async with api.open("GET", "/system/logs?name=f&follow=true", HEADERS, b"") as exchange:
            assert exchange.status == 200
            body: Any = exchange.body()
            for number in range(3):
                provider.lines.put_nowait(line(number))
                assert json.loads(await anext(body))["text"] == f"line {number}\n"
            assert not provider.closed.is_set()
        await provider.closed.wait()


async def test_a_failure_in_the_middle_ends_the_stream(api: Api, provider: Scripted) -> None:
    provider.lines.put_nowait(line(1))
    provider.lines.put_nowait(BackendUnavailable("gone"))
    answer = await api.call("GET", "/system/logs?name=f&follow=1")
    assert (answer.status, len(answer.text.splitlines())) == (200, 1)
    assert CREDENTIALS.password not in answer.text


async def test_a_line_says_its_call_only_to_a_client_that_asks(api: Api, provider: Scripted) -> None:
    """OpenFaaS's clients get the five fields that they know, to the byte."""
    known = msgspec.structs.replace(line(0), call_id="a-1")
    plain = b'{"name":"f","namespace":"openfaas-fn","instance":"f-1","timestamp":"2023-11-14T22:13:20Z","text":"line 0\\n"}\n'
    for query, expected in (
        ("", plain),
        ("&calls=0", plain),
        ("&calls=1", plain[:-2] + b',"call_id":"a-1"}\n'),
        ("&call_id=a-1", plain[:-2] + b',"call_id":"a-1"}\n'),
    ):
        provider.lines.put_nowait(known)
        provider.lines.put_nowait(None)
        answer = await api.call("GET", f"/system/logs?name=f{query}")
        assert answer.text.encode() == expected


async def test_the_lines_of_one_call_are_asked_for_however_old(api: Api, provider: Scripted) -> None:
    found = await asked(api, provider, "call_id=a-1")
    assert (found.call_id, found.since) == ("a-1", None)


@pytest.mark.bound("log-streams")
async def test_logs_that_are_read_at_once_have_a_bound(provider: Scripted) -> None:
    """One more is told so; once a reader has left there is room again."""
    async with running(provider) as api:
        api.services.log_streams.most = 1
        provider.lines.put_nowait(line(1))
        async with api.open("GET", "/system/logs?name=f&follow=1", HEADERS, b"") as exchange:
            await anext(aiter(exchange.body()))
            refused = await api.call("GET", "/system/logs?name=f")
            assert refused.status == 503
            assert "as many logs as it can (1)" in refused.text
        await provider.closed.wait()
        provider.lines.put_nowait(None)
        async with asyncio.timeout(20):
            while (await api.call("GET", "/system/logs?name=f")).status != 200:
                await asyncio.sleep(0.01)


async def test_one_namespace_cannot_have_all_readers(provider: Scripted) -> None:
    async with running(provider) as api:
        api.services.log_streams.most = 4
        provider.lines.put_nowait(line(1))
        async with api.open("GET", "/system/logs?name=f&follow=1", HEADERS, b"") as exchange:
            await anext(aiter(exchange.body()))
            refused = await api.call("GET", "/system/logs?name=f")
            assert refused.status == 503
            assert "are being read as may be" in refused.text
        await provider.closed.wait()


def test_one_caller_cannot_have_all_readers() -> None:
    """In however many namespaces it may read."""
    streams = LogStreams()
    streams.most = 8
    one, two, three = (NamespaceName(name) for name in ("one", "two", "three"))
    with streams.counted(one, "her"), streams.counted(two, "her"):
        with pytest.raises(Overloaded, match="as one caller may"), streams.counted(three, "her"):
            pass
        streams.check(three, "his")
    streams.check(three, "her")
