"""One call passed on to an HTTP upstream, streaming in both directions."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from hilbert.kit.http1.forward import HOP_FIELDS, Hop, first_value, passing

if TYPE_CHECKING:
    from hilbert.kit.http1 import Response, Tunnel
    from hilbert.kit.http1.client import ClientConnection
    from hilbert.watchdog.call import Call

Connect = Callable[..., None]

_REQUEST: Final = HOP_FIELDS | {b"content-length", b"expect"}
_RESPONSE: Final = HOP_FIELDS | {b"content-length"}


class _Endless:
    """The call keeps the clock."""

    first_byte = 0.0
    idle = 0.0


_ENDLESS: Final = _Endless()


class Proxied(Hop):
    """A `Work` that is a hop to the function's process."""

    __slots__ = ("_call", "_connect", "_stale")

    def __init__(self, call: Call, connect: Connect, body: bytes | None) -> None:
        """`body` is given when it is whole already."""
        super().__init__(call.request, call, _ENDLESS, body)
        self._call = call
        self._connect = connect
        self._stale = False
        """The connection had served before, so that the process may have closed it at any time."""
        connect(self._connected, fresh=False)

    def on_stop(self, *, timeout: bool) -> None:  # noqa: ARG002 - part of `Work`
        self.finish(self.status)

    def _connected(self, connection: ClientConnection | None, reason: str) -> None:
        if connection is None:
            self._call.fail(500, f"The function's process cannot be reached: {reason}")
        elif self.ended:
            connection.cut()
        else:
            self._stale = connection.used > 0
            self.attach(connection)

    # What a hop asks

    def head(self) -> tuple[bytes, ...]:
        request = self.request
        length = self._length
        lines = [b"%b: %b\r\n" % header for header in passing(request.headers, _REQUEST)]
        if length is None:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        elif length or request.method in (b"POST", b"PUT", b"PATCH"):
            lines.append(b"Content-Length: %d\r\n" % length)
        elif request.upgrade and (asked := self.asked()):
            lines.append(b"Connection: Upgrade\r\nUpgrade: %b\r\n" % asked)
        return (b"%b %b HTTP/1.1\r\n" % (request.method, request.target), *lines, b"\r\n")

    def asked(self) -> bytes:
        # A server may ignore the wish (RFC 9110, section 7.8): beside a body, which would stand where the other protocol begins.
        return self._call.header(b"upgrade") if self.request.length == 0 else b""

    def on_inform(self, response: Response) -> None:
        if response.status == 100:
            return
        if not self._call.responder.inform(response.status, passing(response.headers, _RESPONSE)) and self.upstream:
            self.upstream.pause()

    def on_whole_response(self, response: Response, body: bytes) -> None:
        upstream, self.upstream = self.upstream, None
        if upstream is not None and not self._whole:
            upstream.cut()  # It has answered without reading the request to its end.
        self.status = response.status
        self._call.answer(response.status, passing(response.headers, _RESPONSE), body)
        self.finish(self.status)

    def on_response(self, response: Response) -> None:
        self.status = response.status
        self._call.start(response.status, passing(response.headers, _RESPONSE), length=response.length)

    def switch(self, response: Response, tunnel: Tunnel) -> None:
        self._call.hand_over()
        passed = [
            (b"Connection", b"Upgrade"),
            (b"Upgrade", first_value(response.headers, b"upgrade")),
            *passing(response.headers, _RESPONSE),
        ]
        self._call.responder.upgrade(101, passed, tunnel)

    def again(self, reason: str, *, refused: bool) -> bool:
        del reason, refused
        if not self._stale:
            return False
        self._connect(self._connected, fresh=True)
        return True

    def lost(self, reason: str) -> None:
        self._call.fail(500, f"The function's process broke off: {reason}")

    def too_slow(self) -> None: ...

    def on_end(self, status: int) -> None:
        if status == 101:
            self._call.leave()
