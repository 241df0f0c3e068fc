"""One call passed on to an HTTP upstream, streaming in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hilbert.watchdog.call import Call
from hilbert.watchdog.relay import join

if TYPE_CHECKING:
    from hilbert.kit.http1 import Headers
    from hilbert.kit.http1.client import ClientConnection, Response

Connect = Callable[..., None]

_HOP: Final = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
_IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
_REPLAY: Final = 65536
"""Bytes of a body kept for a second attempt on a new connection."""

_WAITING: Final = 262144
"""Bytes of a body that may wait for a connection before the client is told to wait."""


class Proxied:
    """A `Work`, and the `Listener` of the connection that carries it."""

    def __init__(self, call: Call, connect: Connect, body: bytes | None) -> None:
        """`body` is given when it is whole already."""
        self._call = call
        self._connect = connect
        self._upstream: ClientConnection | None = None
        self._length = call.request.length if body is None else len(body)
        self._parts: list[bytes] = [body] if body else []
        """The body so far: to be sent once connected, and again if the first connection was stale."""
        self._kept = True
        self._size = len(body or b"")
        self._whole = body is not None or self._length == 0
        self._trailers: Headers = []
        connect(self._connected, fresh=False)

    # The request

    def on_body(self, data: bytes) -> None:
        self._size += len(data)
        if self._upstream is None:
            self._parts.append(data)
            if self._size > _WAITING:
                self._call.pause_body()
            return
        if self._kept and self._size <= _REPLAY:
            self._parts.append(data)
        else:
            self._kept = False
            self._parts = []
        if not self._upstream.send(data):
            self._call.pause_body()

    def on_body_end(self) -> None:
        if self._whole:
            return
        self._whole = True
        if self._upstream is not None:
            self._upstream.end([])

    def on_drain(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def on_stop(self, *, timeout: bool) -> None:  # noqa: ARG002 - part of `Work`
        self._drop()

    # The connection

    def _connected(self, connection: ClientConnection | None, reason: str) -> None:
        call = self._call
        if connection is None:
            call.fail(500, f"The function's process cannot be reached: {reason}")
            return
        if call.over:
            connection.cut()
            return
        self._upstream = connection
        connection.resume()
        request = call.request
        nothing = self._whole and not self._parts
        connection.request(
            self._head(),
            self,
            bodyless=request.method == b"HEAD",
            whole=nothing,
            chunked=self._length is None,
        )
        if nothing:
            return
        room = True
        for part in self._parts:
            room = connection.send(part)
        if self._size > _REPLAY:
            self._parts, self._kept = [], False
        if self._whole:
            connection.end([])
        elif room:
            call.resume_body()

    def _head(self) -> bytes:
        request = self._call.request
        named = {
            word.strip().lower()
            for name, value in request.headers
            if name.lower() == b"connection"
            for word in value.split(b",")
        }
        lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target)]
        for name, value in request.headers:
            key = name.lower()
            if key not in _HOP and key not in named:
                lines.append(b"%b: %b\r\n" % (name, value))
        if self._length is None:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif self._length or request.method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d\r\n" % self._length)
        if request.upgrade:
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self._call.header(b"upgrade"))
        lines.append(b"\r\n")
        return b"".join(lines)

    def _drop(self) -> None:
        connection, self._upstream = self._upstream, None
        if connection is not None:
            connection.cut()

    # The response

    def on_inform(self, response: Response) -> None:
        if response.status != 100:
            self._call.responder.inform(response.status, response.headers)

    def on_whole_response(self, response: Response, body: bytes) -> None:
        self.on_response(response)
        self.on_response_body(body)
        self.on_response_end([])

    def on_response(self, response: Response) -> None:
        kept = [header for header in response.headers if header[0].lower() not in _HOP]
        self._call.start(response.status, kept, length=response.length)

    def on_response_body(self, data: bytes) -> None:
        if not self._call.write(data) and self._upstream is not None:
            self._upstream.pause()

    def on_response_pause(self) -> None:
        """Nothing is held back here."""

    def on_response_end(self, trailers: Headers) -> None:
        self._upstream = None
        self._call.end(trailers)

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        connection, self._upstream = self._upstream, None
        stale = connection is not None and connection.used > 1 and not begun
        if stale and self._kept and (reset or self._call.request.method in _IDEMPOTENT):
            self._connect(self._connected, fresh=True)
        else:
            self._call.fail(500, f"The function's process broke off: {reason}")

    def on_upstream_deadline(self) -> None: ...

    def on_upstream_drain(self) -> None:
        self._call.resume_body()

    def on_upgraded(self, response: Response, early: bytes) -> None:
        connection, self._upstream = self._upstream, None
        if connection is None:
            return
        call = self._call
        call.hand_over()
        responder = call.responder
        client, upstream = join(responder.transport, connection.transport, call.leave)
        connection.tunnel = upstream
        responder.upgrade(response.status, response.headers, client)
        if early:
            upstream.on_data(early)
