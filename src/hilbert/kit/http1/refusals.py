"""Requests that are refused although llhttp takes them, and how a refusal is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hilbert.kit.http1.hosts import KNOWN_HOSTS, is_host
from hilbert.kit.http1.status import STATUS_LINES

if TYPE_CHECKING:
    from hilbert.kit.http1.limits import Limits
    from hilbert.kit.http1.request import Headers, Request


class Refusal(Exception):
    """The request breaks a rule or a limit."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def check_head(request: Request, *, host: bytes | None, size: int, limits: Limits) -> None:
    """What llhttp accepts and we do not (RFC 9112, sections 2.3, 3.2 and 6.1). Raises `Refusal`.

    `host` is the value of the Host header, None when there is none; `size` the bytes of all headers. A target in absolute form is
    turned into a path and a Host (section 3.2.2).
    """
    if request.version not in ("1.1", "1.0"):
        raise Refusal(505, "only HTTP/1.1 and HTTP/1.0 are supported")
    if host is None:
        if request.version == "1.1":
            raise Refusal(400, "a request must have one Host header")
    elif host not in KNOWN_HOSTS and not is_host(host.strip(b" \t")):
        raise Refusal(400, "the Host header must be a host name or address, with or without a port")
    if request.length is None and request.version == "1.0":
        raise Refusal(400, "HTTP/1.0 has no chunked bodies")
    target = request.target
    if size + len(target) > limits.head:
        raise Refusal(431, too_long(limits))
    if len(request.headers) > limits.lines:
        raise Refusal(431, too_many(limits))
    if not target.startswith(b"/") and (target != b"*" or request.method != b"OPTIONS"):
        _take_absolute(request)
    if limits.body and (request.length or 0) > limits.body:
        raise Refusal(413, f"request body of more than {limits.body} bytes")


def _take_absolute(request: Request) -> None:
    """`http://HOST/PATH` as target: what it says of the host wins over the Host header."""
    scheme, mark, rest = request.target.partition(b"://")
    authority = rest
    for end in (b"/", b"?", b"#"):
        authority = authority.partition(end)[0]
    if not mark or scheme.lower() not in (b"http", b"https") or not authority or not is_host(authority):
        raise Refusal(400, "the request target must be a path, or a URL with a host and no user")
    path = rest[len(authority) :]
    if not path.startswith(b"/"):
        path = b"*" if not path and request.method == b"OPTIONS" else b"/" + path
    request.target = path
    request.headers = [(name, authority if name.lower() == b"host" else value) for name, value in request.headers]


def too_long(limits: Limits) -> str:
    return f"request headers of more than {limits.head} bytes"


def too_many(limits: Limits) -> str:
    return f"more than {limits.lines} request headers"


def check_coding(value: bytes) -> None:
    """A Transfer-Encoding. Raises `Refusal`."""
    if value.strip().lower() != b"chunked":
        raise Refusal(501, "only the chunked transfer encoding is supported")


def check_expectation(value: bytes) -> None:
    """An Expect. Raises `Refusal`."""
    if value.strip().lower() != b"100-continue":
        raise Refusal(417, "the only expectation that is supported is 100-continue")


def render(status: int, headers: Headers, body: bytes, date: bytes) -> bytes:
    """The whole answer, after which the connection closes."""
    lines = [STATUS_LINES[status], date, *(b"%b: %b\r\n" % header for header in headers)]
    lines += [b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body), body]
    return b"".join(lines)


def plain_refusal(_status: int, reason: str) -> tuple[Headers, bytes]:
    """A line of text."""
    return [(b"Content-Type", b"text/plain; charset=utf-8")], reason.encode() + b"\n"
