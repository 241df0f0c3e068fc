"""What strangers send: refused with the right status, the connection closed, nobody else disturbed."""

from __future__ import annotations

import contextlib
import resource
import socket

import pytest

from support.dataplane import Plane, until
from support.wire import Wire

HEAD = b"POST /function/%b HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"Content-Length: 3, 3\r\n\r\nabc",
        b"Content-Length: +3\r\n\r\nabc",
        b"Content-Length: -3\r\n\r\nabc",
        b"Content-Length: 0x3\r\n\r\nabc",
        b"Content-Length: 3 3\r\n\r\nabc",
        b"Content-Length: 99999999999999999999\r\n\r\nabc",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        b"X: a\rb\r\n\r\n",
        b"X: a\nY: b\r\n\r\n",
        b"X: a\n\n",
        b"X: a\r\n b\r\n\r\n",
        b"X: a\r\n\tb\r\n\r\n",
        b"X: a\x00b\r\n\r\n",
        b"X\x00: a\r\n\r\n",
        b"X: a\x0bb\r\n\r\n",
        b": a\r\n\r\n",
        b"X\r\n\r\n",
        b"X Y: a\r\n\r\n",
        b"Host: x\r\n\r\n",
        b"Host: y\r\n\r\n",
    ],
)
def test_ambiguous_heads(plane: Plane, lines: bytes) -> None:
    """400 (501 for unknown encodings) and the connection is closed: no function sees a byte."""
    name, replicas = plane.function()
    with plane.connect() as wire:
        wire.send(HEAD % name.encode() + lines)
        answer = wire.response()
        assert answer.status == (501 if b"xchunked" in lines else 400)
        assert answer.get("Connection") == b"close"
        assert answer.get("X-Hilbert-Error") == b"bad-request"
        assert wire.at_end
    assert replicas[0].calls == []


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"GET /function/%b HTTP/1.1\n", 400),
        (b"GET ftp://x/function/%b HTTP/1.1\r\n", 400),
        (b"GET http:///function/%b HTTP/1.1\r\n", 400),
        (b"GET http://user@x/function/%b HTTP/1.1\r\n", 400),
        (b"GET http://x:99999/function/%b HTTP/1.1\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\n", 400),
        (b"GET * HTTP/1.1\r\n", 400),
        (b"GET function/%b HTTP/1.1\r\n", 400),
        (b"GET /function/%b\r\n", 505),
        (b"GET /function/%b HTTP/2.0\r\n", 505),
        (b"GET /function/%b HTTP/1.2\r\n", 400),
        (b"GET /function/%b HTTP/1.10\r\n", 400),
        (b"GET /function/%b HTTX/1.1\r\n", 400),
        (b"GET /function/%b x HTTP/1.1\r\n", 400),
        (b"GET /function/%b\x00 HTTP/1.1\r\n", 400),
        (b"GET /function/%b\xff x HTTP/1.1\r\n", 400),
        (b"GET\xff /function/%b HTTP/1.1\r\n", 501),
        (b"get /function/%b HTTP/1.1\r\n", 501),
        (b" GET /function/%b HTTP/1.1\r\n", 501),
        (b"PRI * HTTP/2.0\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", 501),
    ],
)
def test_request_lines(plane: Plane, line: bytes, status: int) -> None:
    """Absolute form, other versions, other protocols."""
    name, replicas = plane.function()
    with plane.connect() as wire:
        wire.send(line.replace(b"%b", name.encode()) + b"Host: x\r\n\r\n")
        assert wire.response().status == status
        assert wire.at_end
    assert replicas[0].calls == []


