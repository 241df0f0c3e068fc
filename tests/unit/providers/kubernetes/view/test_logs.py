"""Lines as the kubelet writes them."""

from __future__ import annotations

import pytest

from hilbert.core.values import FunctionRef
from hilbert.providers.kubernetes.view.logs import parse_line, parse_time

REF = FunctionRef.parse("f")


@pytest.mark.parametrize(
    ("stamp", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("1970-01-01T00:00:00.5Z", 500_000_000),
        ("1970-01-01T01:00:00.123456789+01:00", 123_456_789),
        ("2023-07-04T16:32:22.223912519Z", 1_688_488_342_223_912_519),
    ],
)
def test_times(stamp: str, nanoseconds: int) -> None:
    assert parse_time(stamp) == nanoseconds


@pytest.mark.parametrize(
    "stamp", ["", "yesterday", "1970-01-01T00:00:00", "1970-01-01T00:00:00.Z0Z", "1970-01-01T00:00:00.1234567890Z"]
)
def test_no_times(stamp: str) -> None:
    assert parse_time(stamp) is None


def test_lines_keep_their_text() -> None:
    line = parse_line(REF, "f-1", b"1970-01-01T00:00:01Z   two  blanks \xff")
    assert (line.timestamp_ns, line.text) == (1_000_000_000, "  two  blanks \ufffd")
    assert parse_line(REF, "f-1", b"no time here").text == "no time here"
