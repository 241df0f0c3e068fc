"""What answers a request, and the responder through which it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from hilbert.kit.http1.request import Headers, Request
from hilbert.kit.http1.status import EMPTY_STATUSES, STATUS_LINES

if TYPE_CHECKING:
    import asyncio


def _lines(headers: Headers) -> list[bytes]:
    return [b"%b: %b\r\n" % header for header in headers]


def peer_address(peer: object) -> bytes:
    """`ip:port`, as Go prints a remote address; empty for a unix socket."""
    if not isinstance(peer, tuple):
        return b""
    host, port = peer[:2]
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


class Handler(Protocol):
    """What answers one request. Called on the event loop."""

    def on_body(self, data: bytes) -> None: ...

    def on_body_end(self, trailers: Headers) -> None: ...

    def on_abort(self) -> None:
        """The client is gone or broke the protocol: nothing more can be sent. Not called once the response has ended."""
        ...

    def on_drain(self) -> None:
        """The client has taken what was written; `Responder.write` had returned False before."""
        ...


class Tunnel(Protocol):
    """What takes a connection over after an upgrade."""

    def on_data(self, data: bytes) -> None: ...

    def on_eof(self) -> None:
        """The client will send no more; it may still read."""
        ...

    def on_drain(self) -> None: ...

    def on_close(self) -> None: ...

    def on_deadline(self) -> None:
        """`ClientConnection.deadline` has passed."""
        ...

    def on_leave(self) -> None:
        """The process is about to end: what has ended on one side must not keep it."""
        ...


class Connection(Protocol):
    """What a responder asks of the connection that it answers over; `ServerConnection` is one."""

    transport: asyncio.Transport
    peer: bytes
    far_end: bytes
    writable: bool
    """Whether the client takes what is sent, so that more may follow."""
    draining: bool
    """No further request is taken after this one."""

    @property
    def date(self) -> bytes:
        """A header line with the present second."""
        ...

    def send(self, data: bytes) -> None: ...

    def send_soon(self, data: bytes) -> None:
        """Send a whole answer, perhaps together with those of other connections."""
        ...

    def answered(self, responder: Responder) -> None:
        """`responder` has sent everything."""
        ...

    def pause(self, responder: Responder) -> None:
        """Take no more of the body of `responder`'s request for now."""
        ...

    def resume(self, responder: Responder) -> None: ...

    def cut(self) -> None:
        """Close at once, losing what is not yet sent."""
        ...

    def become_tunnel(self, tunnel: Tunnel) -> None: ...


Accept = Callable[[Request, "Responder"], Handler]