def test_host_is_needed(plane: Plane) -> None:
    """By HTTP/1.1; HTTP/1.0 may come without, an empty one is a Host."""
    name, _ = plane.function()
    for version, lines, status in (
        ("1.1", "", 400),
        ("1.0", "", 200),
        ("1.1", "Host:\r\n", 200),
        ("1.0", "Host: a\r\nHost: a\r\n", 400),
    ):
        with plane.connect() as wire:
            wire.send(f"GET /function/{name} HTTP/{version}\r\n{lines}\r\n".encode())
            assert wire.response().status == status


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\n",
        b"-1\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"fffffffffffffffff\r\nabc\r\n",
        b"3\nabc\r\n",
        b"3 \r\nabc\r\n",
        b"3\r\nabcd\r\n",
        b"3\r\nabc\n",
        b"\r\n",
        b"3;\x00\r\nabc\r\n",
        b"3\r\nabc\r\n0\r\nBad Trailer\r\n\r\n",
    ],
)
def test_bad_chunks(plane: Plane, body: bytes) -> None:
    """The function never takes what came before for a whole body."""
    whole: list[bytes] = []
    name, _ = plane.function(lambda call: whole.append(call.body()))
    with plane.connect() as wire:
        wire.send(HEAD % name.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + body)
        assert wire.response().status == 400
        assert wire.at_end
    assert whole == []


def test_smuggled_request_is_never_served(plane: Plane) -> None:
    """The bytes behind a refused request are not a request."""
    name, _ = plane.function()
    other, replicas = plane.function()
    inner = f"GET /function/{other} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with plane.connect() as wire:
        wire.send(HEAD % name.encode() + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner)
        assert wire.response().status == 400
        assert wire.at_end
    with plane.connect() as wire:
        wire.send(HEAD % name.encode() + b"Connection: close\r\nContent-Length: 0\r\n\r\n" + inner)
        assert wire.response().status == 200
        assert wire.at_end
    assert replicas[0].calls == []


