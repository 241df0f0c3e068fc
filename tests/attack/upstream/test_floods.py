"""A hostile function never comes to an end: what it sends is bounded in bytes, lines, count and time, and nobody else waits for it."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator

import pytest

from attack.victim import MIB, assert_nobody_waits, unharmed
from support.dataplane import Plane, until
from support.replicas import Call
from support.wire import Closed

ENOUGH = 64 * MIB
"""Bytes that a flood sends at most, if nobody stops it."""

START = b"HTTP/1.1 200 OK\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"


def flood(first: bytes, parts: Iterator[bytes]) -> tuple[Callable[[Call], None], threading.Event]:
    """A script that sends `first` and then `parts`, and an event that says it was stopped before it had sent enough."""
    stopped = threading.Event()

    def script(call: Call) -> None:
        sent = 0
        try:
            call.wire.send(first)
            for part in parts:
                call.wire.send(part)
                sent += len(part)
                if sent > ENOUGH:
                    return
        except OSError:
            stopped.set()
            raise

    return script, stopped


def lines() -> Iterator[bytes]:
    """Short header lines, 64 KiB at a time."""
    return itertools.repeat(b"A: b\r\n" * 11000)


FLOODS = {
    # CVE-2018-12121 (Node.js), CVE-2023-48713 (Knative: what a shared part reads from tenants has no bound).
    "a line without end": (START + b"X: ", itertools.repeat(b"a" * 65536)),
    "a name without end": (START, itertools.repeat(b"a" * 65536)),
    "a reason without end": (b"HTTP/1.1 200 ", itertools.repeat(b"a" * 65536)),
    "lines without end": (START, lines()),
    # CVE-2013-4322 (Tomcat), CVE-2023-39326 (Go), CVE-2024-22019 (Node.js): trailers and chunk extensions.
    "trailers without end": (CHUNKED + b"3\r\nabc\r\n0\r\n", lines()),
    "a trailer without end": (CHUNKED + b"3\r\nabc\r\n0\r\nX: ", itertools.repeat(b"a" * 65536)),
    "an extension without end": (CHUNKED + b"3;", itertools.repeat(b"a" * 65536)),
    "an extension for each byte": (CHUNKED, itertools.repeat((b"1;" + b"e" * 4000 + b"\r\nx\r\n") * 16)),
    "a chunk size without end": (CHUNKED, itertools.repeat(b"0" * 65536)),
    "interim answers without end": (b"", itertools.repeat(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 1000)),
    "interim answers of a size": (b"", itertools.repeat(b"HTTP/1.1 103 Hi\r\nL: " + b"a" * 60000 + b"\r\n\r\n")),
    "an interim answer without end": (b"HTTP/1.1 102 Processing\r\nX: ", itertools.repeat(b"a" * 65536)),
    "continues without end": (b"", itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000)),
}  # fmt: skip


@pytest.mark.parametrize("kind", FLOODS)
@pytest.mark.parametrize("reads", [True, False], ids=["the client reads", "the client does not read"])
@pytest.mark.bound("answer-head", "answer-headers", "answer-trailers", "answer-framing", "interim-answers")
def test_floods_are_stopped(plane: Plane, kind: str, reads: bool) -> None:
    """502, or a response that is cut; the connection to the function closed; the worker as small as before."""
    script, stopped = flood(*FLOODS[kind])
    name, _ = plane.function(script)
    with unharmed(plane), plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        if reads:
            with contextlib.suppress(Exception):
                answer = wire.response()
                assert answer.status == 502, answer
        assert stopped.wait(20), "nobody stopped it"


@pytest.mark.parametrize("kind", FLOODS)
def test_nobody_waits_for_a_flood(plane: Plane, kind: str) -> None:
    """Another function answers as fast as ever."""
    first, parts = FLOODS[kind]
    whole = first + b"".join(itertools.islice(parts, 32))

    def script(call: Call) -> None:
        call.wire.send(whole)
        call.wire.close()

    name, _ = plane.function(script)

    def attack() -> None:
        with contextlib.suppress(Closed, ConnectionError, ValueError), plane.connect() as wire:
            wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            wire.response()

    assert_nobody_waits(plane, attack)


def test_some_interim_answers_pass(plane: Plane) -> None:
    """As many as a function that reports its progress may need."""

    def progress(call: Call) -> None:
        for _ in range(30):
            call.wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        call.answer(b"done")

    name, _ = plane.function(progress)
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        statuses = [wire.head().status for _ in range(31)]
    assert statuses == [102] * 30 + [200]


def test_many_small_chunks_pass(plane: Plane) -> None:
    """Five bytes of framing for each byte of data are what a slow stream needs."""
    count = 30_000

    def dribble(call: Call) -> None:
        call.wire.send(CHUNKED + b"1\r\nx\r\n" * count + b"0\r\n\r\n")

    name, _ = plane.function(dribble)
    assert plane.call(f"/function/{name}").body == b"x" * count


@pytest.mark.parametrize("lines", [200, 300])
@pytest.mark.bound("answer-headers", "answer-trailers")
def test_headers_and_trailers_up_to_the_limit_pass(plane: Plane, lines: int) -> None:
    """256 of each."""
    headers = b"".join(b"X-%d: a\r\n" % number for number in range(lines))
    in_head, _ = plane.function(lambda call: call.wire.send(START + headers + b"Content-Length: 0\r\n\r\n"))
    in_trailers, _ = plane.function(lambda call: call.wire.send(CHUNKED + b"1\r\nx\r\n0\r\n" + headers + b"\r\n"))
    head, trailers = plane.call(f"/function/{in_head}"), plane.call(f"/function/{in_trailers}")
    if lines < 256:
        assert head.status == 200
        assert len(trailers.trailers) == lines
    else:
        assert head.status == 502
        assert b"more than 256 header lines" in head.body
        assert trailers.status == 502


@pytest.mark.bound("tunnel")
def test_tunnels_of_clients_that_left_do_not_add_up(plane: Plane) -> None:
    """A function that keeps its ends open holds nothing for long (descriptors, memory)."""
    left = threading.Event()

    def hold(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        left.wait(60)

    name, _ = plane.function(hold)
    before = plane.open_files()
    try:
        with unharmed(plane):
            for _ in range(100):
                with plane.connect() as wire:
                    wire.send(
                        f"GET /function/{name} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode()
                    )
                    assert wire.head().status == 101
            until(lambda: plane.open_files() < before + 20, within=40, what="the tunnels to end")
    finally:
        left.set()
