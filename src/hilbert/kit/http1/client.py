"""The client side of HTTP/1.1: one connection to an upstream."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from hilbert.kit.http1.limits import ChunkMeter
from hilbert.kit.http1.malformed import (
    LIMITS,
    TOO_LONG,
    TOO_MANY,
    Malformed,
    check_coding,
    check_framing,
    check_head,
    check_switch,
)
from hilbert.kit.http1.outbox import Outbox, Unheld
from hilbert.kit.http1.request import Headers
from hilbert.kit.http1.responder import Tunnel
from hilbert.kit.http1.response import Listener, Response
from hilbert.kit.http1.status import EMPTY_STATUSES

if TYPE_CHECKING:
    import asyncio
    from asyncio import Protocol as AsyncioProtocol
else:
    AsyncioProtocol = object  # Event loops ask for its methods alone, and its import is a third of a watchdog's start.

_HIGH_WATER: Final = 256 * 1024
_LONG: Final = 64 * 1024
"""Bytes still to come of a body, from which on they are counted instead of parsed."""


class Keeper(Protocol):
    """Where a connection goes between two requests; `Pool` is one."""

    @property
    def outbox(self) -> Outbox | Unheld:
        """What whole requests are sent through."""
        ...

    def release(self, connection: ClientConnection) -> None:
        """Take a connection back that is free."""
        ...

    def watch(self, connection: ClientConnection, seconds: float) -> None:
        """Set a connection's deadline, `seconds` from now."""
        ...

    def now(self) -> float:
        """Seconds on the loop's clock."""
        ...

    def lost(self, connection: ClientConnection) -> None:
        """A connection has closed, idle or in use."""
        ...


_NO_PARSER: Final = httptools.HttpResponseParser(None)
"""Of a connection that is gone."""


