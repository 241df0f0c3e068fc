"""One HTTP/1.1 exchange without any I/O: a request as bytes, a response from bytes (llhttp, through httptools)."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import Final

import httptools
import msgspec

from hilbert.client.url import Origin
from hilbert.core.errors import BackendError, Invalid

MAX_HEAD: Final = 256 * 1024
"""Most bytes of a response's headers."""


class BrokenAnswer(BackendError):
    """What answered does not speak HTTP, or stopped in the middle."""

    code = "broken-answer"


Pieces = Iterable[bytes] | AsyncIterable[bytes]
"""A body as it comes; what can be iterated again can be sent again."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request, ready to be sent to any gateway."""

    method: str
    target: str
    """Path and query below the gateway's base path, percent-encoded."""
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    pieces: Pieces | None = None
    """Sent as they come, instead of `body`."""
    length: int | None = None
    """Bytes of all `pieces`, where it is known beforehand; otherwise they are sent in chunks."""

    def adding(self, headers: Sequence[tuple[str, str]]) -> Request:
        """The same request with more headers."""
        return msgspec.structs.replace(self, headers=(*self.headers, *headers)) if headers else self

    @property
    def safe_to_repeat(self) -> bool:
        """Whether sending it twice does what sending it once does (RFC 9110, 9.2.2)."""
        return self.pieces is None and self.method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")

    @property
    def removes(self) -> bool:
        """Whether it removes something by the REST API: what is not there any more is what was wanted."""
        return self.method == "DELETE" and self.target.startswith("/system/")

    @property
    def chunked(self) -> bool:
        return self.pieces is not None and self.length is None

    @property
    def has_body_again(self) -> bool:
        """Whether the body can be sent a second time."""
        return not isinstance(self.pieces, (Iterator, AsyncIterator))


class Head(msgspec.Struct, frozen=True):
    """Status line and headers of a response."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case; repeated ones are joined with a comma."""


def encode_head(request: Request, origin: Origin, *, extra: Sequence[tuple[str, str]], proxied: bool) -> bytes:
    """The request's line and headers as bytes. Raises `Invalid` for a header that could smuggle another one."""
    target = f"{origin.path}{request.target}"
    line = f"{request.method} {origin.scheme}://{origin.authority}{target}" if proxied else f"{request.method} {target}"
    given = {name.lower() for name, _ in request.headers}
    headers = [("Host", origin.authority)] if "host" not in given else []
    headers += [(name, value) for name, value in extra if name.lower() not in given]
    headers += request.headers
    if request.chunked:
        headers.append(("Transfer-Encoding", "chunked"))
    elif request.length is not None:
        headers.append(("Content-Length", str(request.length)))
    elif request.body or request.method in ("POST", "PUT", "PATCH"):
        headers.append(("Content-Length", str(len(request.body))))
    for name, value in headers:
        _check_header(name, value)
    text = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return f"{line} HTTP/1.1\r\n{text}\r\n".encode("latin-1")


def describe(request: Request, origin: Origin, extra: Sequence[tuple[str, str]]) -> str:
    """A request in lines, for a person who looks for a mistake; credentials and the body are left out."""
    lines = [f"{request.method} {origin}{request.target}"]
    for name, value in (*extra, *request.headers):
        shown = f"{value.partition(' ')[0]} [redacted]" if name.lower() in _PRIVATE else value
        lines.append(f"{name}: {shown}")
    body = f"{len(request.body)} bytes of body" if request.pieces is None else "the body is streamed"
    return "\n".join([*lines, f"({body})"])


_PRIVATE: Final = frozenset({"authorization", "proxy-authorization", "cookie"})
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
_TOKEN: Final = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def check_headers(headers: Sequence[tuple[str, str]]) -> None:
    """Refuse headers that a caller must not set, since the framing is ours. Raises `Invalid`."""
    for name, value in headers:
        if name.lower() in _FRAMING:
            raise Invalid(f"header {name} cannot be set: the connection's framing is not the caller's")
        _check_header(name, value)


def _check_header(name: str, value: str) -> None:
    if not name or not _TOKEN.issuperset(name):
        raise Invalid(f"({name!r}) is not a header name")
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 or ord(c) > 255 for c in value):
        raise Invalid(f"the value of header {name} has a control character or one outside Latin-1")


def octets(given: object, what: str) -> bytes:
    """Text as UTF-8. Raises `Invalid` for what is neither text nor bytes; `what` names it."""
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(given)
    raise Invalid(f"{what} must be bytes or text, not {type(given).__name__}", hint="for JSON, use json.dumps(...)")


def encode_chunk(piece: bytes | str) -> bytes:
    """One chunk of a chunked body; the empty one ends it. Raises `Invalid` for what is neither bytes nor text."""
    data = octets(piece, "a piece of a body")
    return b"%x\r\n%b\r\n" % (len(data), data)


class Reply:
    """Takes a response's bytes as they come and gives its head and pieces of its body."""

    def __init__(self, method: str) -> None:
        self.head: Head | None = None
        self.done = False
        self.keep_alive = False
        self.begun = False
        """Whether any byte has come."""
        self._method = method
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head_bytes = 0
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Raises `BrokenAnswer`. An empty `data` means that the connection was closed."""
        if not data:
            self._close()
            return
        self.begun = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            raise BrokenAnswer("the gateway answered with an upgrade that was not asked for") from exc
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            raise cause if isinstance(cause, BrokenAnswer) else BrokenAnswer(f"the answer is not HTTP: {exc}") from exc
        except httptools.HttpParserError as exc:
            if not self.done:  # Bytes after the end are the next answer's to nobody; the connection is not kept.
                raise BrokenAnswer(f"the answer is not HTTP: {exc}") from exc
            self.keep_alive = False

    def take_absence_for_success(self) -> None:
        """Read 404 as 202: the answer to a removal that was sent a second time, since the first answer was lost."""
        if self.head is not None and self.head.status == 404:
            self.head = msgspec.structs.replace(self.head, status=202)

    def take(self) -> list[bytes]:
        """Pieces of the body since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _close(self) -> None:
        self.keep_alive = False
        if self.done:
            return
        if self.head is None:
            raise BrokenAnswer("the connection was closed before the answer began")
        if "content-length" in self.head.headers or "transfer-encoding" in self.head.headers:
            raise BrokenAnswer("the connection was closed in the middle of the answer")
        self.done = True

    # What httptools calls.

    def on_message_begin(self) -> None:
        if self.done:
            raise BrokenAnswer("the gateway sent two answers to one request")
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD:
            raise BrokenAnswer(f"the answer's headers are longer than {MAX_HEAD} bytes")
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        self._headers[key] = f"{self._headers[key]}, {text}" if key in self._headers else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:
            self.head = Head(status, self._headers)
            self.keep_alive = self._parser.should_keep_alive()
            if self._method == "HEAD":
                self.done = True
                self.keep_alive = False

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)

    def on_message_complete(self) -> None:
        if self.head is not None:  # Otherwise an interim answer, e.g. 100.
            self.done = True
