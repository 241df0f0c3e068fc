"""How many calls run at once is found out: cases, and functions that can take so many."""

from __future__ import annotations

import pytest

from hilbert.control.delivery.concurrency import FIRST, LEAST, Concurrency


def after(answers: str, *, running: int | None = None, most: int = 32, every: float = 2.0) -> Concurrency:
    """`.` is a good answer while the limit is in use, `!` one that says that it is too much; each `every` seconds."""
    limit = Concurrency()
    for number, answer in enumerate(answers):
        if answer == "!":
            limit = limit.overloaded(number * every)
        else:
            limit = limit.answered(running=int(limit.limit) if running is None else running, most=most)
    return limit


@pytest.mark.parametrize(
    ("answers", "limit"),
    [
        ("", FIRST),
        ("!", FIRST * 0.7),
        ("!!", pytest.approx(FIRST * 0.49)),
        ("!" * 20, LEAST),
        ("." * 4, pytest.approx(FIRST + 1, abs=0.15)),
        ("." * 10_000, 32),
    ],
)
def test_cases(answers: str, limit: float) -> None:
    assert after(answers).limit == limit


def test_calls_that_fail_together_lower_it_once() -> None:
    """They were all under way before the first of them was answered."""
    assert after("!" * 10, every=0.05).limit == FIRST * 0.7


def test_it_grows_only_while_it_is_what_holds_calls_back() -> None:
    assert after("." * 100, running=1).limit == FIRST


def test_it_never_goes_beyond_what_is_allowed() -> None:
    assert after("." * 1000, most=6).limit == 6


@pytest.mark.parametrize("capacity", [1, 2, 5, 13, 29])
def test_it_finds_what_a_function_can_take_and_stays_near(capacity: int) -> None:
    """A function that answers 429 above `capacity`, with a backlog that never ends: no slot idles for long, few calls are refused."""
    limit, now, used, refused, made = Concurrency(), 0.0, [], 0, 0
    for round_ in range(2_000):
        now += 1.5
        running = int(limit.limit)
        good = min(running, capacity)
        for _ in range(good):
            limit = limit.answered(running=running, most=32)
        for _ in range(running - good):
            limit = limit.overloaded(now)
        if round_ > 200:
            used.append(good / capacity)
            made, refused = made + running, refused + running - good
    assert sum(used) / len(used) > 0.8
    assert refused / made < 0.2


def test_it_recovers_when_the_function_gets_more_replicas() -> None:
    limit = after("!" * 20)
    rounds = 0
    while limit.limit < 20:
        rounds += 1
        for _ in range(int(limit.limit)):
            limit = limit.answered(running=int(limit.limit), most=32)
        assert rounds < 150, "slowly past where it was too much, then one more for each round"
