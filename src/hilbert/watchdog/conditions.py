"""Conditions and ranges of requests for a file (RFC 9110, sections 13 and 14), without entity tags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

MAX_RANGES: Final = 32
"""A request for more ranges gets the whole file, which section 14.2 allows."""

_DIGITS: Final = 18


class Span(NamedTuple):
    """A part of a file: its first byte and its length."""

    start: int
    length: int


class NotSatisfiable(Exception):
    """No range that was asked for has a byte in the file."""


def unmodified(header: Callable[[bytes], bytes], modified: float) -> bool:
    """Whether `If-Modified-Since` allows a 304. `header` gives the value of a request header; `modified` is in Unix seconds."""
    since = None if header(b"if-none-match") else _seconds(header(b"if-modified-since"))
    return since is not None and int(modified) <= since


def precondition_failed(header: Callable[[bytes], bytes], modified: float) -> bool:
    """Whether `If-Unmodified-Since` asks for a 412."""
    since = _seconds(header(b"if-unmodified-since"))
    return since is not None and int(modified) > since


def wanted(header: Callable[[bytes], bytes], modified: float, size: int) -> list[Span]:
    """The ranges that are to be sent; none for the whole file. Raises `NotSatisfiable`."""
    asked = header(b"range")
    unless = header(b"if-range")
    if not asked or (unless and _seconds(unless) != int(modified)):
        return []
    return parse_ranges(asked.decode("latin-1"), size)


def parse_ranges(text: str, size: int) -> list[Span]:
    """A `Range` header for a file of `size` bytes; none if it is not one to heed. Raises `NotSatisfiable`."""
    unit, _, given = text.partition("=")
    parts = [part.strip() for part in given.split(",") if part.strip()]
    if unit.strip() != "bytes" or not 0 < len(parts) <= MAX_RANGES:
        return []
    found = []
    for part in parts:
        first, dash, last = part.partition("-")
        if not (dash and _number(first) and _number(last)) or not first + last:
            return []
        if first and last and int(first) > int(last):
            return []
        start = int(first) if first else max(0, size - int(last))
        end = min(int(last) + 1, size) if first and last else size
        if start < end:
            found.append(Span(start, end - start))
    if not found:
        raise NotSatisfiable
    return found if sum(span.length for span in found) <= size else []


def _number(text: str) -> bool:
    return not text or (text.isascii() and text.isdigit() and len(text) <= _DIGITS)


def _seconds(value: bytes) -> int | None:
    """A date of HTTP as Unix seconds; None for anything else."""
    if not value:
        return None
    from email.utils import parsedate_to_datetime

    try:
        return int(parsedate_to_datetime(value.decode("latin-1")).timestamp())
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
