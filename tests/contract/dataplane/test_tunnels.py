"""Connections after an upgrade: bytes both ways, and an end for each of them."""

from __future__ import annotations

import threading
from pathlib import Path

from hilbert.core.model import CallPolicy
from support.dataplane import Call, Plane, until
from support.replicas import echo
from support.wire import Wire


def websocket(name: str) -> bytes:
    lines = "Host: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
    return f"GET /function/{name} HTTP/1.1\r\n{lines}".encode()


def test_upgraded_connections_are_relayed(plane: Plane) -> None:
    """Bytes both ways, those behind the head too, and half-closes one by one."""

    def chat(call: Call) -> None:
        assert call.head.get("Upgrade") == b"websocket"
        assert call.head.get("Connection") == b"Upgrade"
        call.wire.send(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: a\r\n\r\nearly "
        )
        while data := call.wire.some():
            call.wire.send(data.upper())
        call.wire.send(b" over")  # The client has half-closed and still reads.
        call.wire.close()

    name, _ = plane.function(chat)
    with plane.connect() as wire:
        wire.send(websocket(name) + b"behind ")
        head = wire.head()
        assert head.status == 101
        assert (head.get("Upgrade"), head.get("Sec-WebSocket-Accept")) == (b"websocket", b"a")
        assert wire.until(b"BEHIND ") == b"early BEHIND "
        wire.send(b"ping")
        assert wire.exactly(4) == b"PING"
        wire.half_close()
        assert wire.rest() == b" over"


def test_upgrade_that_the_function_refuses(plane: Plane) -> None:
    """An ordinary answer passes, and the connection closes."""
    name, _ = plane.function(lambda call: call.answer(b"no", status=426))
    with plane.connect() as wire:
        wire.send(websocket(name))
        answer = wire.response()
        assert (answer.status, answer.body, answer.get("Connection")) == (426, b"no", b"close")


def test_relay_ends_with_either_side(plane: Plane) -> None:
    """Nothing stays open on the other."""
    lost = threading.Event()

    def hold(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        if call.wire.some() == b"end":
            call.wire.close()
        else:
            lost.set()

    name, _ = plane.function(hold)
    before = plane.open_files()
    with plane.connect() as wire:
        wire.send(websocket(name))
        assert wire.head().status == 101
        wire.send(b"end")
        assert wire.at_end
    wire = plane.connect()
    wire.send(websocket(name))
    assert wire.head().status == 101
    wire.close()
    assert lost.wait(20)
    until(lambda: plane.open_files() <= before, what="the worker to close both ends")


def test_relay_whose_client_leaves_while_the_function_stays(plane: Plane) -> None:
    """The function neither reads nor closes: the gateway ends the tunnel, and the call's place is free again."""
    left = threading.Event()

    def deaf(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        left.wait(60)

    name, (replica,) = plane.function(deaf, policy=CallPolicy(max_inflight=1, activation=30.0))
    before = plane.open_files()
    with plane.connect() as wire:
        wire.send(websocket(name))
        assert wire.head().status == 101
    try:
        replica.script = echo
        assert plane.call(f"/function/{name}", b"next").body == b"next"
        until(lambda: plane.open_files() <= before + 1, what="the worker to close both ends")
    finally:
        left.set()


def test_a_client_whose_machine_is_gone_is_found_out(plane: Plane) -> None:
    """It sends no end: TCP asks whether it is still there. Other connections need no such timer, they have deadlines."""

    def talk(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.wire.rest()

    def timer(wire: Wire) -> str:
        """The kernel's timer of the worker's end (`proc(5)`, /proc/net/tcp: 00 is none, 02 is keepalive)."""
        mine, far = (f":{address[1]:04X}" for address in (plane.address, wire.sock.getsockname()))
        lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return next((line[5][:2] for line in lines if line[1].endswith(mine) and line[2].endswith(far)), "")

    name, _ = plane.function(talk)
    with plane.connect() as wire:
        wire.send(websocket(name))
        assert wire.head().status == 101
        until(lambda: timer(wire) == "02", what="the timer")


def test_a_worker_that_ends_does_not_wait_for_half_a_tunnel() -> None:
    """A client has left; the function keeps its end open."""
    plane = Plane(drain_timeout="60s")
    left, entered = threading.Event(), threading.Event()

    def deaf(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        entered.set()
        left.wait(60)

    name, _ = plane.function(deaf)
    with plane.connect() as wire:
        wire.send(websocket(name))
        assert wire.head().status == 101
        assert entered.wait(20)
    try:
        plane.workers[0].terminate()
        assert plane.workers[0].wait(20) == 0
        assert "calls cut off" not in plane.log.read_text()
    finally:
        left.set()
        plane.close()


def test_relay_that_both_sides_half_close(plane: Plane) -> None:
    """Once neither will send, both connections close."""
    name, _ = plane.function(
        lambda call: (
            call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"),
            call.wire.half_close(),
            call.wire.rest(),
        )
    )
    before = plane.open_files()
    with plane.connect() as wire:
        wire.send(websocket(name))
        assert wire.head().status == 101
        assert wire.at_end
        wire.half_close()
        until(lambda: plane.open_files() <= before, what="the worker to close both ends")
