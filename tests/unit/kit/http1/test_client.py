"""The client side of a connection, byte by byte, without sockets."""

from __future__ import annotations

import itertools

import pytest

from hilbert.kit.http1 import ClientConnection, Headers, Pool, Response, TimerWheel
from support.transports import ManualLoop, MemoryTransport

OK = b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Noted:
    """A listener that notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.response = Response()
        self.body = b""
        self.trailers: Headers = []
        self.lost: tuple[str, bool, bool] | None = None
        self.early = b""

    def on_inform(self, response: Response) -> None:
        self.heard.append(f"inform {response.status}")

    def on_whole_response(self, response: Response, body: bytes) -> None:
        self.heard.append("whole")
        self.response, self.body = response, body

    def on_response(self, response: Response) -> None:
        self.heard.append("head")
        self.response = response

    def on_response_body(self, data: bytes) -> None:
        self.body += data

    def on_response_pause(self) -> None:
        self.heard.append("pause")

    def on_response_end(self, trailers: Headers) -> None:
        self.heard.append("end")
        self.trailers = trailers

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        self.heard.append("lost")
        self.lost = (reason, begun, reset)

    def on_upstream_deadline(self) -> None:
        self.heard.append("deadline")

    def on_upstream_drain(self) -> None:
        self.heard.append("drain")

    def on_upgraded(self, response: Response, early: bytes) -> None:
        self.heard.append(f"upgraded {response.status}")
        self.early = early


class Bench:
    """One connection in a pool, with a test on both of its sides."""

    def __init__(self) -> None:
        self.loop = ManualLoop()
        wheel = TimerWheel(loop=self.loop)  # type: ignore[arg-type]  # what it uses of a loop
        self.pool = Pool("unix:/nowhere", wheel)
        self.connection = ClientConnection(self.pool)
        self.transport = MemoryTransport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]  # what it uses of a transport

    def ask(self, *, bodyless: bool = False, whole: bool = True, upgrade: bytes = b"") -> Noted:
        listener = Noted()
        self.connection.request(GET, listener, bodyless=bodyless, whole=whole, chunked=False, upgrade=upgrade)
        return listener

    def call(self, *parts: bytes, bodyless: bool = False) -> Noted:
        """One request, and an answer in parts; the connection must be free again then."""
        listener = self.ask(bodyless=bodyless)
        for part in parts:
            self.connection.data_received(part)
        assert self.pool.take() is self.connection
        return listener


def test_whole_response_is_one_event() -> None:
    """The first time, when it is parsed, and the next, when its head is known."""
    bench = Bench()
    for body in (b"ab", b"cd", b"ef"):
        listener = bench.call(OK + body)
        assert listener.heard == ["whole"]
        assert (listener.response.status, listener.response.headers[0], listener.body) == (200, (b"A", b"1"), body)


def test_equal_heads_share_one_response() -> None:
    """So that what is made of it is made once; another head is another one."""
    bench = Bench()
    first, second = bench.call(OK + b"ab"), bench.call(OK + b"cd")
    assert first.response is second.response
    other = bench.call(OK.replace(b"A: 1", b"A: 2") + b"ab")
    assert other.response.headers[0] == (b"A", b"2")


@pytest.mark.parametrize("cut", range(1, len(OK) + 2))
@pytest.mark.parametrize("warm", [False, True])
def test_response_in_two_parts(cut: int, *, warm: bool) -> None:
    """Wherever it is cut, known or not, it is the same response, and so is the one after it."""
    bench = Bench()
    if warm:
        bench.call(OK + b"xy")
    for body in (b"ab", b"cd"):
        data = OK + body
        listener = bench.call(data[:cut], data[cut:])
        assert (listener.response.status, listener.response.headers[0], listener.body) == (200, (b"A", b"1"), body)
        assert listener.heard[-1] in ("whole", "end")


def test_known_head_with_less_or_more_behind_it() -> None:
    """Less: the rest is waited for. More: nobody asked for that, and the connection is not used again."""
    bench = Bench()
    bench.call(OK + b"xy")
    assert bench.call(OK + b"a", b"b").body == b"ab"
    listener = bench.ask()
    bench.connection.data_received(OK + b"ab" + OK + b"cd")
    assert (listener.heard, listener.body) == (["whole"], b"ab")
    assert bench.pool.take() is None
    assert bench.transport.closing


def test_answers_to_head_have_no_body() -> None:
    """Whatever their Content-Length says; and the head of one is no key for the answer to a GET."""
    bench = Bench()
    for _ in range(2):
        assert bench.call(OK, bodyless=True).heard == ["head", "end"]
        assert bench.call(OK + b"ab").body == b"ab"


def test_interim_responses_are_told_each_time() -> None:
    """A head that came behind one is not taken for known without it."""
    bench = Bench()
    for _ in range(2):
        listener = bench.call(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + OK + b"ab")
        assert listener.heard == ["inform 103", "whole"]
        assert listener.response.status == 200


def test_chunks_and_trailers() -> None:
    """Each part is given when it has come."""
    listener = Bench().call(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", b"1\r\nc\r\n", b"0\r\nT: 1\r\n\r\n"
    )
    assert listener.heard == ["head", "pause", "pause", "end"]
    assert (listener.body, listener.trailers) == (b"abc", [(b"T", b"1")])


def test_chunks_that_come_at_once_are_a_whole_response() -> None:
    """One event, as with a Content-Length; not to a HEAD, and not with trailers."""
    bench = Bench()
    listener = bench.ask()
    bench.connection.data_received(
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
    )
    assert (listener.heard, listener.body, listener.response.length) == (["whole"], b"hi!", 3)
    listener = bench.ask()
    bench.connection.data_received(OK + b"ok")
    assert (listener.heard, listener.body) == (["whole"], b"ok")
    listener = bench.ask()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nA: 1\r\n\r\n")
    assert (listener.heard, listener.body, listener.trailers) == (["head", "end"], b"hi", [(b"A", b"1")])


def test_long_body_is_counted() -> None:
    """In whatever parts it comes; the next response is parsed."""
    bench = Bench()
    size = 300_000
    body = b"HTTP/1.1 " * (size // 9 + 1)
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + body[:size]
    places = [*range(0, len(data), 70_001), len(data)]
    for _ in range(2):
        listener = bench.call(*(data[start:end] for start, end in itertools.pairwise(places)))
        assert listener.body == body[:size]
        assert listener.heard[0] == "head"
        assert listener.heard[-1] == "end"
        assert bench.call(OK + b"ab").body == b"ab"


def test_long_body_with_something_behind_it() -> None:
    """It is given as long as it is, and the connection is not used again."""
    bench = Bench()
    listener = bench.ask()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n")
    bench.connection.data_received(bytes(200_001))
    assert (len(listener.body), listener.heard[-1]) == (200_000, "end")
    assert bench.pool.take() is None


def test_body_that_ends_with_the_connection() -> None:
    """Only where nothing else frames it."""
    bench = Bench()
    listener = bench.ask()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\n\r\nab")
    bench.connection.connection_lost(None)
    assert (listener.body, listener.heard) == (b"ab", ["head", "pause", "end"])
    bench = Bench()
    listener = bench.ask()
    bench.connection.data_received(OK + b"a")
    bench.connection.connection_lost(None)
    assert listener.lost == ("connection closed", True, False)


def test_malformed_response() -> None:
    """The listener hears that the upstream is lost, and nothing of the part."""
    bench = Bench()
    listener = bench.ask()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n")
    assert listener.heard == ["lost"]
    assert bench.transport.aborted


def test_answer_before_the_request_is_whole() -> None:
    """The connection is free once the rest is sent, if the listener sends it; it is not used again."""
    bench = Bench()
    listener = bench.ask(whole=False)
    bench.connection.data_received(OK + b"ab")
    assert listener.heard == ["whole"]
    assert bench.pool.take() is None
    bench.connection.end([])
    assert bench.transport.closing


def test_upgrade() -> None:
    """What comes behind the head is another protocol's."""
    bench = Bench()
    listener = bench.ask(upgrade=b"w, X")
    bench.connection.data_received(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nhello"
    )
    assert (listener.heard, listener.early) == (["upgraded 101"], b"hello")


def test_idle_upstream_that_speaks_is_cut() -> None:
    """It may be the rest of an answer to somebody else."""
    bench = Bench()
    bench.call(OK + b"ab")
    bench.connection.data_received(b"x")
    assert bench.transport.aborted
