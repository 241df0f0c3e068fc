"""Status lines, made once."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final


class _Lines(dict[int, bytes]):
    def __missing__(self, status: int) -> bytes:
        return b"HTTP/1.1 %d \r\n" % status


STATUS_LINES: Final = _Lines(
    (status.value, f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii")) for status in HTTPStatus
)
"""`HTTP/1.1 200 OK` with its line end; a status that nobody named has an empty phrase."""

EMPTY_STATUSES: Final = frozenset({*range(100, 200), 204, 304})
"""Statuses whose response has no body (RFC 9110)."""
