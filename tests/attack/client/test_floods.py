"""A hostile client sends without end, holds without reading, or comes in numbers: a worker's memory is bounded, and others are served.

Each case names the CVE of a comparable system, where there is one.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from attack.victim import MIB, assert_nobody_waits, unharmed
from hilbert.core.model import CallPolicy, Route
from support.dataplane import Plane, until
from support.replicas import Call
from support.wire import Closed, Wire

ENOUGH = 64 * MIB
"""Bytes that a flood sends at most, if nobody stops it."""

HEAD = b"POST /function/%b HTTP/1.1\r\nHost: x\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

FLOODS = {
    # CVE-2018-12121 (Node.js), CVE-2023-45288 (Go, in HTTP/2): headers without end.
    "a header without end": (HEAD + b"X: ", itertools.repeat(b"a" * 65536), 431),
    "headers without end": (HEAD, itertools.repeat(b"A: b\r\n" * 11000), 431),
    "a target without end": (b"GET /function/%b?", itertools.repeat(b"a" * 65536), 431),
    "a target of other bytes without end": (b"GET /function/%b?", itertools.repeat(b"\xff" * 65536), 431),
    "empty lines without end": (b"", itertools.repeat(b"\r\n" * 32768), 431),
    # CVE-2013-4322 (Tomcat): trailers. CVE-2023-39326 (Go), CVE-2024-22019 (Node.js), CVE-2012-3544 (Tomcat): extensions.
    "trailers without end": (CHUNKED + b"3\r\nabc\r\n0\r\n", itertools.repeat(b"A: b\r\n" * 11000), 431),
    "a trailer without end": (CHUNKED + b"3\r\nabc\r\n0\r\nX: ", itertools.repeat(b"a" * 65536), 413),
    "an extension without end": (CHUNKED + b"3;", itertools.repeat(b"a" * 65536), 413),
    "an extension for each byte": (CHUNKED, itertools.repeat((b"1;" + b"e" * 4000 + b"\r\nx\r\n") * 16), 413),
    "a chunk size without end": (CHUNKED, itertools.repeat(b"0" * 65536), 413),
}  # fmt: skip


def send_until_stopped(wire: Wire, parts: Iterator[bytes], stopped: threading.Event) -> None:
    sent = 0
    try:
        for part in parts:
            wire.send(part)
            sent += len(part)
            if sent > ENOUGH:
                return
    except OSError:
        stopped.set()


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.bound("request-head", "request-headers", "request-trailers", "request-framing")
def test_floods_are_stopped(plane: Plane, kind: str) -> None:
    """The status says what was too much; the connection closes."""
    first, parts, status = FLOODS[kind]
    name, _ = plane.function(lambda call: call.answer(call.body()))
    with unharmed(plane), plane.connect() as wire:
        wire.send(first.replace(b"%b", name.encode()))
        stopped = threading.Event()
        sender = threading.Thread(target=send_until_stopped, args=(wire, parts, stopped))
        sender.start()
        with contextlib.suppress(Closed, ConnectionError):
            assert wire.response().status == status
        sender.join(30)
        assert stopped.is_set(), "nobody stopped it"


@pytest.mark.bound("request-trailers")
@pytest.mark.parametrize("kind", FLOODS)
def test_nobody_waits_for_a_flood(plane: Plane, kind: str) -> None:
    """A function that is called by somebody else answers as fast as ever."""
    first, parts, _ = FLOODS[kind]
    name, _ = plane.function(lambda call: call.answer(call.body()))
    whole = first.replace(b"%b", name.encode()) + b"".join(itertools.islice(parts, 32))

    def attack() -> None:
        with contextlib.suppress(OSError), plane.connect() as wire:
            wire.send(whole)

    assert_nobody_waits(plane, attack)


@pytest.mark.parametrize("lines", [200, 300])
def test_trailers_up_to_the_limit_pass(plane: Plane, lines: int) -> None:
    name, (replica,) = plane.function()
    trailers = b"".join(b"X-%d: a\r\n" % number for number in range(lines))
    with plane.connect() as wire:
        wire.send(CHUNKED % name.encode() + b"3\r\nabc\r\n0\r\n" + trailers + b"\r\n")
        assert wire.response().status == (200 if lines < 256 else 431)
    if lines < 256:
        assert len(replica.calls[0].head.trailers) == lines


def test_many_small_chunks_pass(plane: Plane) -> None:
    """A client that sends a byte at a time is slow, not hostile."""
    name, _ = plane.function()
    count = 30_000
    with plane.connect() as wire:
        wire.send(CHUNKED % name.encode() + b"1\r\nx\r\n" * count + b"0\r\n\r\n")
        assert wire.response().body == b"x" * count


def count_body(call: Call) -> None:
    """Answers with the number of bytes that it got."""
    if length := call.head.get("Content-Length"):
        got = len(call.wire.exactly(int(length)))
    else:
        got = 0
        while chunk := call.wire.chunk():
            got += len(chunk)
    call.answer(b"%d" % got)


@pytest.mark.parametrize("framing", ["length", "chunks"])
@pytest.mark.bound("pipelined-bytes")
def test_a_long_body_behind_a_slow_call(plane: Plane, framing: str) -> None:
    """Reading stops; both are answered in the end, and the body is whole."""
    go = threading.Event()

    def slow(call: Call) -> None:
        assert go.wait(30)
        call.answer(b"slow")

    first, _ = plane.function(slow)
    second, _ = plane.function(count_body)
    total = 64 * MIB
    sent = 0

    def push(wire: Wire) -> None:
        nonlocal sent
        part = bytes(MIB)
        for _ in range(total // MIB):
            wire.send(part if framing == "length" else b"%x\r\n%b\r\n" % (MIB, part))
            sent += MIB
        if framing == "chunks":
            wire.send(b"0\r\n\r\n")

    last = -1

    def stuck() -> bool:
        nonlocal last
        last, was = sent, last
        return sent == was and sent > 0

    with unharmed(plane), plane.connect() as wire:
        how = b"Content-Length: %d\r\n\r\n" % total if framing == "length" else b"Transfer-Encoding: chunked\r\n\r\n"
        wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\n\r\n" % first.encode())
        wire.send(HEAD % second.encode() + how)
        pusher = threading.Thread(target=push, args=(wire,))
        pusher.start()
        for _ in range(5):
            until(stuck, what="the client to be held up")
        assert sent < total / 2
        go.set()
        assert wire.response().body == b"slow"
        assert wire.response().body == b"%d" % total
        pusher.join(30)


@pytest.mark.bound("pipelined-bytes")
def test_many_bodies_behind_a_slow_call(plane: Plane) -> None:
    """Many short ones are as much as a long one."""
    go = threading.Event()
    first, _ = plane.function(lambda call: (go.wait(30), call.answer(b"slow")))
    second, _ = plane.function()
    body = bytes(60_000)
    count = 400
    with unharmed(plane), plane.connect() as wire:
        wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\n\r\n" % first.encode())
        request = HEAD % second.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        pusher = threading.Thread(target=lambda: [wire.send(request) for _ in range(count)])
        pusher.start()
        go.set()
        assert wire.response().body == b"slow"
        for _ in range(count):
            assert wire.response().body == body
        pusher.join(30)


@pytest.mark.bound("waiting-bytes")
def test_bodies_of_calls_that_wait_are_bounded_over_all_functions() -> None:
    """Functions at zero that do not start; those beyond the bound are refused, and room is made when others go."""
    plane = Plane(max_waiting_bytes="1Mi")
    try:
        wires = []
        for number in range(30):
            plane.put(f"cold{number}")
            wire = plane.connect()
            wires.append(wire)
            wire.send(HEAD % b"cold%d" % number + b"Content-Length: 60000\r\n\r\n" + bytes(60000))
        refused = 30 - 1024 * 1024 // 60000
        until(
            lambda: sum(plane.waiting(f"cold{number}") for number in range(30)) == 30 - refused,
            what="the calls to wait",
        )
        answers = []
        for wire in wires:
            wire.sock.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                answers.append(wire.response())
        assert [answer.status for answer in answers] == [503] * refused
        assert all(b"gateway.max_waiting_bytes" in answer.body for answer in answers)
        for wire in wires:
            wire.close()
        until(lambda: not any(plane.waiting(f"cold{number}") for number in range(30)), what="them to leave")
        with plane.connect() as wire:
            plane.on_wake = lambda ref: plane.feed.put(route)
            route = Route("openfaas-fn", "cold0", (plane.replica().endpoint,))
            wire.send(HEAD % b"cold0" + b"Content-Length: 3\r\n\r\nabc")
            assert wire.response().body == b"abc"
    finally:
        plane.close()


@pytest.mark.bound("held")
def test_a_long_body_for_a_function_at_zero(plane: Plane) -> None:
    """It is kept up to a bound, and the client waits like its call; then it goes through whole."""
    plane.put("asleep")
    total = 64 * MIB
    sent = 0

    def push(wire: Wire) -> None:
        nonlocal sent
        for _ in range(total // MIB):
            wire.send(bytes(MIB))
            sent += MIB

    last = -1

    def stuck() -> bool:
        nonlocal last
        last, was = sent, last
        return sent == was and sent > 0

    with unharmed(plane), plane.connect() as wire:
        wire.send(HEAD % b"asleep" + b"Content-Length: %d\r\n\r\n" % total)
        pusher = threading.Thread(target=push, args=(wire,))
        pusher.start()
        for _ in range(5):
            until(stuck, what="the client to be held up")
        assert sent < total / 2
        plane.put("asleep", plane.replica(count_body).endpoint)
        assert wire.response().body == b"%d" % total
        pusher.join(30)


@pytest.mark.bound("write-time")
def test_clients_that_do_not_read_hold_little(plane: Plane) -> None:
    """The slow read, the other half of Slowloris: each has a bounded part of an answer, for a bounded time."""

    def long(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % ENOUGH)
        with contextlib.suppress(OSError):
            call.wire.send(bytes(ENOUGH))
        raise Closed

    name, _ = plane.function(long)
    before = plane.open_files()
    with unharmed(plane, grows=40 * MIB):
        wires = [plane.connect() for _ in range(30)]
        for wire in wires:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
        until(lambda: plane.open_files() >= before + 30, what="them to be there")
        until(lambda: plane.open_files() <= before + 5, what="them to be cut")
        for wire in wires:
            wire.close()


@pytest.mark.bound("request-head-time")
def test_a_thousand_slow_heads(plane: Plane) -> None:
    """CVE-2007-6750 (Apache, Slowloris): each has its time, and nobody waits for them."""
    with unharmed(plane):
        before = plane.open_files()
        wires = [plane.connect() for _ in range(1000)]
        for wire in wires:
            wire.send(b"GET /function/x HTTP/1.1\r\nX: ")
        # Less a few of earlier cases, which close meanwhile.
        until(lambda: plane.open_files() >= before + 900, what="them to be there")
        until(lambda: plane.open_files() <= before + 10, what="them to be cut")
        for wire in wires:
            wire.close()


def test_what_refused_clients_sent_is_not_kept(plane: Plane) -> None:
    """Each is refused within bounds; many of them leave nothing behind, also while the garbage collector does not come."""
    flood = b"GET /function/x?" + b"a" * (2 * MIB)
    with unharmed(plane, grows=16 * MIB):
        for _ in range(100):
            with contextlib.suppress(OSError), plane.connect() as wire:
                wire.send(flood)


def test_an_answer_without_a_body_says_so(plane: Plane) -> None:
    """304 has no Content-Length unless it is the document's (RFC 9110, 8.6); every answer has one Date (6.6.1)."""
    bare, _ = plane.function(lambda call: call.answer(b"", status=304))
    dated, _ = plane.function(lambda call: call.answer(b"x", headers="Date: Sun, 06 Nov 1994 08:49:37 GMT"))
    answer = plane.call(f"/function/{bare}")
    assert (answer.status, answer.get("Content-Length")) == (304, b"")
    assert answer.get("Date").endswith(b" GMT")
    assert plane.call(f"/function/{dated}").get("Date") == b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert plane.call("/function/nobody").get("Date")
    with plane.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\n\r\n")
        assert wire.response().get("Date")


def test_max_inflight_is_free_again(plane: Plane) -> None:
    """However many attacks have gone by: a function with one place serves on."""
    name, _ = plane.function(policy=CallPolicy(max_inflight=1))
    for _ in range(10):
        wire = plane.connect()
        wire.send(HEAD % name.encode() + b"Content-Length: 5\r\n\r\nab")
        wire.reset()
    assert plane.call(f"/function/{name}", b"x").body == b"x"
