"""Layouts of Go, by what Go's own documentation says of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.cli.terminal.go_time import NAMED, is_layout, write_time

REFERENCE = datetime(2006, 1, 2, 15, 4, 5, tzinfo=timezone(timedelta(hours=-7), "MST"))
EARLY = datetime(2024, 11, 9, 0, 7, 8, 120_000, tzinfo=UTC)


@pytest.mark.parametrize("layout", NAMED.values(), ids=NAMED)
def test_the_reference_time_is_its_own_layout(layout: str) -> None:
    """But for padding, digits of a fraction that are nines, and the zone of RFC 3339."""
    expected = layout.replace(".999999999", "").replace("Z07:00", "-07:00").replace("_2", " 2")
    assert write_time(REFERENCE, layout) == expected


@pytest.mark.parametrize(
    ("layout", "written"),
    [
        ("2006-01-02T15:04:05Z07:00", "2024-11-09T00:07:08Z"),
        ("2006-01-02T15:04:05.999999999Z07:00", "2024-11-09T00:07:08.12Z"),
        ("15:04:05.000", "00:07:08.120"),
        ("15:04:05,000000", "00:07:08,120000"),
        ("3:04PM", "12:07AM"),
        ("03:4:5 pm", "12:7:8 am"),
        ("Monday, _2 January 2006", "Saturday,  9 November 2024"),
        ("Mon Jan 2 06", "Sat Nov 9 24"),
        ("2/1/06", "9/11/24"),
        ("002 __2", "314 314"),
        ("20060102-150405", "20241109-000708"),
        ("MST -0700 -07:00:00 Z0700", "UTC +0000 +00:00:00 Z"),
        ("Januaryish Month Janet", "Novemberish Month Janet"),
    ],
)
def test_elements(layout: str, written: str) -> None:
    assert write_time(EARLY, layout) == written


def test_offsets() -> None:
    """East and west, with minutes; a zone without a name is its offset."""
    india = EARLY.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert write_time(india, "15:04 Z07:00 -0700 -07 MST") == "05:37 +05:30 +0530 +05 +05"
    newfoundland = EARLY.astimezone(timezone(-timedelta(hours=3, minutes=30)))
    assert write_time(newfoundland, "15:04Z07:00") == "20:37-03:30"


def test_nanoseconds() -> None:
    """A finer clock than Python's is kept; digits are cut, not rounded."""
    assert write_time(EARLY, NAMED["RFC3339Nano"], nanoseconds=123_456_789) == "2024-11-09T00:07:08.123456789Z"
    assert write_time(EARLY, "05.00", nanoseconds=999_999_999) == "08.99"
    assert write_time(EARLY, "05.999", nanoseconds=0) == "08"


def test_what_is_no_layout() -> None:
    assert not is_layout("hello")
    assert not is_layout("")
    assert is_layout("Kitchen 3")


@given(st.datetimes(timezones=st.just(UTC)), st.sampled_from(["2006-01-02T15:04:05.000000Z07:00"]))
def test_what_is_written_reads_back(moment: datetime, layout: str) -> None:
    assert datetime.fromisoformat(write_time(moment, layout)) == moment
