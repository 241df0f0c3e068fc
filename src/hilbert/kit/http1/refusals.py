"""Requests that are refused although llhttp takes them, and how a refusal is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def check_head(request: Request, *, hosts: int, size: int, limits: Limits) -> None:
    """What llhttp accepts and we do not (RFC 9112, sections 2.3, 3.2 and 6.1). Raises `Refusal`.

    `hosts` is how many Host headers came, `size` the bytes of all headers.
    """
    if request.version not in ("1.1", "1.0"):
        raise Refusal(505, "only HTTP/1.1 and HTTP/1.0 are understood")
    if hosts != 1 and (hosts or request.version == "1.1"):
        raise Refusal(400, "a request must have one Host header")
    if request.length is None and request.version == "1.0":
        raise Refusal(400, "HTTP/1.0 has no chunked bodies")
    target = request.target
    if not target.startswith(b"/") and (target != b"*" or request.method != b"OPTIONS"):
        raise Refusal(400, "the request target must be a path")
    if size + len(target) > limits.head:
        raise Refusal(431, f"request headers of more than {limits.head} bytes")
    if limits.body and (request.length or 0) > limits.body:
        raise Refusal(413, f"request body of more than {limits.body} bytes")


def check_coding(value: bytes) -> None:
    """A Transfer-Encoding. Raises `Refusal`."""
    if value.strip().lower() != b"chunked":
        raise Refusal(501, "only the chunked transfer encoding is understood")


def check_expectation(value: bytes) -> None:
    """An Expect. Raises `Refusal`."""
    if value.strip().lower() != b"100-continue":
        raise Refusal(417, "the only expectation that is understood is 100-continue")


def render(status: int, headers: Headers, body: bytes) -> bytes:
    """The whole answer, after which the connection closes."""
    lines = [STATUS_LINES[status], *(b"%b: %b\r\n" % header for header in headers)]
    lines += [b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body), body]
    return b"".join(lines)


def plain_refusal(_status: int, reason: str) -> tuple[Headers, bytes]:
    """A line of text."""
    return [(b"Content-Type", b"text/plain; charset=utf-8")], reason.encode() + b"\n"
