"""Which header fields go on to the next hop."""

from __future__ import annotations

import pytest

from hilbert.kit.http1.forward import HOP_FIELDS, named_by, passing


def test_fields_of_one_connection_end_there() -> None:
    """In any case of letters; the others keep their order and their spelling."""
    headers = [(b"X-A", b"1"), (b"KEEP-ALIVE", b"5"), (b"Te", b"trailers"), (b"x-b", b"2"), (b"X-A", b"3")]
    assert passing(headers, HOP_FIELDS) == [(b"X-A", b"1"), (b"x-b", b"2"), (b"X-A", b"3")]


@pytest.mark.parametrize("value", [b"X-Private", b"close, x-private", b"x-other ,\tX-PRIVATE"])
def test_fields_that_connection_names_end_as_well(value: bytes) -> None:
    """Whether they come before Connection or after it."""
    headers = [(b"X-Private", b"1"), (b"Connection", value), (b"x-private", b"2"), (b"X-Kept", b"3")]
    assert passing(headers, HOP_FIELDS) == [(b"X-Kept", b"3")]


def test_two_connection_fields_count_together() -> None:
    """As if they were one list (RFC 9110, section 5.3)."""
    headers = [(b"Connection", b"a"), (b"A", b"1"), (b"B", b"2"), (b"Connection", b"b"), (b"C", b"3")]
    assert passing(headers, HOP_FIELDS) == [(b"C", b"3")]


@pytest.mark.parametrize("value", [b"close", b"Keep-Alive", b"UPGRADE"])
def test_usual_values_name_no_field(value: bytes) -> None:
    assert not named_by(value)
