"""Headers on their way through."""

from __future__ import annotations

import uuid

import pytest

from hilbert.dataplane import headers


def passed(*pairs: tuple[bytes, bytes], upgrade: bool = False) -> bytes:
    return b"".join(headers.Incoming(list(pairs), upgrade=upgrade).passed)


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


def test_responses() -> None:
    """Hop-by-hop off, the rest as it came, and whether it has a type."""
    parts, typed = headers.outgoing(
        [(b"A", b"1"), (b"Connection", b"b"), (b"B", b"2"), (b"content-TYPE", b"t"), (b"A", b"3")]
    )
    assert (b"".join(parts), typed) == (b"A: 1\r\ncontent-TYPE: t\r\nA: 3\r\n", True)
    parts, typed = headers.outgoing([(b"X-Hilbert-Error", b"x"), (b"Connection", b"close"), (b"X-Call-Id", b"c")])
    assert (parts, typed) == ([], False)
