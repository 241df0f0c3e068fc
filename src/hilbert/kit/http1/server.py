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

from hilbert.kit.http1 import refusals
from hilbert.kit.http1.limits import Limits
from hilbert.kit.http1.refusals import Refusal
from hilbert.kit.http1.responder import Accept, Headers, Request, Responder, Tunnel, peer_address
from hilbert.kit.http1.timers import TimerWheel

if TYPE_CHECKING:
    import asyncio
    from asyncio import Protocol as AsyncioProtocol
else:
    AsyncioProtocol = object  # Event loops ask for its methods alone, and its import is a third of a watchdog's start.

_HIGH_WATER: Final = 256 * 1024
_SLICE: Final = 64 * 1024
"""Most bytes parsed in one go: bounds how far pipelined requests can run ahead of a pause."""
_LINGER: Final = 3.0
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"

_BODY: Final = 1
"""The handler takes no more of the body for now."""
_QUEUE: Final = 2
"""Enough pipelined requests wait."""
_UPGRADE: Final = 4
"""It is not known yet whose protocol the next bytes are in."""
_REFUSED: Final = 8
"""Nothing that follows is of interest."""


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
        self._refuse = refuse or refusals.plain_refusal
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
        """Received since the last request was whole, while the next one's head is not."""
        self._head_size = 0
        """Of the parts of the head that have been parsed."""
        self._body_bytes = 0
        self._host = 0
        self._in_head = True
        self._held_up = 0
        """Why nothing is read now: bits `_BODY`, `_QUEUE`, `_UPGRADE`, `_REFUSED`."""
        self._backlog = b""
        """Received and not yet parsed."""
        self._parsing = False
        self._advancing = False
        self._no_more = False
        """The client has half-closed."""
        self._refusal: tuple[int, str] | None = None
        """What to answer to a bad request once those before it are answered."""
        self._unsent = 0
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
        self.peer = peer_address(transport.get_extra_info("peername"))
        self._arm()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._dead = True
        self._wheel.forget(self)
        if self._tunnel is not None:
            self._tunnel.on_close()
        current, self._current = self._current, None
        self._waiting.clear()
        self._backlog = b""
        if current is not None and not current.finished:
            current.finished = True
            if current.handler is not None:
                current.handler.on_abort()
        if self._on_lost is not None:
            self._on_lost(self)

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.on_data(data)
        elif self._dead:
            return
        elif self._held_up or self._backlog or len(data) > _SLICE:
            self._backlog += data
            self._parse_backlog()
        else:
            self._parse(data)

    def _parse_backlog(self) -> None:
        while self._backlog and not self._held_up and not self._dead and not self._parsing:
            part, self._backlog = self._backlog[:_SLICE], self._backlog[_SLICE:]
            self._parse(part)

    def _parse(self, data: bytes) -> None:
        if self._bare and self._parsed is not None:
            self._early += data
            self._take_early()
            return
        if self._in_head:
            self._head_bytes += len(data)
        self._parsing = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._early += data[upgrade.args[0] :]
            if self._parsed is None and self._tunnel is None:
                self._hold_up(_UPGRADE)  # Until it is known whether the upgrade comes about.
            elif self._parsed is not None:
                self._take_early()
        except Refusal as refusal:
            self._reject(refusal.status, refusal.reason)
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(cause, Refusal):
                self._reject(cause.status, cause.reason)
            elif isinstance(error, httptools.HttpParserInvalidMethodError):
                self._reject(501, "unknown method")
            elif isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
                raise cause from None
            else:
                self._reject(400, str(error))
        else:
            if self._in_head and self._head_bytes:
                if self._head_bytes > self._limits.head:
                    self._reject(431, f"request headers of more than {self._limits.head} bytes")
                elif self._head_bytes == len(data):
                    self._arm()  # From the first byte of a head; those that follow gain it no time.
        finally:
            self._parsing = False

    def eof_received(self) -> bool:
        if self._tunnel is not None:
            self._tunnel.on_eof()
            return True
        # A client may half-close after its request; one that leaves in the middle of it is gone.
        if self._current is None or self._parsed is not None or not self._half_close:
            return False
        self._no_more = True
        return True

    def pause_writing(self) -> None:
        self.writable = False
        self._unsent = self.transport.get_write_buffer_size()
        self._arm()

    def resume_writing(self) -> None:
        self.writable = True
        if self._tunnel is not None:
            self._tunnel.on_drain()
        else:
            self._arm()
            if self._current is not None and self._current.handler is not None:
                self._current.handler.on_drain()

    # The parser's side

    def on_message_begin(self) -> None:
        self._request = Request()
        self._host = 0
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            return
        request = self._request
        request.headers.append((name, value))
        size = len(name)
        self._head_size += size + len(value) + 4
        if size == 4:
            if name.lower() == b"host":
                self._host += 1
        elif size == 14:
            if name.lower() == b"content-length":
                request.length = int(value)
        elif size == 17:
            if name.lower() == b"transfer-encoding":
                refusals.check_coding(value)
                request.length = None
        elif size == 6 and name.lower() == b"expect":
            refusals.check_expectation(value)
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
        refusals.check_head(request, hosts=self._host, size=self._head_size, limits=self._limits)
        self._head_bytes = 0
        responder = self._parsed = Responder(self, request)
        if self._current is None:
            self._begin(responder)
        else:
            self._waiting.append(responder)
            if len(self._waiting) >= self._limits.pipelined:
                self._hold_up(_QUEUE)

    def on_body(self, data: bytes) -> None:
        responder = self._parsed
        if responder is None:
            return
        self._body_bytes += len(data)
        if self._limits.body and self._body_bytes > self._limits.body:
            raise Refusal(413, f"request body of more than {self._limits.body} bytes")
        if responder is not self._current:
            responder.held.append(data)
        elif not responder.finished and responder.handler is not None:
            self._arm()
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
            self._leave(responder)
        elif responder.handler is not None:
            if responder.request.length != 0:
                self._arm()
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

    # The responder's side

    def send(self, data: bytes) -> None:
        if not self._dead:
            self.transport.write(data)

    def pause(self, responder: Responder) -> None:
        """Take no more of the body of `responder`'s request for now."""
        if responder is self._current and not self._held_up & _BODY:
            self._hold_up(_BODY)
            self._arm()

    def resume(self, responder: Responder) -> None:
        if responder is self._current and self._held_up & _BODY:
            self._go_on(_BODY)
            self._arm()

    def _hold_up(self, why: int) -> None:
        if not self._held_up and not self._dead:
            self.transport.pause_reading()
        self._held_up |= why

    def _go_on(self, why: int) -> None:
        if not self._held_up:
            return
        self._held_up &= ~why
        if not self._held_up and not self._dead:
            self.transport.resume_reading()
            self._parse_backlog()

    def cut(self) -> None:
        """Close at once, losing what is not yet sent."""
        if not self._dead:
            self._dead = True
            self.transport.abort()

    def drain(self) -> None:
        """Answer what is under way with `Connection: close`; an idle connection closes now.

        A client may just be sending a request on an idle connection, and would lose it. Setting `draining` alone lets
        such connections answer one request more.
        """
        self.draining = True
        if self._current is None and not self._head_bytes and self._tunnel is None:
            self.transport.close()

    def become_tunnel(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._arm()
        early, self._early, self._backlog = self._early + self._backlog, b"", b""
        if early:
            tunnel.on_data(early)
        self._go_on(_BODY | _QUEUE | _UPGRADE)

    def answered(self, responder: Responder) -> None:
        """`responder` has sent everything."""
        if responder is not self._current:
            return
        if self._parsed is not responder:
            self._leave(responder)
        elif not self._soon_whole(responder.request):
            self._linger()

    def _soon_whole(self, request: Request) -> bool:
        """Whether what is still to come of the request is so little that reading it beats a new connection."""
        return request.length == 0 or (
            request.keep_alive and request.length is not None and request.length - self._body_bytes <= _SLICE
        )

    def _leave(self, responder: Responder) -> None:
        """The current request is received and answered whole."""
        responder.handler = None  # The handler holds the responder: leave no circle for the garbage collector.
        if responder.request.keep_alive:
            self._next()
        else:
            self._close()

    def _begin(self, responder: Responder) -> None:
        self._current = responder
        request = responder.request
        if request.length != 0:
            self._arm()  # Otherwise the deadline of the idle connection may stand: it does not count while a call runs.
        responder.handler = self._accept(request, responder)
        if request.expects_continue and not responder.started and request.version == "1.1" and request.length != 0:
            self.send(_CONTINUE)

    def _next(self) -> None:
        """Go on to the next request, if it is there already."""
        self._current = None
        if self._advancing:
            return  # Answered at once: the loop below goes on, however many there are of that kind.
        self._advancing = True
        while self._current is None and self._waiting and not self._dead:
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
        self._advancing = False
        if self._dead:
            return
        if self._current is None:
            if self._refusal is not None:
                self._reject(*self._refusal)
            elif self.draining or self._no_more:
                self._close()
            else:
                self._arm()
        if self._held_up and len(self._waiting) < self._limits.pipelined:
            self._go_on(_QUEUE if self._current is not None else _BODY | _QUEUE)

    def _reject(self, status: int, reason: str) -> None:
        """Refuse the request being received, and everything behind it: answer in place of its handler, and close."""
        current, parsed = self._current, self._parsed
        if current is not None and current is not parsed:
            # Requests before it are fine, and are answered first.
            if parsed is not None:
                self._waiting.remove(parsed)
                self._parsed = None
            self._refusal = (status, reason)
            self._backlog = b""
            self._hold_up(_REFUSED)
            return
        if current is not None and not current.finished:
            started = current.started
            current.finished = True
            if current.handler is not None:
                current.handler.on_abort()
            if started:
                self.cut()
                return
        elif current is not None:
            self.cut()
            return
        self.send(refusals.render(status, *self._refuse(status, reason)))
        self._linger()

    def _close(self) -> None:
        """Close after what was written is sent."""
        self._dead = True
        self.deadline = self._loop.time() + self._limits.write_time if self._limits.write_time else 0.0
        self._wheel.watch(self)
        self.transport.close()

    def _linger(self) -> None:
        """The client is still sending a body that nobody wants.

        Closing at once would reset the connection and could take the answer away from the client before it has read
        it: so say that no more is coming, and read on for a moment (RFC 9112, section 9.6).
        """
        self._dead = True
        self._backlog = b""
        if self._held_up:
            self._held_up = 0
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.deadline = self._loop.time() + _LINGER
        self._wheel.watch(self)

    # Time

    def _arm(self) -> None:
        """Set the deadline for what must happen next."""
        limits = self._limits
        if not self.writable:
            seconds = limits.write_time
        elif self._tunnel is not None or self._dead:
            seconds = 0.0
        elif self._current is None:
            seconds = limits.head_time if self._head_bytes else limits.keep_alive
        elif self._parsed is self._current and self._current.request.length != 0 and not self._held_up:
            seconds = limits.body_time
        else:
            seconds = 0.0
        self.deadline = self._loop.time() + seconds if seconds else 0.0
        self._wheel.watch(self)

    def on_deadline(self) -> None:
        if self._dead:
            self.transport.abort()
        elif not self.writable:
            unsent = self.transport.get_write_buffer_size()
            if unsent >= self._unsent:
                self.cut()
            else:
                self._unsent = unsent
                self._arm()
        elif self._current is None:
            if self._head_bytes:
                self._reject(408, f"the request's headers took more than {self._limits.head_time:g} s")
            else:
                self._close()
        elif self._parsed is self._current:
            self._reject(408, f"no byte of the request's body for {self._limits.body_time:g} s")
