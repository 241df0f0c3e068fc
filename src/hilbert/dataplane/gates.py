"""Limits on calls, enforced in the worker that has the call: a rate by GCRA, and how much there is at once.

The generic cell rate algorithm keeps one number: when the next call would be exactly on time. It needs no timer, and knows
exactly when a refused call may come again. Each worker has a part of a limit; the control process divides it anew each second.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Final

from hilbert.core.limits import (
    CONCURRENCY,
    CONNECTIONS,
    HELD,
    HELD_BYTES,
    RATE,
    CallLimits,
    Scope,
    ScopeUse,
    told,
)
from hilbert.dataplane.failures import Failure, limit_reached

_SPREAD: Final = 0.2
"""The part by which `Retry-After` varies, so that clients do not come back together."""
_UNITS: Final = {
    CONCURRENCY: "concurrent-requests",
    HELD: "concurrent-requests",
    HELD_BYTES: "content-bytes",
    CONNECTIONS: "connections",
}
"""Of the draft on rate limit headers, as far as it has names."""


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
        "refused",
        "scope",
        "shares",
        "used",
    )

    def __init__(self, scope: Scope, limits: CallLimits, dirty: list[Gate], *, workers: int, now: float) -> None:
        """Puts itself into `dirty` when it was used and `report` has not told so.

        Begins with an equal part of `workers`, and with no more than a second's worth of the burst: a worker that
        was started anew grants none twice."""
        self.scope = scope
        self.asked = self.inflight = 0
        self.used: dict[str, int] = {}
        """How much there is of what is rarer than calls, by the name of the limit."""
        self.refused: dict[str, int] = {}
        self._dirty = dirty
        self._marked = False
        self.limits = limits
        self._due = self._interval = 0.0
        self.take(limits.rate / workers, {name: max(1, most // workers) for name, most in limits.places().items()}, now)
        self._due = now + max(0.0, self._tolerance - 1.0)

    def take(self, rate: float, shares: Mapping[str, int], now: float) -> None:
        """From now on this is the worker's part. Calls that came lately count as before."""
        limits = self.limits
        owed = max(0.0, self._due - now) / self._interval if self._interval else 0.0
        self.rate = rate
        self.shares = shares
        self.places = shares.get(CONCURRENCY, 0)
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
        before = self.limits.places()
        self.limits = limits
        shares = {
            name: max(1, math.ceil(most * self.shares[name] / before[name]) if name in self.shares else most // workers)
            for name, most in limits.places().items()
        }
        self.take(limits.rate * part, shares, now)

    def refuses(self, now: float) -> Failure | None:
        """Why a call may not come in now. Takes nothing."""
        if self.places and self.inflight >= self.places:
            return self._refusal(CONCURRENCY, 1.0)
        if self._interval:
            late = max(self._due, now) + self._interval - now - self._tolerance
            if late > 1e-9:
                return self._refusal(RATE, late)
        return None

    def lacks(self, name: str, amount: int) -> Failure | None:
        """Why there may not be `amount` more of what `name` limits. Takes nothing."""
        most = self.shares.get(name, 0)
        if most and self.used.get(name, 0) + amount > most:
            return self._refusal(name, 1.0)
        return None

    def count(self, name: str, amount: int) -> None:
        """There is so much more of it, or with a negative `amount` less."""
        self.used[name] = self.used.get(name, 0) + amount
        self.mark()

    def _refusal(self, name: str, seconds: float) -> Failure:
        self.refused[name] = self.refused.get(name, 0) + 1
        self.mark()
        value = self.limits.rate if name == RATE else self.limits.places().get(name, 0)
        return limit_reached(self.scope, name, told(name, value), _soon(seconds), self.policy)

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
        for kind, most in self.limits.places().items():
            parts.append(b'"%b-%b";q=%d;qu="%b"' % (name, kind.encode(), most, _UNITS[kind].encode()))
        return b", ".join(parts)

    def report(self) -> ScopeUse:
        self._marked = False
        return ScopeUse(self.scope, self.limits, self.asked, {CONCURRENCY: self.inflight, **self.used}, self.refused)


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


def hold(gates: Sequence[Gate], size: int) -> Failure | None:
    """A call with `size` bytes of body is to wait for a replica. Returns why it may not; then nothing is counted."""
    for gate in gates:
        failure = gate.lacks(HELD, 1) or gate.lacks(HELD_BYTES, size)
        if failure is not None:
            return failure
    for gate in gates:
        gate.count(HELD, 1)
        gate.count(HELD_BYTES, size)
    return None


def let_go(gates: Sequence[Gate], size: int) -> None:
    """It waits no more."""
    for gate in gates:
        gate.count(HELD, -1)
        gate.count(HELD_BYTES, -size)


def connect(gates: Sequence[Gate]) -> Failure | None:
    """A connection is to stay open. Returns why it may not; then nothing is counted."""
    for gate in gates:
        failure = gate.lacks(CONNECTIONS, 1)
        if failure is not None:
            return failure
    for gate in gates:
        gate.count(CONNECTIONS, 1)
    return None


def disconnect(gates: Sequence[Gate]) -> None:
    """It has closed."""
    for gate in gates:
        gate.count(CONNECTIONS, -1)


def _soon(seconds: float) -> int:
    """Whole seconds until a call may come again, never too early."""
    return max(1, math.ceil(seconds * (1.0 + random.random() * _SPREAD)))  # noqa: S311 - spreading load needs no secrecy
