"""Bodies in both directions: nothing held back, nothing piled up, every framing."""

from __future__ import annotations

import hashlib
import threading

import pytest

from support.dataplane import Call, Plane, until
from support.replicas import mirror

MIB = 1024 * 1024


def get(name: str, *, version: str = "1.1", headers: str = "") -> bytes:
    return f"GET /function/{name} HTTP/{version}\r\nHost: x\r\n{headers}\r\n".encode()


@pytest.mark.parametrize("kind", ["text/event-stream", "application/x-ndjson", "text/plain"])
def test_first_byte_is_not_held_back(plane: Plane, kind: str) -> None:
    """The function sends its second chunk only once the client has said that it saw the first."""
    seen = threading.Event()

    def stream(call: Call) -> None:
        call.wire.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        call.wire.send(b"6\r\nfirst\n\r\n")
        assert seen.wait(20)
        call.wire.send(b"7\r\nsecond\n\r\n0\r\n\r\n")

    name, _ = plane.function(stream)
    with plane.connect() as wire:
        wire.send(get(name))
        head = wire.head()
        assert (head.get("Content-Type"), head.get("Transfer-Encoding")) == (kind.encode(), b"chunked")
        assert wire.chunk() == b"first\n"
        seen.set()
        assert wire.chunk() == b"second\n"


