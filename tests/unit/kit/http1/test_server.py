"""The server side of a connection, byte by byte, without sockets."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hilbert.kit.http1 import Headers, Limits, Request, Responder, ServerConnection, TimerWheel
from hilbert.kit.http1.heads import Heads
from hilbert.kit.http1.limits import LINGER, LINGER_BYTES
from support.transports import ManualLoop, MemoryTransport

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Noted:
    """A handler that notes what comes, and answers when the test says so."""

    def __init__(self, request: Request, responder: Responder) -> None:
        self.request = request
        self.responder = responder
        self.body = b""
        self.ended = False
        self.aborted = False
        self.drained = 0

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_body_end(self, trailers: Headers) -> None:
        self.ended = True
        self.trailers = trailers

    def on_abort(self) -> None:
        self.aborted = True

    def on_drain(self) -> None:
        self.drained += 1

    def answer(self, body: bytes = b"ok") -> None:
        self.responder.start(200, [], length=len(body))
        self.responder.write(body)
        self.responder.end()


class Bench:
    """One connection with a test on both of its sides."""

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        answer: Callable[[Noted], None] | None = None,
        half_close: bool = True,
        heads: Heads | None = None,
    ) -> None:
        self.loop = ManualLoop()
        self.calls: list[Noted] = []
        self.wheel = TimerWheel(loop=self.loop)  # type: ignore[arg-type]  # what it uses of a loop
        self.connection = ServerConnection(
            self._accept, limits or Limits(), self.wheel, half_close=half_close, heads=heads
        )
        self.transport = MemoryTransport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]  # what it uses of a transport
        self._answer = answer

    def _accept(self, request: Request, responder: Responder) -> Noted:
        call = Noted(request, responder)
        self.calls.append(call)
        if self._answer is not None:
            self._answer(call)
        return call

    def feed(self, data: bytes) -> None:
        self.connection.data_received(data)

    def sent(self) -> bytes:
        data, self.transport.sent = self.transport.sent, b""
        return data


def test_request_in_single_bytes() -> None:
    """Framing does not depend on packets."""
    bench = Bench()
    for byte in b"POST /a%20b?c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: 1\r\n\r\n":
        bench.feed(bytes([byte]))
    (call,) = bench.calls
    assert (call.request.method, call.request.target, call.request.length) == (b"POST", b"/a%20b?c", None)
    assert (b"X-A", b"1") in call.request.headers
    assert (call.body, call.ended, call.trailers) == (b"abc", True, [(b"T", b"1")])


def test_chunks_that_come_together_go_on_together() -> None:
    """Else a client with chunks of a byte would keep a worker from everybody else, for next to nothing."""
    pieces: list[bytes] = []
    bench = Bench(answer=lambda call: setattr(call, "on_body", pieces.append))
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000)
    assert b"".join(pieces) == b"x" * 1000
    assert len(pieces) == 1
    bench.feed(b"1\r\ny\r\n" * 3 + b"0\r\n\r\n" + GET)
    assert pieces[1:] == [b"yyy"]
    assert bench.calls[0].ended


@pytest.mark.bound("pipelined")
def test_pipelined_requests_wait_and_reading_stops() -> None:
    """Only one is with a handler; no more than the limit, and one packet, wait."""
    bench = Bench(Limits(pipelined=4))
    bench.feed(GET * 10)
    assert len(bench.calls) == 1
    assert not bench.transport.reading
    for number in range(10):
        assert len(bench.calls) == number + 1
        bench.calls[number].answer()
    assert bench.transport.reading
    assert bench.sent().count(b"200 OK") == 10


def test_packet_of_many_requests_is_parsed_in_slices() -> None:
    """What waits stays small, however much comes at once."""
    bench = Bench(Limits(pipelined=4))
    many = 256 * 1024 // len(GET)
    bench.feed(GET * many)
    assert len(bench.connection._waiting) <= 64 * 1024 // len(GET) + 1
    for number in range(many):
        bench.calls[number].answer()
    assert bench.sent().count(b"200 OK") == many


def test_body_waits_for_its_turn() -> None:
    """A pipelined request's body comes to its handler when that is there."""
    bench = Bench()
    bench.feed(GET + b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    assert len(bench.calls) == 1
    bench.calls[0].answer()
    assert bench.calls[1].body == b"ab"
    bench.feed(b"cd")
    assert (bench.calls[1].body, bench.calls[1].ended) == (b"abcd", True)


def test_pausing_stops_reading() -> None:
    """And what was received but not parsed waits too."""
    bench = Bench()
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n")
    bench.calls[0].responder.pause_body()
    assert not bench.transport.reading
    bench.feed(bytes(200000))
    assert bench.calls[0].body == b""
    bench.calls[0].responder.resume_body()
    assert len(bench.calls[0].body) == 200000
    assert bench.transport.reading


def test_responder_whose_turn_is_over_pauses_nobody() -> None:
    """A late `resume_body` of one call must not undo the pause of the next."""
    bench = Bench()
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na" * 2)
    bench.calls[0].answer()
    bench.calls[1].responder.pause_body()
    bench.calls[0].responder.resume_body()
    assert not bench.transport.reading


def test_unwanted_rest_of_a_body() -> None:
    """A little is read and dropped, and the connection goes on; much is not, and it closes after the answer."""
    bench = Bench(answer=Noted.answer)
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab")
    bench.feed(b"cde" + GET)
    assert len(bench.calls) == 2
    assert not bench.transport.closing
    bench = Bench(answer=Noted.answer)
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\nab")
    assert bench.sent().endswith(b"ok")
    assert bench.transport.ended
    bench.loop.advance(4)
    assert bench.transport.aborted


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("body", [b"", b"x" * 50_000])
@pytest.mark.parametrize("size", [8000, 8300, 60_000])
def test_long_head_in_one_packet(*, size: int, body: bytes, known: bool) -> None:
    """With and without a body behind it, alone and with another request behind that."""
    head = b"POST / HTTP/1.1\r\nHost: x\r\nX: %b\r\nContent-Length: %d\r\n\r\n" % (b"a" * size, len(body))
    for count in (1, 3):
        bench = Bench(answer=Noted.answer, heads=Heads() if known else None)
        bench.feed((head + body) * count)
        assert [len(call.request.headers[1][1]) for call in bench.calls] == [size] * count
        assert bench.sent().count(b"HTTP/1.1 200 ") == count


@pytest.mark.bound("linger")
def test_a_refused_client_may_send_a_little_more() -> None:
    """So that it gets to read the answer; not for long, and not much."""
    for part, times in ((b"x" * 65536, LINGER_BYTES // 65536), (b"", 0)):
        bench = Bench()
        bench.feed(b"GET / HTTP/1.1\r\n\r\n")
        assert bench.sent().startswith(b"HTTP/1.1 400 ")
        for _ in range(times):
            assert not bench.transport.aborted
            bench.feed(part)
        if not times:
            bench.loop.advance(LINGER + 0.2)
        assert bench.transport.aborted


def test_held_head_goes_out_with_the_body() -> None:
    """In one piece; or alone when it is flushed."""
    bench = Bench()
    bench.feed(GET)
    responder = bench.calls[0].responder
    responder.start(200, [(b"A", b"1")], length=2, lines=[b"B: ", b"2\r\n"], hold=True)
    assert bench.sent() == b""
    responder.flush()
    assert bench.sent() == b"HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nContent-Length: 2\r\n\r\n"
    responder.write(b"ok")
    assert bench.sent() == b"ok"


def test_a_connection_may_be_cut_before_it_is_made() -> None:
    """As when a server ends while the kernel hands over one more: what is made then closes at once."""
    loop = ManualLoop()
    connection = ServerConnection(lambda *_: pytest.fail("a call"), Limits(), TimerWheel(loop=loop))  # type: ignore[arg-type]
    connection.cut()
    transport = MemoryTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]
    assert transport.aborted


def test_aborted_answer_cuts_the_connection() -> None:
    """The client must not take the part for the whole."""
    bench = Bench()
    bench.feed(GET)
    bench.calls[0].responder.start(200, [], length=10)
    bench.calls[0].responder.write(b"half")
    bench.calls[0].responder.abort()
    assert bench.transport.aborted


@pytest.mark.parametrize("half_close", [True, False])
def test_client_that_half_closes(*, half_close: bool) -> None:
    """With `half_close` all its requests are answered; without, it counts as gone."""
    bench = Bench(half_close=half_close)
    bench.feed(GET * 2)
    assert bench.connection.eof_received() == half_close
    if half_close:
        bench.calls[0].answer()
        bench.calls[1].answer()
        assert bench.sent().count(b"200 OK") == 2
        assert bench.transport.closing
    else:
        bench.connection.connection_lost(None)
        assert bench.calls[0].aborted


def test_client_that_goes_aborts_the_call_once() -> None:
    """What is written later is dropped."""
    bench = Bench()
    bench.feed(GET)
    bench.connection.connection_lost(None)
    assert bench.calls[0].aborted
    bench.calls[0].answer()
    assert bench.sent() == b""


def test_slow_client_is_cut_only_if_it_takes_nothing() -> None:
    """Any byte gains it time."""
    bench = Bench(Limits(write_time=10))
    bench.feed(GET)
    bench.calls[0].responder.start(200, [])
    bench.transport.unsent = 1000
    bench.connection.pause_writing()
    bench.loop.advance(9)
    bench.transport.unsent = 900
    bench.loop.advance(9)
    assert not bench.transport.closing
    bench.loop.advance(12)
    assert bench.transport.aborted


def test_answer_that_is_never_read_does_not_hold_a_closed_connection() -> None:
    """Closing waits for what is to be sent, within the limit."""
    bench = Bench(Limits(write_time=10), answer=Noted.answer)
    bench.transport.unsent = 100
    bench.feed(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert bench.transport.closing
    assert not bench.transport.aborted
    bench.loop.advance(11)
    assert bench.transport.aborted


def test_long_call_has_no_deadline() -> None:
    """Neither the idle limit nor the body's counts while the handler works."""
    bench = Bench(Limits(keep_alive=1, body_time=1, head_time=1))
    bench.feed(GET)
    bench.loop.advance(100)
    bench.calls[0].answer()
    assert bench.sent().endswith(b"ok")
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na")
    bench.loop.advance(100)
    bench.calls[1].answer()
    assert bench.sent().endswith(b"ok")
    bench.loop.advance(2)
    assert bench.transport.closing


def test_paused_body_has_no_deadline() -> None:
    """It is the handler that is slow; once it goes on, the client's time runs again."""
    bench = Bench(Limits(body_time=1))
    bench.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
    bench.calls[0].responder.pause_body()
    bench.loop.advance(50)
    assert not bench.calls[0].aborted
    bench.calls[0].responder.resume_body()
    bench.loop.advance(2)
    assert bench.calls[0].aborted
    assert b" 408 " in bench.sent()


def test_draining() -> None:
    """Marked: one more answer, which says so. Drained: an idle connection closes."""
    bench = Bench(answer=Noted.answer)
    bench.connection.draining = True
    bench.feed(GET)
    assert b"Connection: close" in bench.sent()
    assert bench.transport.closing
    idle = Bench()
    idle.connection.drain()
    assert idle.transport.closing


POST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n"


def test_requests_with_one_head_share_it() -> None:
    """From the third on, also on another connection; the bodies are their own."""
    heads = Heads()
    one, two = Bench(heads=heads), Bench(heads=heads)
    for body in (b"123", b"456", b"abc", b"def"):
        one.feed(POST + body)
        one.calls[-1].answer()
    two.feed(POST + b"ghi")
    _, _, first, second, third = *one.calls, *two.calls
    assert first.request is second.request is third.request
    assert [call.body for call in (first, second, third)] == [b"abc", b"def", b"ghi"]
    assert third.ended
    assert one.sent().count(b"200 OK") == 4


@pytest.mark.parametrize("cut", [10, len(POST), len(POST) + 1])
def test_known_head_whose_request_comes_in_parts(cut: int) -> None:
    """It is parsed as ever."""
    heads = Heads()
    bench = Bench(heads=heads)
    for _ in range(3):
        bench.feed(POST + b"abc")
        bench.calls[-1].answer()
    assert len(heads) == 1
    bench.feed((POST + b"def")[:cut])
    bench.feed((POST + b"def")[cut:] + GET)
    assert (bench.calls[3].body, bench.calls[3].ended) == (b"def", True)
    bench.calls[3].answer()
    assert bench.calls[4].request.method == b"GET"


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 2048 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n",
    ],
)
def test_heads_that_are_not_remembered(head: bytes) -> None:
    """What needs care, what is long, what is refused, what is none; and what has not come often."""
    heads = Heads()
    for _ in range(4):
        Bench(heads=heads).feed(head)
    good = b"GET / HTTP/1.1\r\nHost: good\r\n\r\n"
    for _ in range(2):
        Bench(heads=heads).feed(good)
        assert len(heads) == 0
    Bench(heads=heads).feed(good)
    assert len(heads) == 1


def test_heads_are_bounded() -> None:
    """However many there are."""
    heads = Heads(most=8)
    bench = Bench(answer=Noted.answer, heads=heads)
    for number in range(100):
        for _ in range(3):
            more = b"X-%d: y\r\n" % number * (number % 20)
            bench.feed(b"GET /%d HTTP/1.1\r\nHost: x\r\n%bX-Number: %d\r\n\r\n" % (number, more, number))
        assert 0 < len(heads) <= 8
        assert 0 < len(heads._lines) <= 8
        assert 0 < len(heads._lines._names) <= 8
        assert 0 < len(heads._shapes) <= 8
    assert [call.request.target for call in bench.calls] == [b"/%d" % (number // 3) for number in range(300)]


class Taking(Noted):
    """A handler that takes the body at once when it can."""

    def __init__(self, request: Request, responder: Responder) -> None:
        super().__init__(request, responder)
        self.taken = responder.take_body()


@pytest.mark.parametrize("known", [False, True])
def test_body_that_came_with_the_head_can_be_taken(*, known: bool) -> None:
    """Then it is not given once more; and what comes behind it is the next request."""
    heads = Heads()
    for _ in range(3 if known else 0):
        Bench(heads=heads).feed(POST + b"xyz")
    calls: list[Taking] = []

    def accept(request: Request, responder: Responder) -> Taking:
        calls.append(Taking(request, responder))
        return calls[-1]

    wheel = TimerWheel(loop=ManualLoop())  # type: ignore[arg-type]  # what it uses of a loop
    connection = ServerConnection(accept, Limits(), wheel, heads=heads)
    connection.connection_made(MemoryTransport())  # type: ignore[arg-type]  # what it uses of a transport
    connection.data_received(POST + b"abc")
    assert (calls[0].taken, calls[0].body, calls[0].ended) == (b"abc", b"", False)
    calls[0].answer()
    connection.data_received(POST + b"d")
    assert calls[1].taken is None
    connection.data_received(b"ef")
    assert (calls[1].body, calls[1].ended) == (b"def", True)


def test_long_body_is_counted() -> None:
    """In whatever parts it comes, and what follows it is parsed."""
    bench = Bench(answer=None)
    size = 300_000
    data = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size + b"\r\n\r\n" * (size // 4) + GET
    for start in range(0, len(data), 70_001):
        bench.feed(data[start : start + 70_001])
    assert bench.calls[0].body == b"\r\n\r\n" * (size // 4)
    assert bench.calls[0].ended
    bench.calls[0].answer()
    assert bench.calls[1].request.method == b"GET"


def test_whole_answer() -> None:
    """In one piece where nothing stands against it, else with all that the case asks for."""
    bench = Bench()
    bench.feed(GET)
    bench.calls[0].responder.answer(200, b"A: 1\r\n", b"ok")
    assert bench.sent() == b"HTTP/1.1 200 OK\r\nA: 1\r\nContent-Length: 2\r\n\r\nok"
    bench.feed(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n")
    bench.calls[1].responder.answer(200, b"", b"ok")
    assert bench.sent() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    bench.feed(GET)
    bench.calls[2].responder.answer(204, b"", b"")
    assert bench.sent() == b"HTTP/1.1 204 No Content\r\n\r\n"
    bench.feed(b"GET / HTTP/1.0\r\n\r\n")
    bench.calls[3].responder.answer(200, b"", b"ok")
    assert bench.sent() == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert bench.transport.closing


@pytest.mark.parametrize("heads", [None, Heads()])
def test_finished_calls_leave_no_circle(heads: Heads | None) -> None:
    """They are freed at once, so that the garbage collector has nothing to do."""
    import gc
    import weakref

    bench = Bench(answer=Noted.answer, heads=heads)
    gc.disable()
    try:
        for _ in range(2):
            bench.feed(GET)
            gone = weakref.ref(bench.calls.pop())
            bench.feed(GET)
            assert gone() is None
    finally:
        gc.enable()
