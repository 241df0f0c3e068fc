"""Headers on their way through."""

from __future__ import annotations

import uuid

import pytest

from hilbert.dataplane import headers
from hilbert.kit.http1 import Request, Response


def request(*pairs: tuple[bytes, bytes], target: bytes = b"/function/f") -> Request:
    made = Request()
    made.method, made.target, made.headers = b"GET", target, list(pairs)
    return made


def passed(*pairs: tuple[bytes, bytes]) -> bytes:
    """Less the line that every call gets."""
    lines = headers.Incoming(request(*pairs)).lines
    assert lines.startswith(b"\r\n")
    before, forwarded, after = lines[2:].partition(b"X-Forwarded-Host: ")
    assert forwarded
    assert after.endswith(b"\r\n")
    return before


def response(*pairs: tuple[bytes, bytes]) -> Response:
    made = Response()
    made.headers = list(pairs)
    return made


def test_call_ids_are_random_uuids() -> None:
    """Version 4, none twice."""
    made = [headers.new_call_id().decode() for _ in range(1000)]
    assert len(set(made)) == 1000
    for one in made:
        assert str(uuid.UUID(one)) == one
        assert uuid.UUID(one).version == 4
        assert uuid.UUID(one).variant == uuid.RFC_4122


def test_named_headers_go_with_connection() -> None:
    """Wherever they stand, however they are written, in one line or several."""
    lines = passed(
        (b"X-ONE", b"1"),
        (b"Keep", b"k"),
        (b"Connection", b"x-one, Close"),
        (b"connection", b"X-Two"),
        (b"x-two", b"2"),
        (b"x-TWO", b"3"),
    )
    assert lines == b"Keep: k\r\n"


@pytest.mark.parametrize(
    "name",
    [
        b"Connection",
        b"TE",
        b"Trailer",
        b"Transfer-Encoding",
        b"Content-Length",
        b"Host",
        b"Expect",
        b"X-Call-Id",
        b"x-start-time",
    ],
)
def test_what_is_said_anew_is_not_passed(name: bytes) -> None:
    """Neither is it doubled."""
    assert passed((name, b"close")) == b""


@pytest.mark.parametrize(
    ("target", "segment", "path"),
    [
        (b"/function/f", b"f", b"/"),
        (b"/function/f.ns/", b"f.ns", b"/"),
        (b"/function/f/a%2Fb//c?x=/y", b"f", b"/a%2Fb//c?x=/y"),
        (b"/function/f?q=1/2", b"f", b"/?q=1/2"),
        (b"/function/", b"", b"/"),
        (b"/function", None, b"/function"),
        (b"/system/functions?namespace=a", None, b"/system/functions?namespace=a"),
    ],
)
def test_targets_are_split_byte_for_byte(target: bytes, segment: bytes | None, path: bytes) -> None:
    """The function's name, and the path that it sees."""
    incoming = headers.Incoming(request(target=target))
    assert (incoming.segment, incoming.path) == (segment, path)


def test_what_is_derived_of_a_head_is_made_once() -> None:
    """It is kept with the head."""
    one = request((b"Host", b"x"))
    assert headers.incoming(one) is headers.incoming(one)
    assert headers.incoming(one).host == b"x"


def test_responses() -> None:
    """Hop-by-hop off, the rest as it came, and whether it has a type and a date."""
    lines, typed, dated = headers.outgoing(
        response((b"A", b"1"), (b"Connection", b"b"), (b"B", b"2"), (b"content-TYPE", b"t"), (b"A", b"3"))
    )
    assert (lines, typed, dated) == (b"A: 1\r\ncontent-TYPE: t\r\nA: 3\r\n", True, False)
    lines, typed, dated = headers.outgoing(
        response((b"X-Hilbert-Error", b"x"), (b"Connection", b"close"), (b"X-Call-Id", b"c"))
    )
    assert (lines, typed, dated) == (b"", False, False)
    assert headers.outgoing(response((b"date", b"d")))[2]
