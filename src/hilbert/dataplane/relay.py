"""A connection after an upgrade: bytes both ways, each direction paused by the other's slowness, half-closes passed on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from hilbert.kit.http1 import ClientConnection, Responder


class Relay:
    """Joins a client's and an upstream's connection until both are closed."""

    def __init__(self, responder: Responder, upstream: ClientConnection, on_end: Callable[[], None]) -> None:
        client = responder.transport
        self._open = 2
        self._on_end = on_end
        self.from_client = _Direction(client, upstream.transport, self._closed)
        self.from_upstream = _Direction(upstream.transport, client, self._closed)
        self.from_client.opposite = self.from_upstream
        self.from_upstream.opposite = self.from_client

    def _closed(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._on_end()


class _Direction:
    """What comes from one side goes to the other. The `Tunnel` of its source."""

    def __init__(self, source: asyncio.Transport, target: asyncio.Transport, closed: Callable[[], None]) -> None:
        self._source = source
        self._target = target
        self._closed = closed
        self._paused = False
        self.ended = False
        """The source has half-closed."""
        self.opposite: _Direction | None = None

    def on_data(self, data: bytes) -> None:
        if self._target.is_closing():
            return
        self._target.write(data)
        if not self._paused and self._target.get_write_buffer_size() > self._target.get_write_buffer_limits()[1]:
            self._paused = True
            self._source.pause_reading()

    def on_eof(self) -> None:
        self.ended = True
        if self.opposite is not None and self.opposite.ended:
            self._target.close()  # Neither side will send any more.
            self._source.close()
        elif not self._target.is_closing() and self._target.can_write_eof():
            self._target.write_eof()

    def on_drain(self) -> None:
        """The source can take data again: whoever sends to it may go on."""
        if self.opposite is not None:
            self.opposite.resume()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if not self._source.is_closing():
                self._source.resume_reading()

    def on_close(self) -> None:
        if not self._target.is_closing():
            self._target.close()
        self._closed()
