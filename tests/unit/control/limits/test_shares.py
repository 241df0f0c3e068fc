"""Dividing a limit: the parts add up, nobody gets more than it needs while another lacks, nobody is left with nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.limits.shares import divide, divide_whole

ASKED = st.lists(st.floats(0, 1e6), min_size=1, max_size=16)


@given(limit=st.floats(0.01, 1e6), asked=ASKED)
def test_parts_add_up_and_nobody_starves(limit: float, asked: list[float]) -> None:
    parts = divide(limit, asked)
    assert sum(parts) == pytest.approx(limit)
    assert min(parts) >= limit * 0.05 / len(asked) * 0.999


@given(limit=st.floats(0.01, 1e6), asked=ASKED)
def test_whoever_lacks_has_no_less_than_whoever_asks_for_more(limit: float, asked: list[float]) -> None:
    parts = divide(limit, asked)
    for wanted, part in zip(asked, parts, strict=True):
        if part < wanted:
            assert part >= max(parts) - limit * 1e-6


@given(limit=st.integers(1, 10_000), asked=ASKED)
def test_whole_parts_add_up_as_far_as_each_can_have_one(limit: int, asked: list[float]) -> None:
    parts = divide_whole(limit, asked)
    assert min(parts) >= 1
    assert sum(parts) == max(limit, len(asked))


def test_examples() -> None:
    assert divide(100, [1000, 0]) == pytest.approx([97.5, 2.5])
    assert divide(100, [0, 0]) == [50, 50]
    assert divide(100, [20, 500]) == pytest.approx([22.5, 77.5])
    assert divide_whole(10, [100.0, 0.0]) == [9, 1]
    assert divide_whole(1, [5.0, 5.0]) == [1, 1]
    assert divide(5, []) == []
