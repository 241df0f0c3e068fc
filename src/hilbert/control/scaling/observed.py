"""What is known of one function when its count is decided, and what was known of it before. No clock, no waiting."""

from __future__ import annotations

import math
from collections import deque
from typing import Final

import msgspec

from hilbert.control.scaling.policy import LoadPolicy

RPS_SPAN: Final = 30.0
"""Seconds over which finished calls are averaged."""
RPS_LEAST: Final = 5.0
"""Seconds that load which has just begun is averaged over, at least."""
CAPACITY_SPAN: Final = 45.0
"""Seconds within which the most calls at once count."""
_STEP: Final = 0.5
"""Seconds between two samples that are kept apart."""
FRESH: Final = 60.0
"""Seconds that a figure from elsewhere (processor time, queue, query) may stand for the present."""


class Figure(msgspec.Struct, frozen=True):
    """A number that somebody else measured."""

    value: float
    at: float
    """When, on the clock of the decisions."""


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One function as it is now. Counts are over all workers and gateways."""

    desired: int
    """Replicas that were last asked for; those that still start are among them."""
    inflight: int = 0
    """Calls that have begun and not ended; those that wait for a replica are among them."""
    waiting: int = 0
    started: int = 0
    """Calls ever begun."""
    completed: int = 0
    """Calls ever ended, without those that a limit on calls at once has refused: they are no work."""
    cpu: Figure | None = None
    """Thousandths of a core that replicas use together, those that have just started left out."""
    queued: Figure | None = None
    """Queued calls that are due. None where there is no queue."""
    custom: Figure | None = None
    """What the query of the policy's name answered."""
    floor: int = 0
    """The least that an alert which fires asks for."""


class History:
    """The last seconds of one function, in bounded memory: one sample a step, and what was recommended."""

    def __init__(self, now: float) -> None:
        self.began = now
        """From when on anything is known: after a start of the gateway, that start."""
        self.last_arrival = now
        """When calls last began, or were under way. What happened before `began` is not known, so it counts as that."""
        self._started: int | None = None
        self._completed: deque[tuple[float, int]] = deque()
        self._inflight: deque[tuple[float, int]] = deque()
        self._recommended: deque[tuple[float, int]] = deque()

    def note(self, now: float, seen: Observed) -> None:
        """Take in one observation."""
        if seen.inflight > 0 or self._started not in (None, seen.started):
            self.last_arrival = now
        self._started = seen.started
        if self._completed and seen.completed < self._completed[-1][1]:
            self._completed.clear()  # It was counted anew: what there was says nothing.
        if len(self._completed) > 1 and now - self._completed[-1][0] < _STEP:
            self._completed[-1] = (now, seen.completed)
        else:
            self._completed.append((now, seen.completed))
        _forget(self._completed, now - RPS_SPAN, keep=1)
        while self._inflight and self._inflight[-1][1] <= seen.inflight:
            self._inflight.pop()  # What is no greater and older can never be the greatest again.
        self._inflight.append((now, seen.inflight))
        _forget(self._inflight, now - CAPACITY_SPAN, keep=0)

    def recommend(self, now: float, wanted: int) -> None:
        """Remember what load alone asked for."""
        while self._recommended and self._recommended[-1][1] <= wanted:
            self._recommended.pop()
        self._recommended.append((now, wanted))

    def highest(self, now: float, window: float) -> int:
        """The highest recommendation of the last `window` seconds; 0 if there was none."""
        _forget(self._recommended, now - window, keep=0)
        return self._recommended[0][1] if self._recommended else 0

    def load(self, now: float, policy: LoadPolicy, seen: Observed) -> float | None:
        """The load that `policy` goes by. None: it is not known now, so nothing can be concluded from it."""
        match policy.kind:
            case "rps":
                return max(self._rate(now), float(seen.waiting))
            case "capacity":
                return float(max((count for _, count in self._inflight), default=0))
            case "cpu":
                return _value(seen.cpu, now)
            case "queue":
                return _value(seen.queued, now)
            case _:
                return _value(seen.custom, now)

    def _rate(self, now: float) -> float:
        """Finished calls a second."""
        if len(self._completed) < 2:
            return 0.0
        (first_at, first), (_, last) = self._completed[0], self._completed[-1]
        span = min(max(now - first_at, RPS_LEAST), RPS_SPAN)
        return (last - first) / span

    @property
    def quiet(self) -> bool:
        """Whether no sample says anything any more."""
        return all(not count for _, count in self._inflight) and (
            len(self._completed) < 2 or self._completed[0][1] == self._completed[-1][1]
        )


def _value(figure: Figure | None, now: float) -> float | None:
    if figure is None or now - figure.at > FRESH or not math.isfinite(figure.value) or figure.value < 0:
        return None
    return figure.value


def _forget(ring: deque[tuple[float, int]], before: float, *, keep: int) -> None:
    """Drop what is older than `before`, but for the `keep` newest of it: rates need where they start from."""
    while len(ring) > keep and ring[keep][0] <= before:
        ring.popleft()