class Responder:
    """Sends the response to one request, when its turn has come."""

    __slots__ = (
        "_chunked",
        "_connection",
        "_head",
        "_silent",
        "body",
        "finished",
        "handler",
        "held",
        "keep_alive",
        "peer",
        "request",
        "started",
        "taken",
    )

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._chunked = self._silent = False
        self._head = b""
        self.request = request
        self.handler: Handler | None = None
        self.started = self.finished = False
        self.held: list[bytes | Headers] | None = None
        """What came for this request before its turn: body parts, and trailers once it is whole."""
        self.body: bytes | None = None
        """The request's whole body, if it came with the head and nobody has taken it."""
        self.taken = False
        self.keep_alive = request.keep_alive
        """Whether the connection goes on after this response. A handler may say no before it starts the response."""
        self.peer = connection.peer
        """The client's `ip:port`. Whoever accepts the requests of a trusted proxy sets it to that of the proxy's client."""

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send a whole response, in one piece. `lines` are whole header lines, under the same rule as for `start`."""
        connection = self._connection
        if self.request.simple and self.keep_alive and not connection.draining and status not in EMPTY_STATUSES:
            self.started = self.finished = True
            connection.send_soon(
                b"".join((STATUS_LINES[status], lines, b"Content-Length: %d\r\n\r\n" % len(body), body))
            )
            connection.answered(self)
        else:
            self.start(status, [], lines=(lines,), length=len(body), hold=True)
            self.write(body)
            self.end()

    def take_body(self) -> bytes | None:
        """The request's whole body, if it came together with the head.

        To be asked while the request is accepted; then the handler hears neither `on_body` nor `on_body_end`.
        """
        body = self.body
        if body is not None:
            self.taken = True
            self.body = None
        return body

    def hold(self, part: bytes | Headers) -> None:
        """Keep a part of the request until its turn has come."""
        if self.held is None:
            self.held = []
        self.held.append(part)

    def start(
        self,
        status: int,
        headers: Headers,
        *,
        length: int | None = None,
        lines: Sequence[bytes] = (),
        hold: bool = False,
    ) -> None:
        """Send the head. Without `length` the body is chunked (HTTP/1.0: until the connection closes).

        `headers`, and `lines` which are parts of whole header lines, hold no Content-Length, Transfer-Encoding, Connection or other
        hop-by-hop header. With `hold` the head goes out with the first part of the body, at the end, or by `flush`.
        """
        request = self.request
        self.started = True
        parts = [STATUS_LINES[status]]
        if headers:
            parts += _lines(headers)
        parts += lines
        empty = status in EMPTY_STATUSES
        self._silent = empty or request.method == b"HEAD"
        if not empty or (status == 304 and length):
            if length is not None:
                parts.append(b"Content-Length: %d\r\n" % length)
            elif request.version == "1.1":
                parts.append(b"Transfer-Encoding: chunked\r\n")
                self._chunked = not self._silent
            elif not self._silent:
                self.keep_alive = False
        if not self.keep_alive or request.upgrade or self._connection.draining:
            self.keep_alive = False
            parts.append(b"Connection: close\r\n")
        elif request.version == "1.0":
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        head = b"".join(parts)
        if hold:
            self._head = head
        else:
            self._connection.send(head)

    def flush(self) -> None:
        """Send the head if it was held."""
        if self._head:
            self._connection.send(self._head)
            self._head = b""

    def inform(self, status: int, headers: Headers, *, lines: Sequence[bytes] = ()) -> bool:
        """Send an interim response (1xx); not to an HTTP/1.0 client. False: the client is slow, as in `write`."""
        if self.request.version == "1.1" and not self.started:
            parts = [STATUS_LINES[status], *_lines(headers), *lines, b"\r\n"]
            self._connection.send(b"".join(parts))
        return self._connection.writable

    def write(self, data: bytes) -> bool:
        """Send a part of the body. False: the client is slow, wait for `on_drain` before the next."""
        if data and not self._silent:
            part = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            if self._head:
                part, self._head = self._head + part, b""
            self._connection.send(part)
        return self._connection.writable

    def end(self, trailers: Headers | None = None) -> None:
        """The response is whole. The connection goes on to the next request, or closes."""
        if self.finished:
            return
        self.finished = True
        if self._chunked:
            lines = [self._head, b"0\r\n", *_lines(trailers or []), b"\r\n"]
            self._head = b""
            self._connection.send(b"".join(lines))
        elif self._head:
            self.flush()
        self._connection.answered(self)

    def abort(self) -> None:
        """Cut the connection: the client must not take what it has for the whole response."""
        self.finished = True
        self.flush()
        self._connection.cut()

    def pause_body(self) -> None:
        """Take no more of the request's body for now."""
        self._connection.pause(self)

    def resume_body(self) -> None:
        self._connection.resume(self)

    def upgrade(self, status: int, headers: Headers, tunnel: Tunnel, *, lines: Sequence[bytes] = ()) -> None:
        """Answer (101) and hand the connection's bytes to `tunnel` from here on."""
        self.started = self.finished = True
        parts = [STATUS_LINES[status], *_lines(headers), *lines, b"\r\n"]
        self._connection.send(b"".join(parts))
        self._connection.become_tunnel(tunnel)

    @property
    def far_end(self) -> bytes:
        """The `ip:port` that the connection comes from, whoever that is."""
        return self._connection.far_end

    @property
    def date(self) -> bytes:
        """A header line with the present second, for a response that has none (RFC 9110, section 6.6.1)."""
        return self._connection.date

    @property
    def transport(self) -> asyncio.Transport:
        """For a tunnel: where to write, pause and close."""
        return self._connection.transport