def test_head_is_not_held_back(plane: Plane) -> None:
    """The client has the status before the first byte of the body exists."""
    seen = threading.Event()

    def late(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        assert seen.wait(20)
        call.wire.send(b"ok")

    name, _ = plane.function(late)
    with plane.connect() as wire:
        wire.send(get(name))
        assert wire.head().status == 200
        seen.set()
        assert wire.exactly(2) == b"ok"


def test_request_body_is_not_held_back(plane: Plane) -> None:
    """The function answers to the first chunk before the second is sent: both directions at once."""

    def talk(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while chunk := call.wire.chunk():
            call.wire.send(b"%x\r\n%b\r\n" % (len(chunk), chunk.upper()))
        call.wire.send(b"0\r\n\r\n")

    name, _ = plane.function(talk)
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for word in (b"one", b"two", b"three"):
            wire.send(b"%x\r\n%b\r\n" % (len(word), word))
            if word == b"one":
                assert wire.head().status == 200
            assert wire.chunk() == word.upper()
        wire.send(b"0\r\n\r\n")
        assert wire.chunk() == b""


def test_chunked_uploads_with_trailers(plane: Plane) -> None:
    """Chunks arrive as a chunked body, trailers with them; the answer's trailers come back."""

    def with_trailers(call: Call) -> None:
        body = call.body()
        assert call.head.trailers == [(b"X-Sum", b"7")]
        call.wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\nX-After: 1\r\n\r\n"
            % (len(body), body)
        )

    name, _ = plane.function(with_trailers)
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        wire.send(b"3\r\nabc\r\n4;ext=1\r\ndefg\r\n0\r\nX-Sum: 7\r\n\r\n")
        answer = wire.response()
    assert answer.body == b"abcdefg"
    assert answer.trailers == [(b"X-After", b"1")]


def test_large_bodies_both_ways(plane: Plane) -> None:
    """16 MiB up with a length, down as it came, unchanged."""
    name, _ = plane.function()
    body = hashlib.shake_128(b"x").digest(16 * MIB)
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        wire.send(body)
        assert hashlib.sha256(wire.response().body).digest() == hashlib.sha256(body).digest()


def test_slow_reader_does_not_grow_memory(plane: Plane) -> None:
    """256 MiB wait in the function while the client reads nothing; then it gets every byte."""
    total = 256 * MIB
    sent = 0

    def flood(call: Call) -> None:
        nonlocal sent
        call.wire.send(f"HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n".encode())
        part = bytes(MIB)
        while sent < total:
            call.wire.send(part)
            sent += len(part)

    name, _ = plane.function(flood)
    before = plane.memory()
    with plane.connect() as wire:
        wire.send(get(name))
        wire.head()
        last = -1

        def stuck() -> bool:
            nonlocal last
            last, was = sent, last
            return sent == was and sent > 0

        for _ in range(5):
            until(stuck, what="the function to be held up")
        assert sent < total / 4
        assert plane.memory() - before < 24 * MIB
        assert len(wire.exactly(total)) == total
    assert plane.memory() - before < 24 * MIB


def test_slow_function_does_not_grow_memory(plane: Plane) -> None:
    """The client is held up while the function reads nothing."""
    go = threading.Event()
    got = 0

    def dam(call: Call) -> None:
        nonlocal got
        assert go.wait(20)
        got = len(call.body())
        call.answer(b"ok")

    name, _ = plane.function(dam)
    before = plane.memory()
    total = 128 * MIB
    sent = 0
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {total}\r\n\r\n".encode())

        def push() -> None:
            nonlocal sent
            part = bytes(MIB)
            while sent < total:
                wire.send(part)
                sent += len(part)

        pusher = threading.Thread(target=push)
        pusher.start()
        last = -1

        def stuck() -> bool:
            nonlocal last
            last, was = sent, last
            return sent == was and sent > 0

        for _ in range(5):
            until(stuck, what="the client to be held up")
        assert sent < total / 4
        assert plane.memory() - before < 24 * MIB
        go.set()
        assert wire.response().body == b"ok"
        pusher.join()
    assert got == total


def test_expect_continue(plane: Plane) -> None:
    """The client is told to go on, once; the function never sees the header."""
    name, replicas = plane.function(mirror)
    with plane.connect() as wire:
        wire.send(
            f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode()
        )
        assert wire.head().status == 100
        wire.send(b"hi")
        answer = wire.head()
        assert answer.status == 200
    assert not replicas[0].calls[0].head.get("Expect")


def test_expect_continue_is_not_said_to_a_refused_request(plane: Plane) -> None:
    """The final status comes instead, so that the body need not be sent."""
    with plane.connect() as wire:
        wire.send(b"POST /function/nobody HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert wire.head().status == 404
    with plane.connect() as wire:
        wire.send(b"POST /function/nobody HTTP/1.1\r\nHost: x\r\nExpect: tea\r\nContent-Length: 2\r\n\r\n")
        assert wire.head().status == 417


def test_interim_responses_pass(plane: Plane) -> None:
    """103 comes through before the answer; not to HTTP/1.0."""

    def hints(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        call.answer(b"ok")

    name, _ = plane.function(hints)
    with plane.connect() as wire:
        wire.send(get(name))
        early = wire.head()
        assert (early.status, early.get("Link")) == (103, b"</a>")
        assert wire.response().body == b"ok"
    with plane.connect() as wire:
        wire.send(get(name, version="1.0"))
        assert wire.head().status == 200


def test_pipelined_requests_are_answered_in_order(plane: Plane) -> None:
    """Far more than are kept waiting, bodies among them, errors among them."""
    name, replicas = plane.function()
    count = 200
    with plane.connect() as wire:
        burst = b""
        for number in range(count):
            if number % 10 == 9:
                burst += get("nobody")
            else:
                body = b"n%d" % number
                burst += b"POST /function/%b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (
                    name.encode(),
                    len(body),
                    body,
                )
        wire.send(burst)
        for number in range(count):
            answer = wire.response()
            if number % 10 == 9:
                assert answer.status == 404
            else:
                assert answer.body == b"n%d" % number
    assert len(replicas[0].calls) == count * 9 // 10


def test_a_thousand_pipelined_refusals(plane: Plane) -> None:
    """Answers that need no function do not pile up on the stack."""
    with plane.connect() as wire:
        wire.send(get("nobody") * 1000)
        for _ in range(1000):
            assert wire.response().status == 404


def test_bad_request_behind_good_ones(plane: Plane) -> None:
    """What came before it is answered first."""
    name, _ = plane.function()
    with plane.connect() as wire:
        wire.send(get(name) * 3 + b"GET / HTTP/1.1\r\nBad Header\r\n\r\n")
        assert [wire.response().status for _ in range(4)] == [200, 200, 200, 400]
        assert wire.at_end


def test_connection_is_kept_or_closed_as_asked(plane: Plane) -> None:
    """HTTP/1.1 keeps unless told; HTTP/1.0 closes unless told; one upstream connection serves all."""
    name, replicas = plane.function()
    with plane.connect() as wire:
        for _ in range(3):
            wire.send(get(name))
            assert wire.response().body == b"hello"
        wire.send(get(name, version="1.0", headers="Connection: keep-alive\r\n"))
        answer = wire.response()
        assert (answer.body, answer.get("Connection")) == (b"hello", b"keep-alive")
        wire.send(get(name, headers="Connection: close\r\n"))
        assert wire.response().get("Connection") == b"close"
        assert wire.at_end
    with plane.connect() as wire:
        wire.send(get(name, version="1.0"))
        assert wire.response().body == b"hello"
        assert wire.at_end
    assert replicas[0].connections == 1


def test_http10_gets_no_chunks(plane: Plane) -> None:
    """A body of unknown length ends with the connection."""
    name, _ = plane.function(
        lambda call: call.wire.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
        )
    )
    with plane.connect() as wire:
        wire.send(get(name, version="1.0"))
        assert not wire.head().get("Transfer-Encoding")
        assert wire.rest() == b"abc"


def test_function_that_ends_its_body_by_closing(plane: Plane) -> None:
    """As HTTP/1.0 servers do: the client gets chunks with a proper end."""

    def old(call: Call) -> None:
        call.wire.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nall of it")
        call.wire.close()

    name, _ = plane.function(old)
    with plane.connect() as wire:
        for _ in range(2):
            wire.send(get(name))
            assert wire.response().body == b"all of it"


def test_answer_before_the_request_is_whole(plane: Plane) -> None:
    """The client gets it, and the rest of its body goes nowhere."""
    name, _ = plane.function(lambda call: call.answer(b"enough", status=413))
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: {64 * MIB}\r\n\r\n".encode())
        wire.send(bytes(1024))
        answer = wire.response()
        assert (answer.status, answer.body) == (413, b"enough")
        assert wire.at_end


def test_client_that_leaves_cancels_the_call(plane: Plane) -> None:
    """The function's connection closes while it still works on the answer."""
    gone = threading.Event()

    def work(call: Call) -> None:
        if call.wire.some() == b"":
            gone.set()

    name, replicas = plane.function(work)
    wire = plane.connect()
    wire.send(get(name))
    until(lambda: replicas[0].calls, what="the call to arrive")
    wire.close()
    assert gone.wait(20)


def test_client_that_leaves_in_its_body_cancels_the_call(plane: Plane) -> None:
    """The function does not take the part for the whole."""
    ended: list[str] = []

    def work(call: Call) -> None:
        try:
            call.body()
            ended.append("whole")
        except Exception:
            ended.append("cut")
            raise

    name, replicas = plane.function(work)
    wire = plane.connect()
    wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
    until(lambda: replicas[0].calls, what="the call to arrive")
    wire.close()
    assert until(lambda: ended, what="the function to hear of it") == ["cut"]