@pytest.mark.bound("request-head")
def test_headers_over_the_limit(hasty: Plane) -> None:
    """431, whether in one header, in many, in the path, at once or byte by byte."""
    name, replicas = hasty.function()
    head = f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n".encode()
    for big in (b"X: " + b"a" * 2100 + b"\r\n\r\n", b"".join(b"X%d: a\r\n" % n for n in range(300)) + b"\r\n"):
        with hasty.connect() as wire:
            wire.send(head + big)
            assert wire.response().status == 431
            assert wire.at_end
    with hasty.connect() as wire:
        wire.send(f"GET /function/{name}?{'a' * 2100} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.response().status == 431
    with hasty.connect() as wire:
        wire.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire.send(head + b"X: ")
        with contextlib.suppress(OSError):
            for _ in range(50):
                wire.send(b"a" * 50)
        assert wire.response().status == 431
    assert replicas[0].calls == []


def test_headers_over_the_limit_behind_another_request(hasty: Plane) -> None:
    """The limit counts for each request."""
    name, replicas = hasty.function()
    small = f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n".encode()
    with hasty.connect() as wire:
        wire.send(small + b"\r\n" + small + b"X: " + b"a" * 2100 + b"\r\n\r\n")
        assert wire.response().status == 200
        assert wire.response().status == 431
        assert wire.at_end
    assert len(replicas[0].calls) == 1
    with hasty.connect() as wire:  # Many requests in one packet are more than the limit together, and fine.
        wire.send((small + b"\r\n") * 60)
        assert {wire.response().status for _ in range(60)} == {200}


@pytest.mark.bound("request-body")
def test_bodies_over_the_limit(hasty: Plane) -> None:
    """413 from Content-Length before a byte of it is taken, or once chunks exceed it."""
    name, replicas = hasty.function()
    with hasty.connect() as wire:
        wire.send(HEAD % name.encode() + b"Content-Length: 65537\r\n\r\n")
        assert wire.response().status == 413
        assert wire.at_end
    assert replicas[0].calls == []
    with hasty.connect() as wire:
        wire.send(HEAD % name.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(5):
                wire.send(b"4000\r\n" + bytes(0x4000) + b"\r\n")
        assert wire.response().status == 413
    assert len(hasty.call(f"/function/{name}", bytes(65536)).body) == 65536


@pytest.mark.bound("request-head-time")
def test_slow_headers(hasty: Plane) -> None:
    """408; a byte now and then gains no time."""
    name, replicas = hasty.function()
    with hasty.connect() as wire:
        wire.send(b"GET /fun")
        assert wire.response().status == 408
        assert wire.at_end
    with hasty.connect() as wire:
        wire.sock.settimeout(0.02)
        refused = b""
        for byte in f"GET /function/{name} HTTP/1.1\r\nHost: x\r\nX: {'a' * 1000}".encode():
            with contextlib.suppress(TimeoutError, OSError):
                wire.send(bytes([byte]))
                refused += wire.sock.recv(1000)
            if refused:
                break
        assert refused.startswith(b"HTTP/1.1 408 ")
    assert replicas[0].calls == []


@pytest.mark.bound("request-body-time")
def test_slow_body(hasty: Plane) -> None:
    """408, and the function hears that the call is off."""
    whole: list[bytes] = []
    name, _ = hasty.function(lambda call: whole.append(call.body()))
    with hasty.connect() as wire:
        wire.send(HEAD % name.encode() + b"Content-Length: 5\r\n\r\nab")
        answer = wire.response()
        assert answer.status == 408
        assert wire.at_end
    assert whole == []


@pytest.mark.bound("idle-time")
def test_idle_connections_are_closed(hasty: Plane) -> None:
    """New ones and used ones, without a word."""
    name, _ = hasty.function()
    with hasty.connect() as new, hasty.connect() as used:
        used.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert used.response().status == 200
        assert new.at_end
        assert used.at_end


def test_slow_function_is_no_slow_client(hasty: Plane) -> None:
    """The client's limits do not count while the function takes its time."""
    waits = hasty.settings.gateway.read_timeout.seconds * 3

    def slow(call: object) -> None:
        import time

        time.sleep(waits)
        call.answer(b"ok")  # type: ignore[attr-defined]

    name, _ = hasty.function(slow)
    assert hasty.call(f"/function/{name}").body == b"ok"


@pytest.mark.bound("write-time")
def test_client_that_reads_nothing_is_cut(hasty: Plane) -> None:
    """It takes no byte of what is ready for it: its connection and its call end."""
    ended: list[bool] = []

    def flood(call: object) -> None:
        try:
            call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")  # type: ignore[attr-defined]
            while True:
                call.wire.send(b"10000\r\n" + bytes(65536) + b"\r\n")  # type: ignore[attr-defined]
        finally:
            ended.append(True)

    name, _ = hasty.function(flood)
    with hasty.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: ended, what="the call to be cut")


@pytest.mark.bound("connections")
def test_connections_above_the_limit_are_turned_away() -> None:
    """503 at once, with what to do; those that are there go on."""
    plane = Plane(max_connections=3)
    try:
        name, _ = plane.function()
        wires = [plane.connect_from(f"127.0.0.{number}") for number in range(2, 5)]
        before = plane.open_files()
        for wire in wires:
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n".encode())
        until(lambda: plane.open_files() >= before, what="them to be there")
        with plane.connect() as extra:
            answer = extra.response()
            assert (answer.status, answer.get("Retry-After")) == (503, b"1")
            assert b"gateway.max_connections" in answer.body
        wires[0].close()
        until(lambda: plane.call(f"/function/{name}").status == 200, what="room for another")
        for wire in wires[1:]:
            wire.send(b"\r\n")
            assert wire.response().status == 200
            wire.close()
    finally:
        plane.close()


def test_ten_thousand_idle_and_dribbling_connections(plane: Plane) -> None:
    """They do not stop a client that behaves."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 10_000
    if hard != resource.RLIM_INFINITY and hard < wanted + 500:
        wanted = (hard - 500) // 10 * 10  # As many as this process may have open, less what the tests need.
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted + 500), hard))
    name, _ = plane.function()
    wires: list[Wire] = []
    try:
        for number in range(wanted):
            wire = plane.connect()
            wires.append(wire)
            if number % 2:
                wire.send(b"GET /function/x HTTP/1.1\r\nX: ")
        for wire in wires[1::2]:
            wire.send(b"a")
        for _ in range(50):
            assert plane.call(f"/function/{name}", b"x").body == b"x"
        wires[0].send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wires[0].response().status == 200
    finally:
        for wire in wires:
            wire.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert wanted >= 500
