"""The reading half of a client's connection: bytes in, requests out.

llhttp (through httptools) does the framing and refuses what smuggles: a repeated or signed Content-Length,
Content-Length beside Transfer-Encoding, bare CR or LF, folded headers, NUL, spaces before a colon, bad chunk sizes.
This module adds what llhttp leaves to its user: limits, Host, request targets, versions. Two things are done without it:
a head that has come before, or is made of plain lines, needs no parser (`Heads`), and the rest of a long body with a Content-Length is counted.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from typing import TYPE_CHECKING, Final

import httptools

from hilbert.kit.http1 import refusals
from hilbert.kit.http1.limits import LINGER_BYTES, ChunkMeter
from hilbert.kit.http1.refusals import Refusal
from hilbert.kit.http1.request import Headers, Request
from hilbert.kit.http1.responder import Accept, Responder

if TYPE_CHECKING:
    import asyncio
    from asyncio import Protocol as AsyncioProtocol

    from hilbert.kit.http1.heads import Heads
    from hilbert.kit.http1.limits import Limits
    from hilbert.kit.http1.responder import Tunnel
else:
    AsyncioProtocol = object  # Event loops ask for its methods alone, and its import is a third of a watchdog's start.

SLICE: Final = 64 * 1024
"""Most bytes parsed in one go: bounds how far pipelined requests can run ahead of a pause."""

HEAD_SLICE: Final = 8 * 1024
"""The same for a head, of which each line costs a call: bounds how long others wait for the one that has too many."""

# Why nothing is read now: bits of `RequestReader._held_up`.
BODY: Final = 1
"""The handler takes no more of the body for now."""
QUEUE: Final = 2
"""Enough pipelined requests wait, or enough bytes of their bodies."""
UPGRADE: Final = 4
"""It is not known yet whose protocol the next bytes are in."""
REFUSED: Final = 8
"""Nothing that follows is of interest."""

_LF: Final = 0x0A
"""As a number: looking for one byte as `bytes` costs ten times as much."""

_ASCII: Final = bytes(range(0x80)) + b"~" * 0x80
"""What stands for bytes of a request line that llhttp does not take."""

_SIZES: Final = frozenset(map(len, (b"host", b"expect", b"content-length", b"transfer-encoding")))
"""Lengths of the names that `on_header` looks at."""


_NO_PARSER: Final = httptools.HttpRequestParser(None)
"""Of a connection that is gone."""


class RequestReader(AsyncioProtocol):
    """Makes requests of what a client sends, and gives the first that is not answered to `_accept`; others wait."""

    __slots__ = (
        "_accept",
        "_ahead",
        "_backlog",
        "_begun",
        "_between",
        "_body_bytes",
        "_counted",
        "_current",
        "_dead",
        "_early",
        "_fresh",
        "_head_bytes",
        "_head_size",
        "_headers",
        "_heads",
        "_held",
        "_held_up",
        "_host",
        "_in_head",
        "_limits",
        "_line",
        "_meter",
        "_parsed",
        "_parser",
        "_parsing",
        "_pieces",
        "_request",
        "_trailers",
        "_tunnel",
        "_waiting",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, accept: Accept, limits: Limits, heads: Heads | None) -> None:
        self._accept = accept
        self._limits = limits
        self._heads = heads
        self._parser = httptools.HttpRequestParser(self)
        self._fresh = heads is not None
        """Nothing is under way: the next byte begins a request, and the parser is in its first state."""
        self._between = True
        """The parser is in its first state."""
        self._begun = 0
        """Requests that the parser has seen the beginning of."""
        self._waiting: deque[Responder] = deque()
        self._current: Responder | None = None
        self._request = Request()
        self._headers: Headers = []
        """Of that request, as far as they have been parsed."""
        self._parsed: Responder | None = None
        """The request whose body is being received."""
        self._trailers: Headers = []
        self._head_bytes = 0
        """Received since the last request was whole, while the next one's head is not."""
        self._head_size = 0
        """Of the parts of the head that have been parsed."""
        self._body_bytes = 0
        self._ahead: bytes | None = None
        """What came behind the head that is being parsed."""
        self._host: bytes | None = None
        self._in_head = True
        self._line: bytes | None = None
        """The request line as it came, while it holds bytes that llhttp does not take and that stand for others."""
        self._meter: ChunkMeter | None = None
        self._held = 0
        """Bytes of bodies that wait for their request's turn."""
        self._counted = False
        """The rest of the body is framed by counting its bytes."""
        self._held_up = 0
        self._backlog = b""
        """Received and not yet parsed."""
        self._parsing = False
        self._pieces: list[bytes] = []
        """Chunks that have been parsed and not yet given on."""
        self._tunnel: Tunnel | None = None
        self._early = b""
        """What came behind a request for an upgrade."""
        self._dead = False

    def _forget(self) -> None:
        """The connection is gone: hold nothing of what was received, and leave no circle with the parser.

        The garbage collector comes seldom, and each client that is refused would leave what it has sent until then.
        """
        self._waiting.clear()
        self._backlog = self._early = b""
        self._line = self._ahead = None
        self._parsed = None
        self._request = Request()
        self._headers, self._trailers = [], []
        self._pieces = []
        self._parser = _NO_PARSER

    # What the answering half does

    @abstractmethod
    def _begin(self, responder: Responder) -> None:
        """The turn of a request has come."""

    @abstractmethod
    def _leave(self, responder: Responder) -> None:
        """The current request is received and answered whole."""

    @abstractmethod
    def _reject(self, status: int, reason: str) -> None:
        """Refuse the request being received, and everything behind it."""

    @abstractmethod
    def _arm(self) -> None:
        """Set the deadline for what must happen next."""

    # The transport's side

    def data_received(self, data: bytes) -> None:
        if self._fresh:
            self._fresh = False
            data = self._take(data)
            if not data and not self._backlog:
                return
        if self._tunnel is not None:
            self._tunnel.on_data(data)
        elif self._dead:
            self._head_bytes += len(data)
            if self._head_bytes > LINGER_BYTES:
                self.transport.abort()
        elif self._held_up or self._backlog or (len(data) > SLICE and not self._counted):
            self._backlog += data
            self._parse_backlog()
        else:
            self._parse(data)
            if self._backlog:
                self._parse_backlog()

    def _take(self, data: bytes) -> bytes:
        """Take a request whose head needs no parser and that is here whole, or learn its head. Returns what is still to be parsed."""
        heads = self._heads
        if heads is None:
            return data
        request = heads.get(data)  # Most have no body.
        body = b""
        if request is None:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                return data
            head, body = data[:end], data[end:]
            request = (heads.get(head) if body else None) or heads.read(head)
            if request is None:
                begun = self._begun
                self._ahead = body if len(data) <= SLICE else None
                self._parse(head)
                self._ahead = None
                # It is known from now on if the parser, from its first state on, made exactly one head of exactly these bytes.
                whole = self._between or not (self._in_head or self._body_bytes)
                if whole and self._begun == begun + 1 and not self._dead:
                    heads.learn(head, self._request)
                return body
        if request.length != len(body) or len(data) > SLICE:
            return data
        responder = self._current = self._parsed = Responder(self, request)  # type: ignore[arg-type]  # its other half
        responder.body = body
        handler = responder.handler = self._accept(request, responder)
        self._body_bytes = len(body)
        if not responder.taken and body and not responder.finished:
            handler.on_body(body)
        self._parsed = None
        if responder.finished:
            self._leave(responder)
        elif not responder.taken:
            handler.on_body_end([])
        return b""

    def _parse_backlog(self) -> None:
        while self._backlog and not self._held_up and not self._dead and not self._parsing:
            part, self._backlog = self._backlog[:SLICE], self._backlog[SLICE:]
            self._parse(part)

    def _parse(self, data: bytes) -> None:
        self._parsing = True
        before = self._body_bytes
        try:
            if self._counted:
                data = self._count(data)
                if not data or self._dead:
                    return
            if self._in_head:
                self._head_bytes += len(data)
                if self._line is not None or not data.isascii() or (self._between and _LF not in data):
                    data = self._ascii(data)
                if len(data) > HEAD_SLICE:
                    data = self._cut(data, HEAD_SLICE)
            elif self._parsed is not None and 0 < (self._parsed.request.length or 0) - self._body_bytes < len(data):
                data = self._cut(data, (self._parsed.request.length or 0) - self._body_bytes)
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading(data[upgrade.args[0] :])
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
            if self._in_head:
                if self._head_bytes:
                    self._go_on_with_head(len(data))
            elif self._meter is not None:
                if self._pieces:
                    self._give_chunks()
                received = self._body_bytes - before if self._body_bytes >= before else self._body_bytes
                if self._meter.exceeds(len(data) - received, received, self._body_bytes):
                    self._reject(431 if self._trailers else 413, "chunk extensions or trailers without end")
            elif self._parsed is not None and (self._parsed.request.length or 0) - self._body_bytes > SLICE:
                self._counted = True
                self._parser = httptools.HttpRequestParser(self)
                self._between = True
        finally:
            self._parsing = False

    def _go_on_with_head(self, size: int) -> None:
        """`size` bytes have come, and the head that they belong to is not whole."""
        limits = self._limits
        if self._head_bytes > limits.head:
            self._reject(431, refusals.too_long(limits))
        elif len(self._headers) > limits.lines:
            self._reject(431, refusals.too_many(limits))
        elif self._head_bytes == size:
            self._arm()  # From the first byte of a head; those that follow gain it no time.

    def _ascii(self, data: bytes) -> bytes:
        """Part of a head, in which others stand for bytes of the request line that llhttp does not take.

        The line is kept, and the target cut out of it: targets pass byte for byte, also those of clients that send UTF-8 as it is.
        """
        line = self._line
        if line is None:
            if not self._between:
                return data  # The request line has been parsed; the header lines may hold any byte.
            line = b""
        elif line.endswith(b"\n") and line.strip(b"\r\n"):
            return data
        whole = data.find(b"\r\n\r\n") + 4
        if whole >= 4:
            data = self._cut(data, whole)  # Behind it another request line may stand.
        blank = 0 if line.strip(b"\r\n") else len(data) - len(data.lstrip(b"\r\n"))
        end = data.find(b"\n", blank) + 1 or len(data)
        self._line = line + data[:end]
        return data[:end].translate(_ASCII) + data[end:]

    def _cut(self, data: bytes, at: int) -> bytes:
        """Parse only so much of `data` now, and the rest as what has come later."""
        if self._in_head:
            self._head_bytes -= len(data) - at
        self._backlog = data[at:] + self._backlog
        return data[:at]

    def _count(self, data: bytes) -> bytes:
        """Take a part of a body that is as long as Content-Length says. Returns what comes behind the body."""
        responder = self._parsed
        if responder is None:
            return b""
        left = (responder.request.length or 0) - self._body_bytes
        self.on_body(data if len(data) <= left else data[:left])
        if len(data) < left or self._dead:
            return b""
        self.on_message_complete()
        self._counted = False
        return data[left:]

    def _upgrading(self, rest: bytes) -> None:
        """A head asked for an upgrade, and the parser has stopped behind it."""
        if not self._counted:
            self._early += rest
            if self._tunnel is None:
                self._hold_up(UPGRADE)  # Until it is known whether the upgrade comes about.
        elif self._parsed is not None and self._parsed.request.length is None:
            self._reject(501, "a chunked body and an upgrade in one request are not supported")
        elif rest:
            self._count(rest)

    # The parser's side

    def on_message_begin(self) -> None:
        self._fresh = self._between = False
        self._begun += 1
        self._request = Request()
        self._request.headers = self._headers = []
        self._host = None
        self._head_size = 0

    def on_url(self, url: bytes) -> None:
        self._request.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            self._trailers.append((name, value))
            if len(self._trailers) > self._limits.lines:
                raise Refusal(431, f"more than {self._limits.lines} trailers")
            return
        self._headers.append((name, value))
        size = len(name)
        self._head_size += size + len(value) + 4
        if size not in _SIZES:
            return
        lowered = name.lower()
        if lowered == b"host":
            if self._host is not None:
                raise Refusal(400, "a request must have one Host header")
            self._host = value
        elif lowered == b"content-length":
            self._request.length = int(value)
        elif lowered == b"transfer-encoding":
            refusals.check_coding(value)
            self._request.length = None
        elif lowered == b"expect":
            refusals.check_expectation(value)
            self._request.expects_continue = True

    def on_headers_complete(self) -> None:
        parser, request = self._parser, self._request
        self._in_head = False
        self._body_bytes = 0
        self._trailers = []
        request.method = parser.get_method()
        request.version = parser.get_http_version()
        request.keep_alive = parser.should_keep_alive()
        request.upgrade = parser.should_upgrade()
        if self._line is not None:
            start = len(request.method) + 1
            request.target = self._line.lstrip(b"\r\n")[start : start + len(request.target)]
            self._line = None
        request.simple = (
            request.version == "1.1" and request.keep_alive and not request.upgrade and request.method != b"HEAD"
        )
        refusals.check_head(request, host=self._host, size=self._head_size, limits=self._limits)
        self._head_bytes = 0
        self._meter = ChunkMeter(self._limits.head) if request.length is None else None
        responder = self._parsed = Responder(self, request)  # type: ignore[arg-type]  # its other half
        if self._current is None:
            if self._ahead is not None and request.length == len(self._ahead) and not request.upgrade:
                responder.body = self._ahead
            self._begin(responder)
        else:
            self._waiting.append(responder)
            if len(self._waiting) >= self._limits.pipelined:
                self._hold_up(QUEUE)

    def on_body(self, data: bytes) -> None:
        responder = self._parsed
        if responder is None:
            return
        self._body_bytes += len(data)
        if self._limits.body and self._body_bytes > self._limits.body:
            raise Refusal(413, f"request body of more than {self._limits.body} bytes")
        if self._meter is not None:
            self._pieces.append(data)
        else:
            self._give(responder, data)

    def _give_chunks(self) -> None:
        """All that have come with one read go on as one: chunks of a byte would keep the worker from everybody else."""
        pieces, self._pieces = self._pieces, []
        if self._parsed is not None:
            self._give(self._parsed, pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _give(self, responder: Responder, data: bytes) -> None:
        if responder is not self._current:
            responder.hold(data)
            self._held += len(data)
            if self._held > self._limits.held:
                self._hold_up(QUEUE)
        elif not responder.finished and not responder.taken and responder.handler is not None:
            self._arm()
            responder.handler.on_body(data)

    def on_message_complete(self) -> None:
        responder = self._parsed
        if responder is not None and responder.request.upgrade and responder.request.length != 0 and not self._counted:
            # llhttp stops at a head that asks for an upgrade; a body comes all the same (h2c with POST).
            self._counted = True
            return
        if self._pieces:
            self._give_chunks()
        self._parsed = None
        self._in_head = self._between = True
        if responder is None:
            return
        if responder is not self._current:
            responder.hold(self._trailers)
        elif responder.finished:
            self._leave(responder)
        elif responder.handler is not None and not responder.taken:
            if responder.request.length != 0:
                self._arm()
            responder.handler.on_body_end(self._trailers)

    # Pauses

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
