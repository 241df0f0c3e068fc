"""Back-off: how it grows, what ends it, and the helper round an awaitable."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.kit.aio import ManualClock, cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff, retry

PACE = Pace(first=1, most=60)


async def settle() -> None:
    """Let everything that can run now run."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (10**9, 60)])
def test_it_doubles_up_to_the_most(failures: int, seconds: float) -> None:
    assert PACE.delay(failures) == seconds


@pytest.mark.parametrize(
    ("jitter", "drawn", "seconds"), [(1.0, 0.0, 4), (1.0, 0.75, 1), (0.5, 0.0, 4), (0.5, 0.5, 3), (0.0, 0.9, 4)]
)
def test_jitter_shortens_by_a_random_share(jitter: float, drawn: float, seconds: float) -> None:
    assert Pace(1, 60, jitter).delay(3, draw=lambda: drawn) == seconds


@given(st.integers(0, 2**40), st.floats(0, 1, exclude_max=True), st.floats(0, 1))
def test_it_is_never_beyond_its_bounds(failures: int, drawn: float, jitter: float) -> None:
    assert 0 <= Pace(0.1, 30, jitter).delay(failures, draw=lambda: drawn) <= 30


def test_success_begins_anew() -> None:
    backoff = Backoff(PACE)
    assert [backoff.failed() for _ in range(3)] == [1, 2, 4]
    backoff.succeeded()
    assert backoff.failed() == 1


def test_any_answer_ends_the_back_off_of_silence() -> None:
    backoff = Backoff(PACE)
    for _ in range(6):
        backoff.failed(answered=False)
    assert backoff.failed(answered=True) == 1
    assert backoff.failed(answered=True) == 2


def test_refusals_in_a_row_go_on_growing() -> None:
    backoff = Backoff(PACE)
    assert [backoff.failed(answered=True) for _ in range(3)] == [1, 2, 4]
    backoff.answered()
    assert backoff.failed(answered=True) == 8


def test_the_other_side_may_ask_for_more() -> None:
    assert Backoff(PACE).failed(at_least=17) == 17


async def test_a_wait_ends_by_time_or_by_an_answer() -> None:
    clock = ManualClock()
    backoff = Backoff(PACE, sleep=clock.sleep)
    by_time = spawn(backoff.wait(backoff.failed(answered=False)), name="by time")
    await settle()
    await clock.advance(0.9)
    assert not by_time.done()
    await clock.advance(0.2)
    await by_time
    by_answer = spawn(backoff.wait(backoff.failed(answered=False)), name="by answer")
    await settle()
    backoff.answered()
    await by_answer
    assert backoff.failures == 0


async def test_a_wait_can_be_cancelled_and_leaves_no_task() -> None:
    backoff = Backoff(PACE, sleep=ManualClock().sleep)
    before = asyncio.all_tasks()
    task = spawn(backoff.wait(1000), name="waits")
    await settle()
    await cancel(task)
    await settle()
    assert asyncio.all_tasks() == before


class Broken(Exception):
    pass


class Work:
    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.runs = 0

    async def __call__(self) -> str:
        self.runs += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"


async def tried(work: Work, *, tries: int) -> tuple[str, list[float]]:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    return await retry(work, pace=PACE, tries=tries, again=lambda exc: isinstance(exc, Broken), sleep=sleep), slept


async def test_retry_pauses_between_tries() -> None:
    assert await tried(Work(Broken(), Broken()), tries=3) == ("done", [1, 2])


async def test_retry_gives_up_with_the_last_failure() -> None:
    last = Broken("last")
    work = Work(Broken(), last)
    with pytest.raises(Broken) as caught:
        await tried(work, tries=2)
    assert caught.value is last
    assert work.runs == 2


async def test_retry_raises_at_once_what_another_try_does_not_mend() -> None:
    work = Work(KeyError("no"))
    with pytest.raises(KeyError):
        await tried(work, tries=5)
    assert work.runs == 1
