"""Which header fields end at each hop, and which methods may be sent twice (RFC 9110, sections 7.6.1 and 9.2.2)."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from hilbert.kit.http1.request import Headers

HOP_FIELDS: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Fields that are about one connection, in lower case."""

NOT_TRAILING: Final = HOP_FIELDS | {
    b"age",
    b"authorization",
    b"cache-control",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"expires",
    b"host",
    b"if-match",
    b"if-modified-since",
    b"if-none-match",
    b"if-range",
    b"if-unmodified-since",
    b"location",
    b"max-forwards",
    b"pragma",
    b"range",
    b"retry-after",
    b"set-cookie",
    b"vary",
    b"www-authenticate",
}
"""Fields that are no trailers, in lower case: they say how a message is read, to whom it goes, or who sends it (RFC 9110, section 6.5.1).
Whoever merges trailers into the head would take them for what has been checked there."""

IDEMPOTENT: Final = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""Methods that may be sent again although an upstream may have acted on them."""

_PLAIN: Final = frozenset({b"close", b"keep-alive", b"upgrade"})
"""Values of Connection that name no other field."""


def named_by(connection: bytes) -> Set[bytes]:
    """The fields that a Connection field names, in lower case: they end at this hop as well."""
    lowered = connection.lower()
    return frozenset() if lowered in _PLAIN else {token.strip() for token in lowered.split(b",")}


def passing(headers: Headers, dropped: Set[bytes]) -> Headers:
    """The fields that go on to the next hop: none of `dropped`, which holds `HOP_FIELDS`, and none that Connection names."""
    passed: Headers = []
    named: Set[bytes] = frozenset()
    for header in headers:
        lowered = header[0].lower()
        if lowered not in dropped:
            passed.append(header)
        elif lowered == b"connection":
            named = named | named_by(header[1])
    if named:
        passed = [header for header in passed if header[0].lower() not in named]
    return passed


def first_value(headers: Headers, name: bytes) -> bytes:
    """The first value under `name`, which is in lower case; empty when there is none."""
    for key, value in headers:
        if len(key) == len(name) and key.lower() == name:
            return value
    return b""
