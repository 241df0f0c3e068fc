"""Schedules as the REST API shows and takes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from hilbert.core.values import FunctionRef


class ScheduleInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """One schedule of a function."""

    function: str
    namespace: str
    index: int
    """Its place among the function's schedules, from 0."""
    schedule: str
    """The expression as it was written."""
    timezone: str
    overlap: str
    """`allow`, `skip` or `queue-one`."""
    paused: bool = False
    next: tuple[datetime, ...] = ()
    """When it fires next; empty when it is paused, or names no time."""
    last_call_id: str = ""
    """The last call that it queued."""


class ScheduleProblem(msgspec.Struct, frozen=True):
    """Something in a function's annotations that cannot be understood, and has no effect."""

    function: str
    problem: str


class Schedules(msgspec.Struct, frozen=True):
    """The schedules of a namespace."""

    schedules: tuple[ScheduleInfo, ...] = ()
    problems: tuple[ScheduleProblem, ...] = ()


class ChangeSchedules(msgspec.Struct, frozen=True, kw_only=True):
    """Pause or resume all schedules of a function."""

    namespace: str = ""
    paused: bool


class RunSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Queue the call of a schedule now."""

    namespace: str = ""
    index: int | None = None
    """Which one, where the function has several."""


class QueuedId(msgspec.Struct, frozen=True, rename="camel"):
    """A call that was queued."""

    call_id: str


def moments(seconds: Sequence[float]) -> tuple[datetime, ...]:
    """Unix seconds as times in UTC."""
    return tuple(datetime.fromtimestamp(second, UTC) for second in seconds)


def nobody_fires(ref: FunctionRef) -> str:
    """What whoever deploys a function with schedules is told where the gateway fires none."""
    return f"{ref} has a schedule, and this gateway fires none: a cron-connector has to call it"
