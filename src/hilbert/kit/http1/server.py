"""The server side of one HTTP/1.1 connection.

llhttp (through httptools) does the framing and refuses what smuggles: a repeated or signed Content-Length,
Content-Length beside Transfer-Encoding, bare CR or LF, folded headers, NUL, spaces before a colon, bad chunk sizes.
This module adds what llhttp leaves to its user: limits, Host, request targets, versions, order of answers, time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import httptools

from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.responder import Accept, Headers, Request, Responder, Tunnel
from hilbert.kit.http1.status import status_line
from hilbert.kit.http1.timers import TimerWheel

if TYPE_CHECKING:
    import asyncio
    from asyncio import Protocol as AsyncioProtocol
else:
    AsyncioProtocol = object  # Event loops ask for its methods alone, and its import is a third of a watchdog's start.

_HIGH_WATER: Final = 256 * 1024
_LINGER: Final = 3.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class ServerConnection(AsyncioProtocol):
    """One client's connection. `accept` is called once a request's head is whole and its turn has come."""

    def __init__(
        self,
        accept: Accept,
        limits: Limits,
        wheel: TimerWheel,
        *,
        refuse: Callable[[int, str], tuple[Headers, bytes]] | None = None,
        on_lost: Callable[[ServerConnection], None] | None = None,
        half_close: bool = True,
    ) -> None:
        """`refuse` makes headers and body of an answer to a request that is malformed or over a limit.

        Without `half_close` a client that will send no more counts as gone, as in Go's server.
        """
        self._accept = accept
        self._limits = limits
        self._wheel = wheel
        self._refuse = refuse or _plain_refusal
        self._on_lost = on_lost
        self._half_close = half_close
        self._loop = wheel.loop
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[Responder] = deque()
        self._current: Responder | None = None
        self._request = Request()
        self._parsed: Responder | None = None
        """The request whose body is being parsed."""
        self._trailers: Headers = []
        self._head_bytes = 0
        self._body_bytes = 0
        self._host = 0
        self._in_head = True
        self._paused = 0
        self._tunnel: Tunnel | None = None
        self._early = b""
        self._bare = False
        """The body being received is not llhttp's to frame."""
        self._dead = False
        self.transport: asyncio.Transport
        self.peer = b""
        self.writable = True
        self.draining = False
        self.deadline = 0.0
        self.wheel_due = 0.0

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.peer = _address(transport.get_extra_info("peername"))
        self._expect(self._limits.keep_alive)

    def connection_lost(self, _exc: Exception | None) -> None:
        self._dead = True
        self.deadline = 0.0
        if self._tunnel is not None:
            self._tunnel.on_close()
        current, self._current = self._current, None
        self._waiting.clear()
        if current is not None and not current.finished:
            current.finished = True
            if current.handler is not None:
                current.handler.on_abort()
        if self._on_lost is not None:
            self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.on_data(data)
            return
        if self._dead:
            return
        if self._bare and self._parsed is not None:
            self._early += data
            self._take_early()
            return
        if self._in_head:
            if not self._head_bytes:
                self._expect(self._limits.head_time)
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early += data[upgrade.args[0] :]
            if self._parsed is None and self._tunnel is None:
                self.pause()  # Until it is known whether the upgrade comes about.
            elif self._parsed is not None:
                self._take_early()
        except _Refusal as refusal:
            self._reject(refusal.status, refusal.reason)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, _Refusal):
                self._reject(cause.status, cause.reason)
            elif isinstance(error, httptools.HttpParserInvalidMethodError):
                self._reject(501, "unknown method")
            elif isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
                raise cause from None
            else:
                self._reject(400, str(error))
        else:
            if self._in_head and self._head_bytes > self._limits.head:
                self._reject(431, f"request headers of more than {self._limits.head} bytes")

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.on_eof()
            return True
        # A client may half-close after its request; one that leaves in the middle of it is gone.
        if self._current is None or self._parsed is not None or not self._half_close:
            return False
        self._current.request.keep_alive = False
        return True

    def pause_writing(self) -> None:
        self.writable = False
        self._expect(self._limits.write_time)

    def resume_writing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.on_drain()
        elif self._current is not None:
            self._expect(0.0)
            if self._current.handler is not None:
                self._current.handler.on_drain()

    # The parser's side

    def on_message_begin(self) -> None:
        self._request = Request()
        self._host = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            return
        request = self._request
        request.headers.append((name, value))
        size = len(name)
        if size == 4:
            if name.lower() == b"host":
                self._host += 1
        elif size == 14:
            if name.lower() == b"content-length":
                request.length = int(value)
        elif size == 17:
            if name.lower() == b"transfer-encoding":
                request.length = None
                if value.strip().lower() != b"chunked":
                    raise _Refusal(501, "only the chunked transfer encoding is understood")
        elif size == 6 and name.lower() == b"expect":
            if value.strip().lower() != b"100-continue":
                raise _Refusal(417, "the only expectation that is understood is 100-continue")
            request.expects_continue = True

    def on_headers_complete(self) -> None:
        parser, request = self._parser, self._request
        self._in_head = False
        self._body_bytes = 0
        self._trailers = []
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        request.upgrade = parser.should_upgrade()
        self._check(request)
        self._head_bytes = 0
        responder = self._parsed = Responder(self, request)
        if self._current is None:
            self._begin(responder)
        else:
            self._waiting.append(responder)
            if len(self._waiting) == self._limits.pipelined:
                self.pause()

    def on_body(self, data: bytes) -> None:
        responder = self._parsed
        if responder is None:
            return
        self._body_bytes += len(data)
        if self._limits.body and self._body_bytes > self._limits.body:
            raise _Refusal(413, f"request body of more than {self._limits.body} bytes")
        if responder is not self._current:
            responder.held.append(data)
        elif not responder.finished and responder.handler is not None:
            self._expect(self._limits.body_time)
            responder.handler.on_body(data)

    def on_message_complete(self) -> None:
        responder = self._parsed
        if responder is not None and responder.request.upgrade and responder.request.length != 0 and not self._bare:
            # llhttp stops at a head that asks for an upgrade; a body comes all the same (h2c with POST).
            self._bare = True
            return
        self._parsed = None
        self._in_head = True
        if responder is None:
            return
        if responder is not self._current:
            responder.held.append(self._trailers)
        elif responder.finished:
            self._next()
        elif responder.handler is not None:
            self._expect(0.0)
            responder.handler.on_body_end(self._trailers)

    def _take_early(self) -> None:
        """The body of a request that asked for an upgrade: framed by Content-Length alone."""
        responder = self._parsed
        if responder is None or responder.request.length is None:
            self._reject(501, "a chunked body and an upgrade in one request are not understood")
            return
        part = self._early[: responder.request.length - self._body_bytes]
        self._early = b""
        if part:
            self.on_body(part)
        if self._body_bytes >= responder.request.length and not self._dead:
            self.on_message_complete()

    def _check(self, request: Request) -> None:
        """What llhttp accepts and we do not. Raises `_Refusal`."""
        if request.version not in ("1.1", "1.0"):
            raise _Refusal(505, "only HTTP/1.1 and HTTP/1.0 are understood")
        if self._host != 1 and (self._host or request.version == "1.1"):
            raise _Refusal(400, "a request must have one Host header")
        if request.length is None and request.version == "1.0":
            raise _Refusal(400, "HTTP/1.0 has no chunked bodies")
        if not request.target.startswith(b"/") and request.target != b"*":
            raise _Refusal(400, "the request target must be a path")
        if self._head_bytes > self._limits.head and _head_size(request) > self._limits.head:
            raise _Refusal(431, f"request headers of more than {self._limits.head} bytes")
        if self._limits.body and (request.length or 0) > self._limits.body:
            raise _Refusal(413, f"request body of more than {self._limits.body} bytes")

    # The responder's side

    def send(self, data: bytes) -> None:
        if not self._dead:
            self.transport.write(data)

    def pause(self) -> None:
        self._paused += 1
        if self._paused == 1 and not self._dead:
            self.transport.pause_reading()
            self._expect(0.0)

    def resume(self) -> None:
        if self._paused:
            self._paused -= 1
            if not self._paused and not self._dead:
                self.transport.resume_reading()

    def cut(self) -> None:
        """Close at once, losing what is not yet sent."""
        if not self._dead:
            self._dead = True
            self.transport.abort()

    def drain(self) -> None:
        """Answer what is under way with `Connection: close`; an idle connection closes now."""
        self.draining = True
        if self._current is None and not self._head_bytes and self._tunnel is None:
            self.transport.close()

    def become_tunnel(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._expect(0.0)
        if self._early:
            tunnel.on_data(self._early)
            self._early = b""
        self.resume()

    def answered(self, responder: Responder) -> None:
        """`responder` has sent everything."""
        if responder is not self._current:
            return
        if self._parsed is responder:
            self._linger()
        elif not responder.request.keep_alive:
            self._close()
        else:
            self._next()

    def _begin(self, responder: Responder) -> None:
        self._current = responder
        if responder.request.expects_continue and responder.request.version == "1.1":
            self.send(_CONTINUE)
        if responder is self._parsed and responder.request.length != 0:
            self._expect(self._limits.body_time)
        else:
            self._expect(0.0)
        responder.handler = self._accept(responder.request, responder)

    def _next(self) -> None:
        self._current = None
        self._paused = min(self._paused, 1)
        self.resume()
        if not self._waiting:
            if self.draining:
                self._close()
            else:
                self._expect(self._limits.keep_alive)
            return
        responder = self._waiting.popleft()
        held, responder.held = responder.held, []
        self._begin(responder)
        for part in held:
            if responder.finished or responder.handler is None:
                break
            if isinstance(part, bytes):
                responder.handler.on_body(part)
            else:
                responder.handler.on_body_end(part)

    def _reject(self, status: int, reason: str) -> None:
        """Answer in place of the handler, if nothing has been answered, and close."""
        current = self._current
        if current is not None and current.handler is not None and not current.finished:
            started = current.started
            current.finished = True
            current.handler.on_abort()
            if started:
                self.cut()
                return
        elif current is not None:
            self.cut()
            return
        headers, body = self._refuse(status, reason)
        lines = [status_line(status), *(b"%b: %b\r\n" % header for header in headers)]
        lines += [b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body), body]
        self.send(b"".join(lines))
        self._close()

    def _close(self) -> None:
        """Close after what was written is sent."""
        self._dead = True
        self.deadline = 0.0
        self.transport.close()

    def _linger(self) -> None:
        """The client is still sending a body that nobody wants.

        Closing at once would reset the connection and could take the answer away from the client before it has read
        it: so say that no more is coming, and read on for a moment (RFC 9112, section 9.6).
        """
        self._dead = True
        self._paused = 0
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._loop.time() + _LINGER
        self._wheel.watch(self)

    # Time

    def _expect(self, seconds: float) -> None:
        """Something must happen within `seconds`; 0 is no limit."""
        if seconds and not self._dead:
            self.deadline = self._loop.time() + seconds
            self._wheel.watch(self)
        else:
            self.deadline = 0.0

    def on_deadline(self) -> None:
        if self._dead:
            self.transport.abort()
        elif not self.writable:
            self.cut()
        elif self._in_head and self._head_bytes:
            self._reject(408, f"the request's headers took more than {self._limits.head_time:g} s")
        elif self._parsed is not None:
            self._reject(408, f"no byte of the request's body for {self._limits.body_time:g} s")
        elif self._current is None:
            self._close()


class _Refusal(Exception):
    """The request breaks a rule or a limit."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def _head_size(request: Request) -> int:
    """Bytes of the request line and the headers, as they came."""
    return len(request.target) + 20 + sum(len(name) + len(value) + 4 for name, value in request.headers)


def _address(peer: object) -> bytes:
    """`ip:port`, as Go prints a remote address; empty for a unix socket."""
    if not isinstance(peer, tuple):
        return b""
    host, port = peer[:2]
    return (f"[{host}]:{port}" if ":" in host else f"{host}:{port}").encode()


def _plain_refusal(_status: int, reason: str) -> tuple[Headers, bytes]:
    return [(b"Content-Type", b"text/plain; charset=utf-8")], reason.encode() + b"\n"
