"""Which headers pass the gateway, which it sets, which it drops (OpenFaaS facts: hop-by-hop, call id, forwarding)."""

from __future__ import annotations

import os
import re
import time
from typing import Final

from hilbert.kit.http1 import Headers

_HOP: Final = frozenset(
    {
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)

_REPLACED: Final = _HOP | {
    b"host",
    b"content-length",
    b"expect",
    b"x-call-id",
    b"x-start-time",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-proto",
    b"x-forwarded-uri",
    b"x-openfaas-internal",
    b"x-hilbert-error",
    b"forwarded",
}
"""What a client sends under these names never reaches a function: it would pass for the gateway's word."""

_RESPONSE_REPLACED: Final = _HOP | {b"content-length", b"x-call-id", b"x-start-time", b"x-hilbert-error"}

_CALL_ID: Final = re.compile(rb"[!-~]{1,128}")

_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"HEAD"})


def allowed(method: bytes) -> bool:
    """Whether functions can be called with this method."""
    return method in _METHODS


class Incoming:
    """A request's headers, sorted into what passes and what the gateway needs to know."""

    __slots__ = ("accept", "call_id", "content_type", "host", "passed", "upgrade")

    def __init__(self, headers: Headers, *, upgrade: bool) -> None:
        self.accept = b""
        self.call_id = b""
        self.content_type = b""
        self.host = b""
        self.upgrade = b""
        self.passed: list[bytes] = []
        """Whole header lines."""
        named: set[bytes] = set()
        lines: list[tuple[bytes, bytes]] = []
        for name, value in headers:
            lowered = name.lower()
            if lowered not in _REPLACED:
                lines.append((lowered, b"%b: %b\r\n" % (name, value)))
                if lowered == b"accept":
                    self.accept = value
                elif lowered == b"content-type":
                    self.content_type = value
            elif lowered == b"host":
                self.host = value
            elif lowered == b"x-call-id":
                if _CALL_ID.fullmatch(value):
                    self.call_id = value
            elif lowered == b"connection":
                named.update(token.strip().lower() for token in value.split(b","))
            elif lowered == b"upgrade" and upgrade:
                self.upgrade = value
        if named:  # Headers that Connection names are this hop's too.
            lines = [(lowered, line) for lowered, line in lines if lowered not in named]
        self.passed = [line for _, line in lines]


def outgoing(headers: Headers) -> Headers:
    """An upstream's response headers, less what belongs to its hop or is the gateway's to say."""
    kept = [(name, value) for name, value in headers if name.lower() not in _RESPONSE_REPLACED]
    if len(kept) + 2 < len(headers):
        for name, value in headers:
            if name.lower() == b"connection":
                named = {token.strip().lower() for token in value.split(b",")}
                kept = [header for header in kept if header[0].lower() not in named]
    return kept


def new_call_id() -> bytes:
    """A random UUID (version 4)."""
    digits = os.urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}".encode()


def start_time() -> bytes:
    """Now, as OpenFaaS's `X-Start-Time`: Unix time in nanoseconds."""
    return b"%d" % time.time_ns()
