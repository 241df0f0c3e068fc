"""Call-backs: what is told, how often, and where they must not lead."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
from collections.abc import AsyncIterator, Sequence

import pytest
from structlog.testing import capture_logs

from hilbert.control.delivery import callbacks
from hilbert.control.delivery.callbacks import Blocked, HttpCallBacks, Target
from hilbert.control.delivery.request import MOST_DEPTH, QueuedAnswer, QueuedRequest
from hilbert.core.addresses import is_callable
from hilbert.core.errors import BackendUnavailable, Invalid, SecretNotFound
from hilbert.core.ports.queue import Lease
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.http1 import Pool, TimerWheel
from hilbert.testing.queue import F, call

pytestmark = pytest.mark.anyio

HERE = NamespaceName("here")


class Server:
    """Answers with the statuses it was given, and keeps what came."""

    def __init__(self, *statuses: int, head: str = "") -> None:
        self.statuses = list(statuses)
        self.head = head
        self.requests: list[tuple[str, list[str], bytes]] = []
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
                size = next(int(line.split(": ")[1]) for line in lines if line.startswith("Content-Length"))
                self.requests.append((first, lines, await reader.readexactly(size)))
                status = self.statuses.pop(0) if self.statuses else 200
                writer.write(f"HTTP/1.1 {status} X\r\n{self.head}Content-Length: 2\r\n\r\nok".encode())
        writer.close()


@contextlib.asynccontextmanager
async def serving(*statuses: int, head: str = "") -> AsyncIterator[Server]:
    server = Server(*statuses, head=head)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()


class Bench:
    def __init__(self, gateway: Server, *, addresses: Sequence[str] = ("127.0.0.1",)) -> None:
        self.slept: list[float] = []
        self.key: bytes | Exception | None = None
        self.addresses = addresses
        self.wheel = TimerWheel()
        self.gateway = Pool(f"tcp:127.0.0.1:{gateway.port}", self.wheel)
        self.backs = HttpCallBacks(
            self.gateway,
            self.wheel,
            version="1.2",
            resolve=self._resolve,
            sleep=self._sleep,
            draw=lambda: 0.0,
            key_of=self._key_of,
            secret="proof",
        )

    async def _key_of(self, _ref: FunctionRef) -> bytes | None:
        if isinstance(self.key, Exception):
            raise self.key
        return self.key

    async def _resolve(self, _host: str, _port: int) -> Sequence[str]:
        return self.addresses

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def tell(
        self,
        url: str,
        answer: QueuedAnswer | None = None,
        *,
        attempt: int = 1,
        depth: int = 0,
        is_vouched: bool = False,
    ) -> bool:
        lease = Lease(call=call("id-1"), epoch=1, attempt=attempt, put_at=0)
        request = QueuedRequest("POST", b"/", (), b"", callback=url, depth=depth, is_vouched=is_vouched)
        return await self.backs.tell(lease, request, answer, took=1.5, attempts=5)


@contextlib.asynccontextmanager
async def bench(*statuses: int, head: str = "") -> AsyncIterator[tuple[Bench, Server]]:
    async with serving(*statuses, head=head) as server:
        at = Bench(server)
        try:
            yield at, server
        finally:
            at.gateway.close()
            at.wheel.close()


@pytest.fixture
def open_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the tests' own server on loopback be called."""
    monkeypatch.setattr(callbacks, "is_callable", lambda *_, **__: True)
    monkeypatch.setattr(callbacks, "is_here", lambda _: False)


ANSWER = QueuedAnswer(
    418,
    ((b"Content-Type", b"text/tea"), (b"X-Own", b"1"), (b"Connection", b"close"), (b"X-Call-Id", b"forged")),
    b"tea",
)


@pytest.mark.usefixtures("open_guard")
async def test_what_is_told() -> None:
    async with bench() as (at, server):
        assert await at.tell(f"http://example.com:{server.port}/hook?x=1", ANSWER, attempt=3)
        ((first, lines, body),) = server.requests
    assert (first, body) == ("POST /hook?x=1 HTTP/1.1", b"tea")
    assert sorted(lines) == sorted(
        [
            f"Host: example.com:{server.port}",
            "Content-Type: text/tea",
            "X-Own: 1",
            "X-Call-Id: id-1",
            "X-Duration-Seconds: 1.500000",
            "X-Function-Status: 418",
            "X-Function-Name: f.here",
            "User-Agent: hilbert/1.2",
            "X-Retry: 3",
            "X-Retry-Max: 5",
            "Content-Length: 3",
        ]
    )


