"""Limits on calls, enforced in the worker that has the call: a rate by GCRA, and calls at once.

The generic cell rate algorithm keeps one number: when the next call would be exactly on time. It needs no timer, and knows
exactly when a refused call may come again. Each worker has a part of a limit; the control process divides it anew each second.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final

from hilbert.core.limits import CallLimits, Scope, ScopeUse
from hilbert.dataplane.failures import Failure, limit_reached

_SPREAD: Final = 0.2
"""The part by which `Retry-After` varies, so that clients do not come back together."""


class Gate:
    """One scope's limits in one worker."""

    __slots__ = (
        "__weakref__",
        "_burst",
        "_dirty",
        "_due",
        "_interval",
        "_marked",
        "_tolerance",
        "asked",
        "inflight",
        "limits",
        "places",
        "rate",
        "refused_concurrency",
        "refused_rate",
        "scope",
    )

    def __init__(self, scope: Scope, limits: CallLimits, dirty: list[Gate], *, workers: int, now: float) -> None:
        """Puts itself into `dirty` when it was used and `report` has not told so.

        Begins with an equal part of `workers`, and with no more than a second's worth of the burst: a worker that
        was started anew grants none twice."""
        self.scope = scope
        self.asked = self.refused_rate = self.refused_concurrency = self.inflight = 0
        self._dirty = dirty
        self._marked = False
        self.limits = limits
        self._due = self._interval = 0.0
        self.take(limits.rate / workers, max(1, limits.concurrency // workers) if limits.concurrency else 0, now)
        self._due = now + max(0.0, self._tolerance - 1.0)

    def take(self, rate: float, places: int, now: float) -> None:
        """From now on this is the worker's part. Calls that came lately count as before."""
        limits = self.limits
        owed = max(0.0, self._due - now) / self._interval if self._interval else 0.0
        self.rate = rate
        self.places = places
        if limits.rate and rate:
            self._burst = max(1.0, limits.burst * rate / limits.rate)
            self._interval = 1.0 / rate
            self._tolerance = self._burst * self._interval
            self._due = now + min(owed, self._burst) * self._interval
        else:
            self._burst = self._interval = self._tolerance = 0.0

    def change(self, limits: CallLimits, *, workers: int, now: float) -> None:
        """The limit itself is another one."""
        if limits == self.limits:
            return
        part = self.rate / self.limits.rate if self.limits.rate else 1.0 / workers
        self.limits = limits
        self.take(limits.rate * part, max(1, math.ceil(limits.concurrency * part)) if limits.concurrency else 0, now)

    def refuses(self, now: float) -> Failure | None:
        """Why a call may not come in now. Takes nothing."""
        if self.places and self.inflight >= self.places:
            self.refused_concurrency += 1
            return limit_reached(
                self.scope, "concurrency", f"{self.limits.concurrency} calls at once", _soon(1.0), self.policy
            )
        if self._interval:
            late = max(self._due, now) + self._interval - now - self._tolerance
            if late > 1e-9:
                self.refused_rate += 1
                return limit_reached(
                    self.scope, "rate", f"{self.limits.rate:g} calls a second", _soon(late), self.policy
                )
        return None

    def enter(self, now: float) -> None:
        """A call comes in: `refuses` has just let it."""
        self.inflight += 1
        if self._interval:
            self._due = max(self._due, now) + self._interval

    def leave(self) -> None:
        """A call has ended."""
        self.inflight -= 1
        self.mark()

    def mark(self) -> None:
        """Report it next time."""
        if not self._marked:
            self._marked = True
            self._dirty.append(self)

    @property
    def policy(self) -> bytes:
        """For the header `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers): the limit as it is set."""
        name = b"function" if self.scope[1] else b"namespace"
        parts = []
        if self.limits.rate:
            window = max(1, math.ceil(self.limits.burst / self.limits.rate))
            parts.append(b'"%b-rate";q=%d;w=%d' % (name, max(1, round(self.limits.rate * window)), window))
        if self.limits.concurrency:
            parts.append(b'"%b-concurrency";q=%d;qu="concurrent-requests"' % (name, self.limits.concurrency))
        return b", ".join(parts)

    def report(self) -> ScopeUse:
        self._marked = False
        return ScopeUse(self.scope, self.limits, self.asked, self.refused_rate, self.refused_concurrency, self.inflight)


def enter(gates: Sequence[Gate], now: float) -> Failure | None:
    """Let a call through all gates, or through none. Returns why not."""
    for gate in gates:
        gate.asked += 1
        gate.mark()
    for gate in gates:
        failure = gate.refuses(now)
        if failure is not None:
            return failure
    for gate in gates:
        gate.enter(now)
    return None


def leave(gates: Sequence[Gate]) -> None:
    """A call that came through these gates has ended."""
    for gate in gates:
        gate.leave()


def _soon(seconds: float) -> int:
    """Whole seconds until a call may come again, never too early."""
    return max(1, math.ceil(seconds * (1.0 + random.random() * _SPREAD)))  # noqa: S311 - spreading load needs no secrecy
