"""Responses that llhttp takes and we do not: what an upstream sends is a stranger's bytes."""

from __future__ import annotations

from typing import Final

from hilbert.kit.http1.limits import UpstreamLimits
from hilbert.kit.http1.request import Headers
from hilbert.kit.http1.response import Response

LIMITS: Final = UpstreamLimits()
TOO_LONG: Final = f"the response's headers have more than {LIMITS.head} bytes"
TOO_MANY: Final = f"the response has more than {LIMITS.lines} header lines"


class Malformed(Exception):
    """What came is no response, or more than a response may be. The message says why."""


def check_head(response: Response, version: str, *, measure: bool) -> None:
    """A whole head, interim ones too. Raises `Malformed`.

    `measure`: so many bytes have come that the head may be too long; its size is not known otherwise.
    """
    if measure and _size(response.headers) > LIMITS.head:
        raise Malformed(TOO_LONG)
    if version not in ("1.1", "1.0"):
        raise Malformed("malformed response: only HTTP/1.1 and HTTP/1.0 are supported")
    if response.status < 100:
        raise Malformed(f"malformed response: status {response.status:03}")


def check_framing(response: Response, version: str, *, chunked: bool) -> None:
    """A body must have one end for whoever reads it (RFC 9112, sections 6.1 and 6.3). Raises `Malformed`."""
    if chunked and (response.length is not None or version == "1.0"):
        raise Malformed("malformed response: Transfer-Encoding together with Content-Length, or in HTTP/1.0")


def check_coding(value: bytes, *, again: bool) -> None:
    """A Transfer-Encoding; `again`: there was one before. Raises `Malformed`."""
    if again or value.strip().lower() != b"chunked":
        raise Malformed("malformed response: a transfer encoding other than chunked")


def check_switch(response: Response, asked: bytes, *, complete: bool) -> None:
    """A 101 must change to a protocol that the request has asked for (RFC 9110, section 7.8). Raises `Malformed`.

    `asked` is the request's Upgrade, empty when there was none; `complete`: Connection and Upgrade are both there.
    """
    named = [value.strip().lower() for name, value in response.headers if name.lower() == b"upgrade"]
    if (
        not asked
        or not complete
        or len(named) != 1
        or named[0] not in {one.strip() for one in asked.lower().split(b",")}
    ):
        raise Malformed("malformed response: a change of protocol that was not asked for")


def _size(headers: Headers) -> int:
    """Bytes of header lines."""
    return sum(len(name) + len(value) + 4 for name, value in headers)
