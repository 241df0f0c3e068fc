"""A connection after an upgrade: bytes both ways, each direction paused by the other's slowness, half-closes passed on."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.http1.client import ClientConnection

HALF_CLOSED: Final = 10.0
"""Seconds without a byte after which a tunnel ends of which one side will send no more; and the most time that one side has to
take what is left once the other is gone. A client that has closed looks the same as one that has half-closed, so without this a
function that keeps its end open would keep the connection, and its place among the calls, for ever."""


_PROBES: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
"""A client whose machine is gone says nothing at all. TCP asks after a minute of silence, and gives up after another."""


class Relay:
    """Joins a client's and an upstream's connection until both are closed."""

    def __init__(self, client: asyncio.Transport, upstream: ClientConnection, on_end: Callable[[], None]) -> None:
        """`on_end` is called once, when both have closed."""
        probe(client)
        self._upstream = upstream
        self._on_end = on_end
        self._open = 2
        self._leaving = False
        self._seen: tuple[int, ...] = ()
        """What had moved when the deadline was set; empty once one side is gone."""
        self.from_client = _Direction(self, client, upstream.transport)
        self.from_upstream = _Direction(self, upstream.transport, client)
        self.from_client.opposite = self.from_upstream
        self.from_upstream.opposite = self.from_client

    def half_closed(self) -> None:
        """One side will send no more: the other has `HALF_CLOSED` seconds from its last byte on."""
        if self.from_client.ended and self.from_upstream.ended:
            self.from_client.source.close()
            self.from_upstream.source.close()
            self._give_time()
        elif self._leaving:
            self._cut()
        else:
            self._seen = self._moved()
            self._upstream.expect(HALF_CLOSED)

    def closed(self) -> None:
        """One side is gone."""
        self._open -= 1
        if self._open == 0:
            self._upstream.expect(0)
            self._on_end()
        elif self._leaving:
            self._cut()
        else:
            self._give_time()

    def on_deadline(self) -> None:
        if self._seen and self._seen != self._moved():
            self.half_closed()
        else:
            self._cut()

    def leave(self) -> None:
        """The process is about to end: a tunnel of which one side has ended does so at once, now or later."""
        self._leaving = True
        if self.from_client.ended or self.from_upstream.ended or self._open < 2:
            self._cut()

    def _give_time(self) -> None:
        self._seen = ()
        self._upstream.expect(HALF_CLOSED)

    def _moved(self) -> tuple[int, ...]:
        sides = (self.from_client, self.from_upstream)
        return tuple(side.carried for side in sides) + tuple(side.target.get_write_buffer_size() for side in sides)

    def _cut(self) -> None:
        self.from_client.source.abort()
        self.from_upstream.source.abort()


def probe(transport: asyncio.Transport) -> None:
    """Have TCP find out when the far end is gone without a word. Nothing happens to a unix socket."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.family != socket.AF_UNIX:
        for option in _PROBES:
            sock.setsockopt(*option)


class _Direction:
    """What comes from one side goes to the other. The `Tunnel` of its source."""

    __slots__ = ("_paused", "_relay", "carried", "ended", "opposite", "source", "target")

    opposite: _Direction

    def __init__(self, relay: Relay, source: asyncio.Transport, target: asyncio.Transport) -> None:
        self._relay = relay
        self._paused = False
        self.source = source
        self.target = target
        self.carried = 0
        """Bytes so far."""
        self.ended = False
        """The source has half-closed."""

    def on_data(self, data: bytes) -> None:
        target = self.target
        if target.is_closing():
            return
        self.carried += len(data)
        target.write(data)
        if not self._paused and target.get_write_buffer_size() > target.get_write_buffer_limits()[1]:
            self._paused = True
            self.source.pause_reading()

    def on_eof(self) -> None:
        self.ended = True
        if not self.opposite.ended and not self.target.is_closing() and self.target.can_write_eof():
            self.target.write_eof()
        self._relay.half_closed()

    def on_drain(self) -> None:
        """The source can take data again: whoever sends to it may go on."""
        self.opposite.resume()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self.source.is_closing():
                self.source.resume_reading()

    def on_close(self) -> None:
        if not self.target.is_closing():
            self.target.close()
        self._relay.closed()

    def on_deadline(self) -> None:
        self._relay.on_deadline()

    def on_leave(self) -> None:
        self._relay.leave()