@pytest.mark.usefixtures("open_guard")
async def test_a_call_that_was_not_answered_is_told_as_503() -> None:
    async with bench() as (at, server):
        assert await at.tell(f"http://example.com:{server.port}", None)
        ((first, lines, _),) = server.requests
    assert first == "POST / HTTP/1.1"
    assert "X-Function-Status: 503" in lines
    assert not [line for line in lines if line.startswith("X-Retry")]


@pytest.mark.usefixtures("open_guard")
@pytest.mark.parametrize(
    ("statuses", "told", "slept"),
    [
        ([202], True, []),
        ([500, 503, 200], True, [1, 2]),
        ([500, 500, 500, 200], False, [1, 2]),
        ([404, 200], False, []),
        ([302, 200], False, []),
    ],
)
@pytest.mark.bound("callback")
async def test_how_often(statuses: list[int], told: bool, slept: list[float]) -> None:
    async with bench(*statuses, head="Location: http://127.0.0.1:1/\r\n") as (at, server):
        assert await at.tell(f"http://example.com:{server.port}/", ANSWER) is told
        assert at.slept == slept
        assert len(server.requests) == len(slept) + 1


@pytest.mark.usefixtures("open_guard")
async def test_nobody_there() -> None:
    async with bench() as (at, _):
        async with serving() as other:
            port = other.port
        assert not await at.tell(f"http://example.com:{port}/", ANSWER)
        assert len(at.slept) == 2


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["10.0.0.7"], ["169.254.169.254"], ["::1"], ["::ffff:127.0.0.1"], [], ["nonsense"]]
)
async def test_a_name_that_leads_inside_is_not_called(addresses: list[str]) -> None:
    async with bench() as (at, server):
        at.addresses = addresses
        assert not await at.tell(f"http://example.com:{server.port}/", ANSWER)
        assert server.requests == []
        assert at.slept == []


