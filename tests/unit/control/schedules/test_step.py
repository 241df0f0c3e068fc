"""What is done about a schedule at a moment: a table of situations. Ticks are at whole minutes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hilbert.control.schedules.expression import parse
from hilbert.control.schedules.rules import Overlap, Schedule
from hilbert.control.schedules.step import step, upcoming
from hilbert.core.ports.queue import CallState
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef

F = FunctionRef.parse("f.dev")
HOUR = 3600.0
NOON = 1_800_014_400.0
"""A whole hour, and midnight in no zone that matters."""


def schedule(text: str = "* * * * *", **more: Any) -> Schedule:
    return Schedule(ref=F, index=0, text=text, when=parse(text), zone="UTC", **more)


def mark(of: Schedule, tick: float, **more: Any) -> Mark:
    return Mark(ref=F, index=0, rule=of.rule, tick=tick, **more)


def all_steps(now: float, of: Schedule, at: Mark | None, last: CallState | None = None) -> tuple[list[float], Mark | None, float | None]:  # fmt: skip
    """The ticks that are fired until nothing is left to do."""
    fired = []
    for _ in range(100):
        planned = step(now, of, at, last)
        if planned.mark is None:
            return fired, at, planned.wake
        assert planned.mark.version == (at.version if at is not None else 0) + 1
        at = planned.mark
        if planned.tick:
            fired.append(planned.tick)
    raise AssertionError("it does not end")


def test_a_new_schedule_begins_now() -> None:
    fired, at, wake = all_steps(NOON, schedule(), None)
    assert (fired, wake) == ([], NOON + 60)
    assert at == mark(schedule(), NOON)


@pytest.mark.parametrize(
    ("text", "tick", "now", "catch_up", "fired"),
    [
        ("* * * * *", NOON, NOON + 59.9, 0, []),
        ("* * * * *", NOON, NOON + 60, 0, [NOON + 60]),
        ("* * * * *", NOON, NOON + 61, 0, [NOON + 60]),
        # A restart that takes less than a minute loses no tick.
        ("@every 10s", NOON, NOON + 45, 0, [NOON + 10, NOON + 20, NOON + 30, NOON + 40]),
        ("* * * * *", NOON, NOON + 119, 0, [NOON + 60]),
        # What is missed for longer is not made up for ...
        ("* * * * *", NOON, NOON + HOUR + 1, 0, [NOON + HOUR]),
        ("0 * * * *", NOON, NOON + 2 * HOUR + 600, 0, []),
        # ... unless it is wished, and then once, by the last of them.
        ("0 * * * *", NOON, NOON + 2 * HOUR + 600, HOUR, [NOON + 2 * HOUR]),
        ("0 * * * *", NOON, NOON + 2 * HOUR + 600, 300, []),
        ("0 * * * *", NOON, NOON + 2 * HOUR + 600, 72 * HOUR, [NOON + 2 * HOUR]),
        ("*/2 * * * *", NOON, NOON + 50 * HOUR + 90, 72 * HOUR, [NOON + 50 * HOUR]),
        ("* * * * *", NOON, NOON + 50 * HOUR + 30, 72 * HOUR, [NOON + 50 * HOUR]),
        ("0 0 30 2 *", NOON, NOON + 50 * HOUR, HOUR, []),
        # The clock was put back: what was fired is not fired again.
        ("* * * * *", NOON, NOON - HOUR, 0, []),
        ("* * * * *", NOON, NOON - HOUR, 3 * HOUR, []),
    ],
)
def test_which_ticks_are_fired(text: str, tick: float, now: float, catch_up: float, fired: list[float]) -> None:
    of = schedule(text, catch_up=catch_up)
    found, at, wake = all_steps(now, of, mark(of, tick))
    assert found == fired
    assert wake is None or wake > now
    assert at is not None
    assert all_steps(now, of, at)[0] == [], "each of them once"


def test_a_clock_that_was_years_ahead_does_not_stop_it_for_years() -> None:
    of = schedule()
    assert all_steps(NOON, of, mark(of, NOON + 400 * 86_400))[2] == NOON + 60


def test_an_expression_that_was_changed_counts_from_then_on() -> None:
    """Nothing is made up for, even at the very minute."""
    of = schedule(catch_up=HOUR)
    old = msgspec.structs.replace(mark(of, NOON - HOUR), rule="0 0 1 1 * [UTC]")
    fired, at, wake = all_steps(NOON, of, old)
    assert (fired, wake) == ([], NOON + 60)
    assert at is not None
    assert (at.tick, at.version) == (NOON, 2)


@pytest.mark.parametrize("how", ["annotation", "command"])
def test_a_paused_schedule_does_nothing_and_makes_up_for_nothing(how: str) -> None:
    of = schedule("0 * * * *", catch_up=24 * HOUR)
    paused = msgspec.structs.replace(of, paused=how == "annotation")
    at = mark(paused, NOON, paused=how == "command")
    assert all_steps(NOON + 3 * HOUR, paused, at) == ([], at, None)
    assert upcoming(NOON, paused, at, 5) == []
    if how == "annotation":
        assert all_steps(NOON + 3 * HOUR, of, at)[0] == [], "a rule that is no longer paused is another rule"


@pytest.mark.parametrize(
    ("overlap", "last", "fired", "waiting"),
    [
        (Overlap.ALLOW, CallState.RUNNING, [NOON + 60], 0),
        (Overlap.SKIP, CallState.RUNNING, [], 0),
        (Overlap.SKIP, CallState.QUEUED, [], 0),
        (Overlap.SKIP, CallState.SUCCEEDED, [NOON + 60], 0),
        (Overlap.SKIP, CallState.DEAD, [NOON + 60], 0),
        (Overlap.SKIP, None, [NOON + 60], 0),
        (Overlap.QUEUE_ONE, CallState.RUNNING, [], NOON + 60),
        (Overlap.QUEUE_ONE, CallState.FAILED, [NOON + 60], 0),
    ],
)
def test_overlap(overlap: Overlap, last: CallState | None, fired: list[float], waiting: float) -> None:
    of = schedule(overlap=overlap)
    found, at, _ = all_steps(NOON + 60, of, mark(of, NOON, call="a"), last)
    assert found == fired
    assert at is not None
    assert (at.waiting, at.tick) == (waiting, NOON + 60)


def test_one_waits_however_long_it_takes_and_others_are_passed_over() -> None:
    of = schedule(overlap=Overlap.QUEUE_ONE)
    at = mark(of, NOON + 60, call="a", waiting=NOON + 60)
    assert step(NOON + HOUR, of, at, CallState.RUNNING).wake == NOON + HOUR + 1
    planned = step(NOON + HOUR, of, at, CallState.SUCCEEDED)
    assert planned.tick == NOON + 60
    assert planned.mark is not None
    assert planned.mark.waiting == 0


def test_the_next_times() -> None:
    of = schedule("@every 90s")
    assert upcoming(NOON + 100, of, mark(of, NOON), 3) == [NOON + 180, NOON + 270, NOON + 360]
    assert upcoming(NOON, schedule("0 0 30 2 *"), None, 3) == []
    assert upcoming(NOON, schedule("@hourly"), None, 2) == [NOON + HOUR, NOON + 2 * HOUR]
