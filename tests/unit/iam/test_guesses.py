"""Wrong passwords by source: a few at once, then slowly, each source for itself, in bounded memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.iam.guesses import WrongGuesses


@pytest.mark.bound("wrong-passwords")
def test_a_few_at_once_then_one_every_interval() -> None:
    guesses = WrongGuesses(burst=3, interval=2.0)
    for _ in range(3):
        assert guesses.wait("a", 100.0) <= 0
        guesses.failed("a", 100.0)
    assert guesses.wait("a", 100.0) == pytest.approx(2.0)
    assert guesses.wait("a", 101.5) == pytest.approx(0.5)
    assert guesses.wait("a", 102.0) <= 0
    guesses.failed("a", 102.0)
    assert guesses.wait("a", 102.0) == pytest.approx(2.0)
    assert guesses.wait("a", 110.0) <= 0


def test_one_source_does_not_hold_up_another() -> None:
    guesses = WrongGuesses(burst=1, interval=60.0)
    for _ in range(100):
        guesses.failed("a", 0.0)
    assert guesses.wait("a", 1.0) > 0
    assert guesses.wait("b", 1.0) <= 0


@pytest.mark.bound("password-sources")
def test_memory_is_bounded_and_the_oldest_are_forgotten_first() -> None:
    guesses = WrongGuesses(burst=1, interval=60.0, most=10)
    for number in range(1000):
        guesses.failed(f"s{number}", 0.0)
    assert len(guesses) == 10
    assert guesses.wait("s999", 0.0) > 0
    assert guesses.wait("s0", 0.0) <= 0


@given(st.lists(st.floats(min_value=0, max_value=5), max_size=60))
def test_never_more_than_the_burst_and_the_time_allow(pauses: list[float]) -> None:
    guesses, now, made = WrongGuesses(burst=4, interval=1.0), 1000.0, 0
    for pause in pauses:
        now += pause
        if guesses.wait("a", now) <= 0:
            guesses.failed("a", now)
            made += 1
    assert made <= 4 + (now - 1000.0) / 1.0 + 1e-6