@pytest.mark.parametrize(
    "host",
    ["2130706433", "0x7f000001", "017700000001", "127.1", "0", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"],
)  # fmt: skip
async def test_other_ways_to_write_this_machine(host: str) -> None:
    """Looked up as any name is, by the machine's own resolver."""
    async with bench() as (at, server):
        at.backs._resolve = callbacks._look_up
        assert not await at.tell(f"http://{host}:{server.port}/", ANSWER)
        assert server.requests == []
        assert at.slept == []


async def test_a_name_that_leads_elsewhere_the_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: each try connects to an address of its own look-up, once that was found harmless."""
    allowed = "127.0.0.2"
    monkeypatch.setattr(callbacks, "is_callable", lambda address, **_: str(address) == allowed)
    monkeypatch.setattr(callbacks, "is_here", lambda _: False)
    async with bench() as (at, server):
        answers = iter([[allowed], ["127.0.0.1"]])

        async def resolve(_host: str, _port: int) -> Sequence[str]:
            return next(answers)

        at.backs._resolve = resolve
        assert not await at.tell(f"http://example.com:{server.port}/", ANSWER)  # Nobody listens at the first.
        assert server.requests == []
        assert len(at.slept) == 1


@pytest.mark.parametrize(
    ("address", "public", "with_private"),
    [
        ("8.8.8.8", True, True),
        ("2600::1", True, True),
        ("10.1.2.3", False, True),
        ("172.16.0.1", False, True),
        ("192.168.1.1", False, True),
        ("100.64.0.1", False, True),
        ("fd12::1", False, True),
        ("127.0.0.1", False, False),
        ("127.9.9.9", False, False),
        ("0.0.0.0", False, False),
        ("169.254.169.254", False, False),
        ("224.0.0.1", False, False),
        ("255.255.255.255", False, False),
        ("::", False, False),
        ("::1", False, False),
        ("fe80::1", False, False),
        ("ff02::1", False, False),
        ("fd00:ec2::254", False, False),
        ("fd00:ec2::23", False, False),  # Amazon's, of Pods
        ("fd20:ce::254", False, False),  # Google's
        ("fd00:42::42", False, False),  # Scaleway's
        ("168.63.129.16", False, False),  # Azure's, a public address
        ("100.100.100.200", False, False),  # Alibaba's
        ("192.0.0.192", False, False),  # Oracle's
        ("64:ff9b::a83f:8110", False, False),  # Azure's, translated
        ("2002:a83f:8110::1", False, False),
        ("64:ff9b:1::a9fe:a9fe", False, False),  # A translator of the site's own
        ("0.1.2.3", False, False),
        ("::127.0.0.1", False, False),
        ("::ffff:0:a9fe:a9fe", False, False),
        ("192.0.0.8", False, True),
        ("192.88.99.1", False, True),
        ("3fff::1", False, True),
        ("fec0::1", False, True),
        ("::ffff:127.0.0.1", False, False),
        ("::ffff:8.8.8.8", True, True),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::7f00:1", False, False),
        ("64:ff9b::808:808", True, True),
        ("2002:7f00:1::", False, False),
        ("2001:0:0:0:0:0:80ff:fffe", False, False),  # Teredo of 127.0.0.1
    ],
)
def test_addresses(address: str, public: bool, with_private: bool) -> None:
    number = ipaddress.ip_address(address)
    assert is_callable(number, allow_private=False) is public
    assert is_callable(number, allow_private=True) is with_private


def test_this_machines_own_addresses_are_known() -> None:
    assert callbacks.is_here(ipaddress.ip_address("127.0.0.1"))
    assert not callbacks.is_here(ipaddress.ip_address("192.0.2.1"))


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://gateway.openfaas:8080/function/g", "/function/g.here"),
        ("http://gateway:8080/function/g.here/a/b?x=1", "/function/g.here/a/b?x=1"),
        ("http://GATEWAY/async-function/g?x", "/async-function/g.here?x"),
        ("http://example.com/function/g", None),
    ],
)
def test_functions_of_the_same_namespace(url: str, target: str | None) -> None:
    assert Target(url).function_target(HERE) == target


@pytest.mark.parametrize(
    "url",
    [
        "http://gateway.openfaas:8080/function/g.there",
        "http://gateway.openfaas:8080/system/functions",
        "http://gateway/function/",
        "http://gateway/function/../system/functions",
        "http://gateway/function/%2e%2e/system",
        "http://gateway/",
    ],
)
def test_nothing_else_of_the_gateway(url: str) -> None:
    with pytest.raises(Blocked):
        Target(url).function_target(HERE)


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://a/", "http://", "http:///x", "http://a:99999/", "http://u:p@a/", "http://a/ b", "http://a/\r\nX: y", "http://a/\x00", "http://é/", "http://a/" + "x" * 3000, "http://[::1/"],
)  # fmt: skip
@pytest.mark.bound("callback-url")
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(Invalid):
        Target(url)


async def test_a_function_of_the_namespace_is_told_through_the_gateway() -> None:
    async with bench() as (at, server):
        assert await at.tell("http://gateway.openfaas:8080/function/g", ANSWER, depth=2)
        ((first, lines, body),) = server.requests
        assert (first, body) == ("POST /function/g.here HTTP/1.1", b"tea")
        assert "X-Hilbert-Depth: 3" in lines
        assert str(F) == "f.here"


async def test_calls_that_lead_to_one_another_end() -> None:
    async with bench() as (at, server):
        assert not await at.tell("http://gateway/function/g", ANSWER, depth=MOST_DEPTH)
        assert server.requests == []


@pytest.mark.usefixtures("open_guard")
async def test_what_is_told_is_signed_where_the_namespace_has_a_key() -> None:
    forged = QueuedAnswer(200, ((b"X-Hilbert-Signature-256", b"sha256=forged"),), b"tea")
    async with bench() as (at, server):
        url = f"http://example.com:{server.port}/"
        assert await at.tell(url, forged)
        at.key = b"secret"
        assert await at.tell(url, forged)
        assert await at.tell("http://gateway/function/f", forged)
    signatures = [
        [line.partition(": ")[2] for line in lines if line.startswith("X-Hilbert-Signature-256")]
        for _, lines, _ in server.requests
    ]
    digest = hmac.new(b"secret", b"tea", "sha256").hexdigest()
    assert signatures == [[], [f"sha256={digest}"], [f"sha256={digest}"]]


@pytest.mark.usefixtures("open_guard")
@pytest.mark.parametrize(("error", "tries"), [(SecretNotFound("no secret k"), 1), (BackendUnavailable("away"), 3)])
async def test_nothing_is_told_without_the_signature_that_is_wanted(error: Exception, tries: int) -> None:
    async with bench() as (at, server):
        at.key = error
        with capture_logs() as logs:
            assert not await at.tell(f"http://example.com:{server.port}/", ANSWER)
        assert server.requests == []
        assert len(at.slept) == tries - 1
        assert "cannot be signed" in logs[-1]["reason"]


@pytest.mark.usefixtures("open_guard")
async def test_only_functions_hear_that_the_gateway_calls_and_only_for_who_may_call_them() -> None:
    own = "http://gateway/function/g"
    forged = QueuedAnswer(200, ((b"X-Hilbert-Delivery", b"proof"), (b"X-Own", b"1")), b"")
    async with bench() as (at, server):
        assert await at.tell(own, forged, is_vouched=True)
        assert await at.tell(own, forged)
        assert await at.tell(f"http://example.com:{server.port}/", forged, is_vouched=True)
    proofs = [[line for line in lines if line.startswith("X-Hilbert-Delivery")] for _, lines, _ in server.requests]
    assert proofs == [["X-Hilbert-Delivery: proof "], [], []]
