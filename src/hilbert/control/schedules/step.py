"""What is to be done about a schedule now. Pure: time, mark and the state of its last call are arguments."""

from __future__ import annotations

import msgspec

from hilbert.control.schedules.rules import LATE, MOST_CATCH_UP, Overlap, Schedule
from hilbert.core.ports.queue import OPEN, CallState
from hilbert.core.ports.schedules import Mark

_LOOK = 1.0
"""Seconds until it is looked again whether a call that is waited for has ended."""
_CLOCK_WAS_WRONG = 86_400.0
"""A mark that lies further than this in the future was set by a wrong clock, and is not believed."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step. After one that changes the mark, ask for the next at once."""

    mark: Mark | None = None
    """What the mark becomes; None: it stays."""
    tick: float = 0.0
    """The tick for which a call is queued, in the same step; 0: none."""
    wake: float | None = None
    """When to ask again, in Unix seconds; None: when something changes."""
    skipped: bool = False
    """A tick was passed over because of a call that has not ended."""


def step(now: float, schedule: Schedule, mark: Mark | None, last: CallState | None) -> Step:
    """The next step. `last` is the state of the call that the mark names; None when it is no longer known."""
    if mark is None or mark.rule != schedule.rule or mark.tick > now + _CLOCK_WAS_WRONG:
        return Step(mark=_anew(now, schedule, mark))
    if schedule.paused or mark.paused:
        return Step()
    is_open = last is not None and last in OPEN
    if mark.waiting:
        if is_open:
            return Step(wake=now + _LOOK)
        return Step(mark=_moved(mark, mark.tick), tick=mark.waiting)
    tick, later = _due(now, schedule, mark)
    if tick is None:
        return Step(wake=later)
    if is_open and schedule.overlap is Overlap.SKIP:
        return Step(mark=_moved(mark, tick), skipped=True)
    if is_open and schedule.overlap is Overlap.QUEUE_ONE:
        return Step(mark=_moved(mark, tick, waiting=tick), skipped=False)
    return Step(mark=_moved(mark, tick), tick=tick)


def upcoming(now: float, schedule: Schedule, mark: Mark | None, count: int) -> list[float]:
    """The next ticks, as far as they are known; none of a schedule that is paused."""
    found: list[float] = []
    if schedule.paused or (mark is not None and mark.paused):
        return found
    anchor = mark.tick if mark is not None and mark.rule == schedule.rule else now
    at: float | None = max(now, anchor)
    while at is not None and len(found) < count:
        at = schedule.when.next(at, anchor=anchor)
        if at is not None:
            found.append(at)
    return found


def _due(now: float, schedule: Schedule, mark: Mark) -> tuple[float | None, float | None]:
    """The tick that is to be fired, or else the next one."""
    tick = schedule.when.next(max(mark.tick, now - LATE), anchor=mark.tick)
    if tick is None or tick > now:
        return _missed(now, schedule, mark), tick
    return tick, None


def _missed(now: float, schedule: Schedule, mark: Mark) -> float | None:
    """The last tick that is over for longer than `LATE` and still inside the time for catching up."""
    oldest = max(mark.tick, now - min(schedule.catch_up, MOST_CATCH_UP))
    end, width = now - LATE, LATE
    while end > oldest:
        begin = max(oldest, end - width)
        found, tick = None, schedule.when.next(begin, anchor=mark.tick)
        while tick is not None and tick <= end:
            found, tick = tick, schedule.when.next(tick, anchor=mark.tick)
        if found is not None:
            return found
        end, width = begin, width * 2
    return None


def _anew(now: float, schedule: Schedule, mark: Mark | None) -> Mark:
    """Nothing before now is due."""
    if mark is None:
        return Mark(ref=schedule.ref, index=schedule.index, rule=schedule.rule, tick=now)
    return msgspec.structs.replace(mark, version=mark.version + 1, rule=schedule.rule, tick=now, waiting=0.0)


def _moved(mark: Mark, tick: float, *, waiting: float = 0.0) -> Mark:
    return msgspec.structs.replace(mark, version=mark.version + 1, tick=tick, waiting=waiting)
