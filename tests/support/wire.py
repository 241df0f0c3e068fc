"""HTTP/1.1 by hand over a blocking socket: what a test sends is what arrives, and what it reads is what came."""

from __future__ import annotations

import contextlib
import socket
import struct
from dataclasses import dataclass, field

PATIENCE = 20.0
"""Seconds that a test waits for bytes before it gives up. No test measures time by it."""


class Closed(Exception):
    """The far end closed before the message was whole."""


@dataclass
class Message:
    """A request or response as it was read."""

    start: bytes
    """The first line."""
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)

    @property
    def status(self) -> int:
        return int(self.start.split(b" ")[1])

    @property
    def method(self) -> bytes:
        return self.start.split(b" ")[0]

    @property
    def target(self) -> bytes:
        return self.start.split(b" ")[1]

    def all(self, name: str) -> list[bytes]:
        """Every value under a header name."""
        return [value for key, value in self.headers if key.lower() == name.lower().encode()]

    def get(self, name: str) -> bytes:
        """The only value under a header name, or nothing."""
        values = self.all(name)
        assert len(values) < 2, f"{name} came {len(values)} times"
        return values[0] if values else b""


class Wire:
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self._buffer = b""

    @classmethod
    def to(cls, address: tuple[str, int] | str) -> Wire:
        """Connect to `(host, port)` or to a unix socket's path."""
        if isinstance(address, str):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address)
            return cls(sock)
        return cls(socket.create_connection(address))

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with RST instead of FIN, as a process that is killed with unread input."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def half_close(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def some(self) -> bytes:
        """Whatever comes next; empty at the end of the stream."""
        if self._buffer:
            data, self._buffer = self._buffer, b""
            return data
        with contextlib.suppress(ConnectionResetError):
            return self.sock.recv(65536)
        return b""

    def until(self, mark: bytes) -> bytes:
        """Bytes up to and with `mark`."""
        while mark not in self._buffer:
            self._more()
        data, found, self._buffer = self._buffer.partition(mark)
        return data + found

    def exactly(self, count: int) -> bytes:
        parts = [self._buffer[:count]]
        self._buffer = self._buffer[count:]
        missing = count - len(parts[0])
        while missing:
            data = self.sock.recv(min(missing, 262144))
            if not data:
                raise Closed(b"".join(parts))
            parts.append(data)
            missing -= len(data)
        return b"".join(parts)

    def rest(self) -> bytes:
        """Everything until the end of the stream."""
        parts = []
        while data := self.some():
            parts.append(data)
        return b"".join(parts)

    @property
    def at_end(self) -> bool:
        """Wait: does the stream end here?"""
        return self.some() == b""

    def head(self) -> Message:
        lines = self.until(b"\r\n\r\n")[:-4].split(b"\r\n")
        headers = [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines[1:])]
        return Message(lines[0], headers)

    def request(self) -> Message:
        """A whole request."""
        return self.body_of(self.head(), default=0)

    def response(self, *, to: bytes = b"GET") -> Message:
        """The final response to a request with method `to`, without its interim ones."""
        message = self.head()
        while 100 <= message.status < 200 and message.status != 101:
            message = self.head()
        if to == b"HEAD" or message.status in (101, 204, 304):
            return message
        return self.body_of(message, default=None)

    def body_of(self, message: Message, *, default: int | None) -> Message:
        """Read the body that the head announces. `default`: its length when nothing is said, None until the end."""
        if message.get("Transfer-Encoding") == b"chunked":
            while size := int(self.until(b"\r\n"), 16):
                message.body += self.exactly(size)
                assert self.exactly(2) == b"\r\n"
            while line := self.until(b"\r\n")[:-2]:
                name, _, value = line.partition(b":")
                message.trailers.append((name, value.strip()))
        elif length := message.get("Content-Length"):
            message.body = self.exactly(int(length))
        else:
            message.body = self.rest() if default is None else self.exactly(default)
        return message

    def chunk(self) -> bytes:
        """One chunk of a chunked body."""
        data = self.exactly(int(self.until(b"\r\n"), 16))
        assert self.exactly(2) == b"\r\n"
        return data

    def _more(self) -> None:
        try:
            data = self.sock.recv(65536)
        except ConnectionResetError as exc:
            raise Closed(self._buffer) from exc
        if not data:
            raise Closed(self._buffer)
        self._buffer += data
