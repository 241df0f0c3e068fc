"""The client side of HTTP/1.1: one connection to an upstream, and a pool of them for each address."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final, Protocol, cast

import httptools

from hilbert.kit.http1.responder import Headers, Tunnel
from hilbert.kit.http1.status import EMPTY_STATUSES
from hilbert.kit.http1.timers import TimerWheel

if TYPE_CHECKING:
    import asyncio
    from asyncio import Protocol as AsyncioProtocol
else:
    AsyncioProtocol = object  # Event loops ask for its methods alone, and its import is a third of a watchdog's start.

_HIGH_WATER: Final = 256 * 1024


class Response:
    """The head of one response, as it came."""

    __slots__ = ("headers", "length", "status", "until_close")

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = []
        self.length: int | None = None
        """Bytes of the body as Content-Length says; None when it does not."""
        self.until_close = False
        """The body ends with the connection."""


class Listener(Protocol):
    """What sent a request and takes the response. Called on the event loop."""

    def on_inform(self, response: Response) -> None:
        """An interim response (1xx other than 101)."""
        ...

    def on_response(self, response: Response) -> None: ...

    def on_response_body(self, data: bytes) -> None: ...

    def on_response_pause(self) -> None:
        """All that has come of the response so far has been given; more of it is to come."""
        ...

    def on_response_end(self, trailers: Headers) -> None: ...

    def on_upstream_lost(self, reason: str, *, begun: bool, reset: bool) -> None:
        """The response will not come, or not whole. `begun`: some bytes of it had come.

        `reset`: the upstream closed before it had read all that was sent, so it cannot have acted on the whole request.
        """
        ...

    def on_upstream_deadline(self) -> None:
        """`ClientConnection.deadline` has passed."""
        ...

    def on_upstream_drain(self) -> None:
        """The upstream has taken what was sent; `send` had returned False before."""
        ...

    def on_upgraded(self, response: Response, early: bytes) -> None:
        """The upstream changed the protocol (101); `early` are bytes that came behind. Set `ClientConnection.tunnel`."""
        ...


class ClientConnection(AsyncioProtocol):
    """One connection to an upstream; carries one request at a time."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._parser = httptools.HttpResponseParser(self)
        self._listener: Listener | None = None
        self._response = Response()
        self._trailers: Headers = []
        self._in_head = True
        self._framed = False
        self._bodyless = False
        self._begun = False
        self._whole = False
        self._sent_whole = True
        self._reusable = True
        self._chunked = False
        self.tunnel: Tunnel | None = None
        self.transport: asyncio.Transport
        self.writable = True
        self.open = False
        self.reading = True
        self.used = 0
        """Requests sent so far: only a connection that has served one may be closed by its far end while idle."""
        self.deadline = 0.0
        self.wheel_due = 0.0

    # Sending

    def request(self, head: bytes, listener: Listener, *, bodyless: bool, whole: bool, chunked: bool) -> None:
        """Send a request's head. `bodyless`: it is a HEAD. `whole`: no body follows. `chunked`: `send` frames chunks."""
        self._listener = listener
        self._response = Response()
        self._in_head = True
        self._framed = self._begun = self._whole = False
        self._bodyless = bodyless
        self._sent_whole = whole
        self._chunked = chunked
        self.deadline = 0.0
        self.used += 1
        self.transport.write(head)

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
        poll = select.poll()
        poll.register(self.transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    # The transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's do not inherit from asyncio's
        self.transport.set_write_buffer_limits(high=_HIGH_WATER)
        self.open = True

    def data_received(self, data: bytes) -> None:
        if self.tunnel is not None:
            self.tunnel.on_data(data)
            return
        if self._listener is None:
            self.cut()  # An idle upstream has nothing to say.
            return
        self._begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
                raise cause from None
            self._lost(f"malformed response: {error}")
        else:
            if self._whole:
                self._finish()
            elif self._listener is not None:
                self._listener.on_response_pause()

    def eof_received(self) -> bool:
        if self.tunnel is not None:
            self.tunnel.on_eof()
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        self._pool.lost(self)
        if self.tunnel is not None:
            self.tunnel.on_close()
        elif self._listener is not None:
            if not self._in_head and self._response.until_close and not self._whole:
                self._whole = True
                self._reusable = False
                self._sent_whole = True
                self._finish()
            else:
                reason = "connection closed" if self._begun else "connection closed before a response"
                self._lost(reason, reset=exc is not None)

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
        elif self.open and self.tunnel is None:
            self.transport.close()

    def expect(self, seconds: float) -> None:
        """Call `on_upstream_deadline` after `seconds` from now, instead of what was set before; 0 is never."""
        self._pool.watch(self, seconds)

    # The parser's side

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            return
        self._response.headers.append((name, value))
        if len(name) == 14 and name.lower() == b"content-length":
            self._response.length = int(value)
        elif len(name) == 17 and name.lower() == b"transfer-encoding":
            self._framed = b"chunked" in value.lower()

    def on_headers_complete(self) -> None:
        parser, response = self._parser, self._response
        self._in_head = False
        self._trailers = []
        response.status = parser.get_status_code()
        if response.status == 101:
            return
        listener = self._listener
        if listener is None:
            return
        if response.status < 200:
            listener.on_inform(response)
            return
        self._reusable = parser.should_keep_alive()
        response.until_close = (
            response.length is None
            and not self._framed
            and not self._bodyless
            and response.status not in EMPTY_STATUSES
        )
        if self._bodyless:
            self._whole = True
        listener.on_response(response)

    def on_body(self, data: bytes) -> None:
        if self._listener is not None:
            self._listener.on_response_body(data)

    def on_message_complete(self) -> None:
        if self._response.status < 200:
            if self._response.status != 101:
                self._response = Response()
                self._in_head = True
            return
        self._whole = True

    def _finish(self) -> None:
        """The response is whole."""
        listener = self._listener
        if self._bodyless:
            self._parser = httptools.HttpResponseParser(self)  # It still waits for a body that never comes.
        if self._sent_whole:
            self._release()
        else:
            self._reusable = False  # The upstream answered before it had the whole request.
        if listener is not None:
            listener.on_response_end(self._trailers)

    def _release(self) -> None:
        self._listener = None
        if self._reusable and self.open:
            self.resume()  # The last listener may have been slower than this upstream.
            self._pool.release(self)
        elif self.open:
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


class Pool:
    """Connections to one upstream address, `unix:/path` or `tcp:host:port`."""

    __slots__ = ("_closed", "_idle", "_idle_time", "_loop", "_most_idle", "_wheel", "address")

    def __init__(self, address: str, wheel: TimerWheel, *, idle_time: float = 30.0, most_idle: int = 256) -> None:
        self.address = address
        self._wheel = wheel
        self._idle_time = idle_time
        self._most_idle = most_idle
        self._idle: list[ClientConnection] = []
        self._closed = False
        self._loop = wheel.loop

    def take(self, *, certain: bool = False) -> ClientConnection | None:
        """An idle connection, the one used last, or None.

        `certain`: look whether its far end has closed it, at the price of a system call: for a request that could not
        be sent again.
        """
        while self._idle:
            connection = self._idle.pop()
            if connection.open and not connection.transport.is_closing():
                if not certain or not connection.looks_closed():
                    return connection
                connection.cut()
        return None

    async def connect(self) -> ClientConnection:
        """A new connection. Raises `OSError`."""
        kind, _, place = self.address.partition(":")
        if kind == "unix":
            _, connection = await self._loop.create_unix_connection(lambda: ClientConnection(self), place)
        else:
            host, _, port = place.rpartition(":")
            _, connection = await self._loop.create_connection(
                lambda: ClientConnection(self), host.strip("[]"), int(port)
            )
        return connection

    def release(self, connection: ClientConnection) -> None:
        if self._closed or len(self._idle) >= self._most_idle:
            connection.transport.close()
            return
        self.watch(connection, self._idle_time)
        self._idle.append(connection)

    def watch(self, connection: ClientConnection, seconds: float) -> None:
        if seconds:
            connection.deadline = self._loop.time() + seconds
            self._wheel.watch(connection)
        else:
            connection.deadline = 0.0

    def lost(self, connection: ClientConnection) -> None:
        """A connection is gone. If it was idle, it is no more; in use, it is its listener's matter."""
        self._wheel.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections; those in use close when they are done."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.transport.close()
