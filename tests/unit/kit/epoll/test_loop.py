"""The small event loop and its transport."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from hilbert.kit.epoll.loop import EpollLoop


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    made = EpollLoop()
    yield made
    made.close()


def test_timers_run_in_order_and_can_be_cancelled(loop: EpollLoop) -> None:
    """By their time, not by when they were made."""
    seen: list[int] = []
    loop.call_later(0.02, seen.append, 2)
    loop.call_later(0.01, seen.append, 1)
    loop.call_later(0.015, seen.append, 9).cancel()
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert seen == [1, 2]


def test_cancelled_timers_do_not_pile_up(loop: EpollLoop) -> None:
    """A time limit for each of many calls, all of which end in time, beside timers that stay."""
    seen: list[int] = []
    for number in range(20):
        loop.call_later(0.001 * number, seen.append, number)
    for _ in range(20_000):
        loop.call_later(3600, seen.append, -1).cancel()
    assert len(loop._timers) < 1100
    loop.call_later(0.03, loop.stop)
    loop.run_forever()
    assert seen == list(range(20))


def test_other_threads_wake_it(loop: EpollLoop) -> None:
    """At once, however many call, and they are told when the loop is gone."""
    seen: list[int] = []

    def call() -> None:
        for number in range(20000):
            loop.call_soon_threadsafe(seen.append, number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=call)
    thread.start()
    loop.run_forever()
    thread.join()
    assert seen == list(range(20000))
    gone = EpollLoop()
    gone.close()
    with pytest.raises(RuntimeError):
        gone.call_soon_threadsafe(loop.stop)


def test_signals_arrive(loop: EpollLoop) -> None:
    """While it sleeps."""
    before = signal.getsignal(signal.SIGUSR1)
    seen: list[int] = []
    try:
        loop.add_signal_handler(signal.SIGUSR1, lambda: (seen.append(1), loop.stop()))
        loop.call_later(0.01, os.kill, os.getpid(), signal.SIGUSR1)
        loop.run_forever()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen == [1]


def test_a_callback_that_raises_is_reported(loop: EpollLoop, capsys: pytest.CaptureFixture[str]) -> None:
    """And the next one runs."""
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert "ZeroDivisionError" in capsys.readouterr().err


class Peer(asyncio.Protocol):
    """Writes down what happens; `reply` answers data."""

    def __init__(self, loop: EpollLoop, reply: Callable[[Any, bytes], None] = lambda *_: None) -> None:
        self.loop = loop
        self.reply = reply
        self.events: list[object] = []
        self.keep = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.events.append("made")

    def data_received(self, data: bytes) -> None:
        self.events.append(data)
        self.reply(self.transport, data)

    def eof_received(self) -> bool:
        self.events.append("eof")
        return self.keep

    def pause_writing(self) -> None:
        self.events.append("full")

    def resume_writing(self) -> None:
        self.events.append("room")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(type(exc).__name__ if exc else "lost")
        self.loop.stop()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def connect(listener: socket.socket) -> socket.socket:
    raw = socket.create_connection(listener.getsockname(), timeout=10)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    return raw


def test_a_conversation(loop: EpollLoop, listener: socket.socket) -> None:
    """Data, an answer, the end."""
    peer = Peer(loop, lambda transport, data: transport.write(data.upper()))
    loop.serve(listener, lambda: peer)
    with connect(listener) as client:
        client.sendall(b"hello")
        loop.call_later(0.01, client.shutdown, socket.SHUT_WR)
        loop.run_forever()
        assert client.recv(100) == b"HELLO"
        assert client.recv(100) == b""
    assert peer.events == ["made", b"hello", "eof", "lost"]


def test_half_close_keeps_the_other_half(loop: EpollLoop, listener: socket.socket) -> None:
    """Where the protocol wants it."""
    peer = Peer(loop)
    peer.keep = True
    loop.serve(listener, lambda: peer)
    with connect(listener) as client:
        client.shutdown(socket.SHUT_WR)
        loop.call_later(0.02, lambda: peer.transport.write(b"still"))
        loop.call_later(0.03, lambda: peer.transport.write_eof())
        loop.call_later(0.04, loop.stop)
        loop.run_forever()
        assert client.recv(100) == b"still"
        assert client.recv(100) == b""
        assert peer.events == ["made", "eof"]
        peer.transport.abort()
        loop.run_forever()


def test_back_pressure(loop: EpollLoop, listener: socket.socket) -> None:
    """More than the sockets hold: the protocol is told to stop, then to go on, and nothing is lost or mixed up."""
    data = os.urandom(4_000_000)

    def reply(transport: Any, _: bytes) -> None:
        for start in range(0, len(data), 100_000):
            transport.write(data[start : start + 100_000])
        transport.close()

    peer = Peer(loop, reply)
    loop.serve(listener, lambda: peer)
    received = bytearray()

    def read(client: socket.socket) -> None:
        while part := client.recv(65536):
            received.extend(part)

    with connect(listener) as client:
        client.sendall(b"go")
        reader = threading.Thread(target=read, args=(client,))
        loop.call_later(0.05, reader.start)
        loop.run_forever()
        reader.join(10)
    assert bytes(received) == data
    assert peer.events[:3] == ["made", b"go", "full"]
    assert peer.events[-2:] == ["room", "lost"]


def test_paused_reading_waits(loop: EpollLoop, listener: socket.socket) -> None:
    """Data stays in the kernel until it is asked for."""
    peer = Peer(loop, lambda transport, _: transport.pause_reading())
    loop.serve(listener, lambda: peer)
    with connect(listener) as client:
        client.sendall(b"one")
        loop.call_later(0.02, client.sendall, b"two")
        loop.call_later(0.05, loop.stop)
        loop.run_forever()
        assert peer.events == ["made", b"one"]
        peer.transport.resume_reading()
        loop.call_later(0.02, loop.stop)
        loop.run_forever()
        assert peer.events == ["made", b"one", b"two"]
        peer.transport.abort()
        loop.run_forever()


def test_a_peer_that_resets(loop: EpollLoop, listener: socket.socket) -> None:
    """The protocol is told once."""
    peer = Peer(loop, lambda transport, _: transport.write(b"x" * 10_000_000))
    loop.serve(listener, lambda: peer)
    client = connect(listener)
    client.sendall(b"go")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    loop.call_later(0.02, client.close)
    loop.run_forever()
    assert peer.events[:2] == ["made", b"go"]
    assert [event for event in peer.events if event in ("lost", "ConnectionResetError", "BrokenPipeError")] == [
        peer.events[-1]
    ]
