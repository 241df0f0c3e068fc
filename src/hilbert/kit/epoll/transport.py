"""One accepted connection on the small event loop: what `asyncio.Transport` is on asyncio's."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.interface import Loop

READ: Final = 65536
"""Bytes read at once. From 128 KiB on, C libraries map memory anew for each read, which takes ten times as long as a small read itself."""


class Transport:
    """The methods have the names and meanings of `asyncio.Transport`'s."""

    def __init__(self, loop: Loop, connection: socket.socket, protocol: asyncio.Protocol) -> None:
        self._loop = loop
        self._socket = connection
        self._fd = connection.fileno()
        self._protocol = protocol
        self._buffer: list[memoryview] = []
        self._waiting = 0
        self._high = 65536
        self._low = 16384
        self._full = False
        self._writing = False
        self._reading = True
        self._closing = False
        self._lost = False
        self._eof = False
        protocol.connection_made(cast("asyncio.Transport", self))
        if not self._closing:
            loop.add_reader(self._fd, self._read)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "peername":
            with contextlib.suppress(OSError):
                return self._socket.getpeername()
        return self._socket if name == "socket" else default

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = 65536 if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def get_write_buffer_size(self) -> int:
        return self._waiting

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None:
        if self._reading and not self._closing:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def resume_reading(self) -> None:
        if not self._reading and not self._closing:
            self._reading = True
            self._loop.add_reader(self._fd, self._read)

    def write(self, data: bytes) -> None:
        if self._lost or self._eof or not data:
            return
        if not self._buffer:
            # A response's head and body are one segment, and wake the reader once.
            self._loop.call_soon(self._flush_soon)
        self._buffer.append(memoryview(data))
        self._waiting += len(data)
        if self._waiting > self._high and not self._full:
            self._full = True
            self._protocol.pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._eof and not self._closing:
            self._eof = True
            if not self._buffer:
                self._shutdown()

    def close(self) -> None:
        """Close once what was written is sent."""
        if self._closing:
            return
        self.pause_reading()
        self._closing = True
        if not self._buffer:
            self._lose(None)

    def abort(self) -> None:
        """Close at once; what the socket has room for is still sent."""
        if self._buffer and not self._lost:
            self._flush()
        self._fail(None)

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ)
        except BlockingIOError:
            return
        except OSError as exc:
            self._fail(exc)
            return
        if data:
            self._protocol.data_received(data)
        elif self._protocol.eof_received():
            self.pause_reading()
        else:
            self.close()

    def _flush_soon(self) -> None:
        if self._buffer and not self._lost:
            self._flush()
            if self._buffer and not self._lost and not self._writing:
                self._writing = True
                self._loop.add_writer(self._fd, self._flush)

    def _flush(self) -> None:
        try:
            sent = self._socket.sendmsg(self._buffer[:64])
        except BlockingIOError:
            return
        except OSError as exc:
            self._fail(exc)
            return
        self._waiting -= sent
        done = 0
        for view in self._buffer:
            if sent < len(view):
                break
            sent -= len(view)
            done += 1
        del self._buffer[:done]
        if sent:
            self._buffer[0] = self._buffer[0][sent:]
        if self._full and self._waiting <= self._low:
            self._full = False
            self._protocol.resume_writing()  # May write again.
        if not self._buffer and not self._lost:
            if self._writing:
                self._writing = False
                self._loop.remove_writer(self._fd)
            if self._closing:
                self._lose(None)
            elif self._eof:
                self._shutdown()

    def _shutdown(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def _fail(self, error: OSError | None) -> None:
        if self._lost:
            return
        self.pause_reading()
        self._closing = True
        if self._buffer:
            self._buffer.clear()
            self._waiting = 0
        if self._writing:
            self._writing = False
            self._loop.remove_writer(self._fd)
        self._lose(error)

    def _lose(self, error: OSError | None) -> None:
        """Tell the protocol in a moment, not inside a call of its own."""
        if not self._lost:
            self._lost = True
            self._loop.call_soon(self._gone, error)

    def _gone(self, error: OSError | None) -> None:
        try:
            self._protocol.connection_lost(error)
        finally:
            self._socket.close()
