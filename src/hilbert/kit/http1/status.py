"""Status lines, made once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

_LINES: Final = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}

EMPTY_STATUSES: Final = frozenset({*range(100, 200), 204, 304})
"""Statuses whose response has no body (RFC 9110)."""


def status_line(status: int) -> bytes:
    """`HTTP/1.1 200 OK` with its line end; a status that nobody named gets an empty phrase."""
    return _LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
