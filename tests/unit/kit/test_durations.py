"""Go's durations, for all who read them."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.kit.durations import UNITS, parse_nanoseconds


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("1m30s", 90 * 10**9),
        ("250ms", 250 * 10**6),
        ("1.5h", 5400 * 10**9),
        (".5s", 5 * 10**8),
        ("1.s", 10**9),
        ("1.5ns", 1),
        ("1us2µs3μs", 6000),
        ("0s", 0),
        ("", None),
        (".", None),
        ("s", None),
        (".s", None),
        ("1", None),
        ("1.2.3s", None),
        ("-1s", None),
        ("1 s", None),
        ("1d", None),
        ("1s ", None),
        ("1" * 41 + "s", None),
        ("\u0661s", None),
    ],
)
def test_what_is_a_duration(text: str, nanoseconds: int | None) -> None:
    """And what is none."""
    assert parse_nanoseconds(text) == nanoseconds


part = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9), st.sampled_from(sorted(UNITS)))


@given(st.lists(part, min_size=1, max_size=4))
def test_nothing_is_lost(parts: list[tuple[int, int, str]]) -> None:
    """To the nanosecond, whatever is added up."""
    text = "".join(f"{whole}.{fraction:09}{unit}" for whole, fraction, unit in parts)
    exact = sum(
        (whole + Fraction(fraction, 10 ** len(f"{fraction:09}"))) * UNITS[unit] for whole, fraction, unit in parts
    )
    assert parse_nanoseconds(text) == int(exact)