class ClientConnection(AsyncioProtocol):
    """One connection to an upstream; carries one request at a time.

    What has come is parsed first and given to the listener then, so that a response which is whole at once is one event. Two things are
    done without llhttp: a head with the very bytes of the last one is known, and the rest of a long body with a Content-Length is counted.
    """

    __slots__ = (
        "_asked", "_begun", "_body", "_bodyless", "_chunked", "_framed", "_head_bytes", "_in_head", "_informed",
        "_keeper", "_known", "_known_response", "_left", "_listener", "_meter", "_outbox", "_parser", "_poll",
        "_received", "_response", "_reusable", "_sent_at", "_sent_whole", "_told", "_trailers", "_whole", "crowded",
        "deadline", "open", "reading", "transport", "tunnel", "used", "wheel_due", "writable",
    )  # fmt: skip

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper
        self._outbox = keeper.outbox
        self._parser = httptools.HttpResponseParser(self)
        self._listener: Listener | None = None
        self._response = Response()
        self._body: list[bytes] = []
        """Parts of the body that were parsed and not yet given."""
        self._trailers: Headers = []
        self._received = 0
        """Bytes of the body."""
        self._known = b""
        """The head of the last response that came whole."""
        self._known_response = self._response
        self._in_head = True
        self._told = False
        """The listener has had the response's head."""
        self._informed = 0
        """Interim responses that have come."""
        self._sent_at = 0.0
        """On the loop's clock, when the first of them came."""
        self._asked = b""
        """The protocols that the request asks to change to; empty: it asks for none."""
        self._head_bytes = 0
        """Received since the last head was whole, while the next is not."""
        self._meter: ChunkMeter | None = None
        self._framed = False
        self._bodyless = False
        self._begun = False
        self._whole = False
        self._left = 0
        """Bytes of the body that are still to be counted; 0: the parser frames it."""
        self._sent_whole = True
        self._reusable = True
        self._chunked = False
        self._poll: select.poll | None = None
        self.tunnel: Tunnel | None = None
        self.transport: asyncio.Transport
        self.writable = True
        self.open = False
        self.reading = True
        self.crowded = False
        """It is not worth a descriptor while it waits."""
        self.used = 0
        """Requests sent so far: only a connection that has served one may be closed by its far end while idle."""
        self.deadline = 0.0
        self.wheel_due = 0.0

    # Sending

    def request(
        self,
        head: bytes,
        listener: Listener,
        *,
        bodyless: bool,
        whole: bool,
        chunked: bool,
        upgrade: bytes = b"",
        within: float = 0.0,
    ) -> None:
        """Send a request's head. `bodyless`: it is a HEAD. `chunked`: `send` frames chunks.

        `whole`: `head` is the whole request, its body included; nothing follows. `upgrade` is the value of its Upgrade field:
        a change to another protocol, or one that nobody has asked for, is no response. `within`: see `expect`.
        """
        self._begin(listener, within)
        self._asked = upgrade
        self._bodyless = bodyless
        self._sent_whole = whole
        self._chunked = chunked
        if whole:
            self._outbox.send(self.transport, head)
        else:
            self._outbox.write(self.transport, head)

    def ask(self, request: bytes, listener: Listener, within: float) -> None:
        """As `request`, for the usual ones: whole, no HEAD, and without a wish for an upgrade."""
        self._begin(listener, within)
        self._asked = b""
        self._bodyless = self._chunked = False
        self._sent_whole = True
        self._outbox.send(self.transport, request)

    def _begin(self, listener: Listener, within: float) -> None:
        self._listener = listener
        self._in_head = True
        self._told = self._begun = self._whole = False
        if within:
            self._keeper.watch(self, within)
        else:
            self.deadline = 0.0
        self.used += 1

    def send(self, data: bytes) -> bool:
        """Send a part of the body. False: wait for `on_upstream_drain` before the next."""
        self.transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)
        return self.writable

    def end(self, trailers: Headers) -> None:
        """The request is whole."""
        if self._chunked:
            lines = [b"0\r\n", *(b"%b: %b\r\n" % header for header in trailers), b"\r\n"]
            self.transport.write(b"".join(lines))
        self._sent_whole = True
        if self._whole:
            self._release()

    def cut(self) -> None:
        """Close at once; the listener hears nothing more."""
        self._listener = None
        self._reusable = False
        if self.open:
            self.transport.abort()

    def pause(self) -> None:
        if self.open and self.reading:
            self.reading = False
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.open and not self.reading:
            self.reading = True
            self.transport.resume_reading()

    def looks_closed(self) -> bool:
        """Ask the kernel whether the far end has closed, which the event loop may not have come round to."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(self._poll.poll(0))

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.open = True

    def data_received(self, data: bytes) -> None:
        listener = self._listener
        if listener is None:
            if self.tunnel is not None:
                self.tunnel.on_data(data)
            else:
                self.cut()  # An idle upstream has nothing to say.
        elif self._left:
            self._count(data, listener)
        elif self._begun:
            self._parse(data)
        else:
            self._begun = True
            known, response = self._known, self._known_response
            if known and len(data) - len(known) == response.length and data.startswith(known) and not self._bodyless:
                self._whole = True
                if self._sent_whole:
                    self._release()
                else:
                    self._settle()
                listener.on_whole_response(response, data[len(known) :])
            else:
                self._parse(data, first=True)

    def eof_received(self) -> bool:
        self._outbox.flush()
        if self.tunnel is not None:
            self.tunnel.on_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._outbox.flush()
        self._keeper.lost(self)
        if self.tunnel is not None:
            self.tunnel.on_close()
        elif self._listener is not None:
            if self._told and self._response.until_close and not self._whole:
                self._whole = True
                self._reusable = False
                self._sent_whole = True
                self._finish()
            else:
                reason = "connection closed" if self._begun else "connection closed before a response"
                self._lost(reason, reset=exc is not None)
        self._parser = _NO_PARSER  # It holds this connection: leave no circle, which would keep what was received.

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        if self.tunnel is not None:
            self.tunnel.on_drain()
        elif self._listener is not None:
            self._listener.on_upstream_drain()

    def on_deadline(self) -> None:
        if self._listener is not None:
            self._listener.on_upstream_deadline()
        elif self.tunnel is not None:
            self.tunnel.on_deadline()
        elif self.open:
            self.transport.close()

    def expect(self, seconds: float) -> None:
        """Call `on_upstream_deadline` after `seconds` from now, instead of what was set before; 0 is never."""
        if seconds:
            self._keeper.watch(self, seconds)
        else:
            self.deadline = 0.0

    # What has come

    def _parse(self, data: bytes, *, first: bool = False) -> None:
        before = self._received
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self._whole:
                cause = error.__context__
                if isinstance(cause, Malformed):
                    self._lost(str(cause))
                    return
                if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
                    raise cause from None
                self._lost(f"malformed response: {error}")
                return
            self._reusable = False  # There is something behind the response, which nobody has asked for.
        listener = self._listener
        if listener is None:
            return
        if self._in_head:
            if self._head_bytes > LIMITS.head:
                self._lost(TOO_LONG)
            return
        self._head_bytes = 0
        meter = self._meter
        if meter is not None:
            data_bytes = self._received - before if self._told else self._received
            if meter.exceeds(len(data) - data_bytes, data_bytes, self._received):
                self._lost("malformed response: chunk extensions or trailers without end")
                return
        self._give(data, listener, first=first)

    def _give(self, data: bytes, listener: Listener, *, first: bool) -> None:
        """Tell the listener what was parsed of `data`. `first`: the response begins there."""
        response = self._response
        body, self._body = self._body, []
        if not self._told:
            self._told = True
            framed = self._framed and not self._trailers
            all_here = self._whole and (framed or response.length == self._received)
            if all_here and not self._bodyless and response.status != 304:
                if framed:
                    response.length = self._received  # Chunks of which all have come: from here on it has a length.
                elif first and self._reusable and not self._informed:
                    # From its first state on, the parser has made one head of all that stands before the body.
                    self._known, self._known_response = data[: len(data) - self._received], response
                self._settle()
                listener.on_whole_response(response, b"".join(body))
                return
            listener.on_response(response)
        for part in body:
            if self._listener is not listener:
                return
            listener.on_response_body(part)
        if self._listener is not listener:
            return
        if self._whole:
            self._finish()
            return
        if response.length is not None and response.length - self._received >= _LONG:
            self._left = response.length - self._received
            self._parser = httptools.HttpResponseParser(self)
        listener.on_response_pause()

    def _count(self, data: bytes, listener: Listener) -> None:
        """Take a part of a body that is as long as Content-Length says."""
        if len(data) > self._left:
            data = data[: self._left]
            self._reusable = False
        self._left -= len(data)
        self._whole = not self._left
        listener.on_response_body(data)
        if self._listener is listener:
            if self._whole:
                self._finish()
            else:
                listener.on_response_pause()

    # The parser's side

    def on_message_begin(self) -> None:
        if self._whole:
            raise _Surplus
        self._response = Response()
        self._trailers = []
        self._received = 0
        self._in_head = True
        self._framed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            if len(self._trailers) > LIMITS.lines:
                raise Malformed(f"the response has more than {LIMITS.lines} trailers")
            return
        response = self._response
        response.headers.append((name, value))
        size = len(name)
        if size == 14:
            if name.lower() == b"content-length":
                response.length = int(value)
        elif size == 17 and name.lower() == b"transfer-encoding":
            check_coding(value, again=self._framed)
            self._framed = True
        if len(response.headers) > LIMITS.lines:
            raise Malformed(TOO_MANY)

    def on_headers_complete(self) -> None:
        parser, response = self._parser, self._response
        response.status = status = parser.get_status_code()
        version = parser.get_http_version()
        check_head(response, version, measure=self._head_bytes > LIMITS.head or self._informed > 0)
        if status < 200:
            self._inform(response, status)
            return
        check_framing(response, version, chunked=self._framed)
        self._in_head = False
        self._meter = ChunkMeter(LIMITS.head) if self._framed else None
        self._reusable = parser.should_keep_alive()
        response.until_close = (
            response.length is None and not self._framed and not self._bodyless and status not in EMPTY_STATUSES
        )
        if self._bodyless:
            self._whole = True

    def _inform(self, response: Response, status: int) -> None:
        """An interim response. Raises `Malformed` for one that is none, was not asked for, or is one too many."""
        if status == 101:
            check_switch(response, self._asked, complete=self._parser.should_upgrade())
            return
        if not self._informed:
            self._sent_at = self._keeper.now()
        self._informed += 1
        if self._informed > LIMITS.interim + self._keeper.now() - self._sent_at:
            raise Malformed(f"more than {LIMITS.interim} interim responses, and more than one a second")
        self._head_bytes = 0
        if self._listener is not None:
            self._listener.on_inform(response)

    def on_body(self, data: bytes) -> None:
        if self._whole:
            self._reusable = False  # The answer to a HEAD has no body.
            return
        self._received += len(data)
        self._body.append(data)

    def on_message_complete(self) -> None:
        if not self._in_head:
            self._whole = True

    # Ends

    def _settle(self) -> None:
        """The response is whole: make the connection free for the next request, if it can be."""
        if self._sent_whole:
            self._release()
        else:
            self._reusable = False  # The upstream answered before it had the whole request.

    def _finish(self) -> None:
        """The response is whole, and all of it but its end was given."""
        listener = self._listener
        if self._bodyless:
            self._parser = httptools.HttpResponseParser(self)  # It still waits for a body that never comes.
        self._settle()
        if listener is not None:
            listener.on_response_end(self._trailers)

    def _release(self) -> None:
        self._listener = None
        self._informed = 0
        if self._reusable and self.open:
            if not self.reading:
                self.resume()  # The last listener may have been slower than this upstream.
            self._keeper.release(self)
        elif self.open:
            self._outbox.flush()
            self.transport.close()

    def _upgraded(self, early: bytes) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.on_upgraded(self._response, early)

    def _lost(self, reason: str, *, reset: bool = False) -> None:
        listener, self._listener = self._listener, None
        begun = self._begun
        self._reusable = False
        if self.open:
            self.transport.abort()
        if listener is not None:
            listener.on_upstream_lost(reason, begun=begun, reset=reset)


class _Surplus(Exception):
    """Something stands behind a whole response."""
