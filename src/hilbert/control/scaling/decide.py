"""How many replicas a function should have: a pure function of time, policy, history and what is observed.

The formula and the order are OpenFaaS's (`ceil(load / (target x proportion))`, at once upwards, downwards within the window, to
zero by the last call); the cases that other autoscalers got wrong are in `tests/unit/control/scaling/test_decide.py`.
"""

from __future__ import annotations

import enum
import math
from typing import Final

import msgspec

from hilbert.control.scaling.observed import CAPACITY_SPAN, History, Observed
from hilbert.control.scaling.policy import CAPACITY, RPS, LoadPolicy
from hilbert.core.values import Duration

STEP: Final = 2.0
"""Seconds between two decisions on a function with load."""
_QUIET_STEP: Final = 15.0
"""The same for one without calls that goes by a figure which calls do not announce."""


class Reason(enum.StrEnum):
    """Why a count is what it is, in one word."""

    ASLEEP = "Asleep"
    """At zero: a call wakes it, never a figure."""
    IDLE = "Idle"
    UNSCALED = "NotScaled"
    """No label asks for it, or its bounds are equal."""
    UNKNOWN = "LoadUnknown"
    BOUNDS = "Bounds"
    LOAD = "Load"
    ALERT = "Alert"
    WINDOW = "Window"
    """Less would do, but not for long enough."""
    RESTARTED = "HistoryShort"
    """Less would do by what has been seen since the gateway started, which is too little."""
    STEADY = "Steady"


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do."""

    desired: int
    reason: Reason
    message: str
    """One sentence."""
    load: float | None = None
    """By which it was decided; None if by none."""
    wanted: int | None = None
    """What load alone asks for, within the bounds."""
    again: float | None = None
    """Seconds after which to decide again if nothing happens; None: no need."""


def decide(
    now: float,
    policy: LoadPolicy,
    history: History,
    seen: Observed,
    *,
    maintain_min: bool = False,
    enabled: bool = True,
) -> Decision:
    """The next step. `history` has taken in `seen`, and is not changed.

    `enabled=False` leaves nothing but scaling to zero. `maintain_min` raises a function without load to its least.
    """
    if seen.desired <= 0:
        return Decision(desired=0, reason=Reason.ASLEEP, message="it has no replica; the next call starts one")
    till_zero = _till_zero(now, policy, history, seen)
    if till_zero is not None and till_zero <= 0:
        idle = Duration.of(round(now - history.last_arrival, 1))
        return Decision(desired=0, reason=Reason.IDLE, message=f"nobody has called it for {idle}")
    if not policy.by_load or not enabled:
        return Decision(
            desired=seen.desired, reason=Reason.UNSCALED, message="its load does not change its count", again=till_zero
        )
    return _by_load(now, policy, history, seen, maintain_min=maintain_min, till_zero=till_zero)


def _by_load(
    now: float, policy: LoadPolicy, history: History, seen: Observed, *, maintain_min: bool, till_zero: float | None
) -> Decision:
    load = history.load(now, policy, seen)
    if load is None:
        kept = min(seen.desired, policy.max)
        return Decision(
            desired=kept,
            reason=Reason.UNKNOWN,
            message=f"its load ({policy.kind}) is not known; the count stays",
            again=STEP,
        )
    wanted = recommended(load, policy)
    floor = min(max(seen.floor, policy.min), policy.max)
    highest = max(wanted, history.highest(now, policy.window) if policy.window else 0, floor)
    highest = min(highest, policy.max)
    settled = history.quiet and wanted == seen.desired
    again = STEP if not settled else till_zero if policy.kind in (RPS, CAPACITY) else _QUIET_STEP

    def so(desired: int, reason: Reason, message: str) -> Decision:
        return Decision(desired=desired, reason=reason, message=message, load=load, wanted=wanted, again=again)

    figure = f"{policy.kind} {load:.6g}, for {policy.target * policy.proportion:.6g} a replica"
    if seen.desired > policy.max:
        return so(policy.max, Reason.BOUNDS, f"its maximum is {policy.max}")
    if highest > seen.desired:
        if load == 0 and not seen.floor and not maintain_min:
            return so(seen.desired, Reason.STEADY, "it was scaled below its minimum, and has no load")
        return so(highest, Reason.ALERT if seen.floor > wanted else Reason.LOAD, figure)
    if highest == seen.desired:
        if wanted == seen.desired:
            return so(seen.desired, Reason.STEADY, figure)
        held = Reason.ALERT if floor == highest and seen.floor else Reason.WINDOW
        return so(seen.desired, held, f"{figure}; {wanted} would do now")
    known = now - history.began
    needed = max(policy.window, CAPACITY_SPAN)
    if known < needed:
        return so(
            seen.desired, Reason.RESTARTED, f"{figure}; that has been watched for {known:.0f} of {needed:.0f} seconds"
        )
    return so(highest, Reason.LOAD, figure)


def recommended(load: float, policy: LoadPolicy) -> int:
    """`ceil(load / (target x proportion))` within the bounds. Load at its target exactly adds no replica."""
    need = round(load / (policy.target * policy.proportion), 6)
    return max(policy.min, min(math.ceil(min(need, policy.max)), policy.max))


def _till_zero(now: float, policy: LoadPolicy, history: History, seen: Observed) -> float | None:
    """Seconds until it may go to zero, 0 or less if now. None: it may not."""
    if not policy.zero:
        return None
    if seen.inflight > 0 or seen.floor > 0 or (seen.queued is not None and seen.queued.value > 0):
        return STEP
    return history.last_arrival + policy.zero_after - now
