"""Messages that are sent together: nothing is late, nothing overtakes another."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hilbert.kit.http1 import (
    ClientConnection,
    Headers,
    Limits,
    Outbox,
    Pool,
    Request,
    Responder,
    ServerConnection,
    TimerWheel,
)
from hilbert.kit.http1.outbox import _MOST
from support.transports import ManualLoop, MemoryTransport

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Turn:
    """The end of a loop's turn, which the test brings about."""

    def __init__(self) -> None:
        self._soon: list[Callable[[], None]] = []

    def call_soon(self, callback: Callable[[], None]) -> None:
        self._soon.append(callback)

    def end(self) -> int:
        """How many callbacks there were."""
        soon, self._soon = self._soon, []
        for callback in soon:
            callback()
        return len(soon)


class At:
    """Answers at once."""

    def __init__(self, request: Request, responder: Responder) -> None:
        del request
        self.responder = responder
        responder.answer(200, b"", b"ok")

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self, trailers: Headers) -> None: ...

    def on_abort(self) -> None: ...

    def on_drain(self) -> None: ...


@pytest.fixture
def turn() -> Turn:
    return Turn()


@pytest.fixture
def outbox(turn: Turn) -> Outbox:
    return Outbox(turn)  # type: ignore[arg-type]  # what it uses of a loop


@pytest.fixture
def wheel() -> TimerWheel:
    return TimerWheel(loop=ManualLoop())  # type: ignore[arg-type]  # what it uses of a loop


def served(outbox: Outbox, wheel: TimerWheel) -> tuple[ServerConnection, MemoryTransport]:
    connection = ServerConnection(At, Limits(), wheel, outbox=outbox)
    transport = MemoryTransport()
    connection.connection_made(transport)  # type: ignore[arg-type]  # what it uses of a transport
    return connection, transport


def test_answers_go_at_the_end_of_the_turn(turn: Turn, outbox: Outbox, wheel: TimerWheel) -> None:
    """All of them, in order, and one callback is enough; the next turn is the same."""
    pairs = [served(outbox, wheel) for _ in range(3)]
    for _ in range(2):
        for connection, _ in pairs:
            connection.data_received(GET + GET)
        assert not any(transport.sent for _, transport in pairs)
        assert turn.end() == 1
        for _, transport in pairs:
            assert transport.sent == OK * 2
            transport.sent = b""
    assert turn.end() == 0


def test_many_do_not_wait(turn: Turn, outbox: Outbox, wheel: TimerWheel) -> None:
    """They go as soon as there are enough of them."""
    connection, transport = served(outbox, wheel)
    for _ in range(_MOST):
        connection.data_received(GET)
    assert transport.sent == OK * _MOST
    connection.data_received(GET)
    assert transport.sent == OK * _MOST
    assert turn.end() == 1
    assert transport.sent == OK * (_MOST + 1)


def test_nothing_overtakes_an_answer(outbox: Outbox, wheel: TimerWheel) -> None:
    """A refusal behind it comes behind it, and closes after it."""
    connection, transport = served(outbox, wheel)
    connection.data_received(GET + b"nonsense\r\n\r\n")
    assert transport.sent.startswith(OK + b"HTTP/1.1 501 ")
    assert transport.ended


@pytest.mark.parametrize("last", ["close", "eof", "lost", "cut"])
def test_answer_goes_before_the_connection(outbox: Outbox, wheel: TimerWheel, last: str) -> None:
    """However it ends."""
    connection, transport = served(outbox, wheel)
    connection.data_received(GET)
    {
        "close": connection.drain,
        "eof": connection.eof_received,
        "lost": lambda: connection.connection_lost(None),
        "cut": connection.cut,
    }[last]()
    assert transport.sent == OK


def test_requests_are_held_alike(turn: Turn, outbox: Outbox, wheel: TimerWheel) -> None:
    """Whole ones; the head of one that has more to come goes at once, and behind those."""
    pool = Pool("unix:/nowhere", wheel, outbox=outbox)
    one, other = ClientConnection(pool), ClientConnection(pool)
    transports = [MemoryTransport(), MemoryTransport()]
    for connection, transport in zip((one, other), transports, strict=True):
        connection.connection_made(transport)  # type: ignore[arg-type]  # what it uses of a transport
    one.request(GET, None, bodyless=False, whole=True, chunked=False)  # type: ignore[arg-type]  # nobody listens
    assert transports[0].sent == b""
    other.request(b"POST", None, bodyless=False, whole=False, chunked=False)  # type: ignore[arg-type]
    assert [transport.sent for transport in transports] == [GET, b"POST"]
    turn.end()
    assert [transport.sent for transport in transports] == [GET, b"POST"]
