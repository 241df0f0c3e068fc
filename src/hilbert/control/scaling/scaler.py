"""Carries out what `decide` says: looks at functions with load, and at those whose time has come, and at no others.

One gateway of an installation scales, the leader. Figures come from the data plane's own counters; what they cannot tell
(processor time, the queue, an administrator's query) is asked for once a step, and only for functions that go by it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import time
from typing import Final, Protocol

import msgspec
import structlog

from hilbert.control.call_counts import CallTotals, FunctionTotals, counted
from hilbert.control.scaling.decide import STEP, Decision, decide
from hilbert.control.scaling.observed import Figure, History, Observed
from hilbert.control.scaling.policy import CPU, KNOWN, QUEUE, LoadPolicy, read_policy
from hilbert.core.errors import FunctionNotFound, HilbertError
from hilbert.core.model import EndpointSet, FunctionSpec, FunctionStatus
from hilbert.core.ports import Counted, Leader, Noticing, Provider, SharedCounts
from hilbert.core.settings import ScalingSettings
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.kit.pace import Pace

_EVENTS: Final = 20
"""Changes that are remembered of one function."""
_REFUSED: Final = Pace(first=2.0, most=60.0)
"""How long a function is left alone whose provider has refused its count."""
_AT_ONCE: Final = 16
"""Functions that are looked at side by side."""

_log = structlog.get_logger("hilbert.scaling")

Figures = Mapping[FunctionRef, float]


class MovingTotals(CallTotals, Protocol):
    """Counters that say which of them have moved."""

    def take_moved(self) -> Iterable[tuple[str, str]]:
        """Functions (namespace, name) whose counters were reported since this was last asked."""
        ...


class ScalingEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One change of a count, and why."""

    at: float
    """Unix time in seconds."""
    before: int
    after: int
    reason: str
    message: str
    load: float | None = None
    wanted: int | None = None


class ScalingState(msgspec.Struct, frozen=True, kw_only=True):
    """How a function scales, as of the last look at it."""

    policy: LoadPolicy
    decision: Decision | None = None
    """None: it was not looked at yet, since nothing has happened."""
    events: tuple[ScalingEvent, ...] = ()
    """The newest last."""
    refused: str = ""
    """Why the provider did not do what was last decided."""


class _Function:
    """What the scaler keeps of one function that has a policy."""

    __slots__ = ("decision", "events", "failures", "floor", "history", "next_look", "policy", "refused", "spec")

    def __init__(self, spec: FunctionSpec, policy: LoadPolicy, now: float) -> None:
        self.spec = spec
        self.policy = policy
        self.history = History(now)
        self.decision: Decision | None = None
        self.events: deque[ScalingEvent] = deque(maxlen=_EVENTS)
        self.floor = 0
        self.next_look: float | None = None
        self.failures = 0
        self.refused = ""


class Scaler:
    """Scales all functions of an installation while this gateway leads."""

    def __init__(
        self,
        provider: Provider,
        totals: MovingTotals,
        settings: ScalingSettings,
        *,
        leader: Leader,
        shared: SharedCounts | None = None,
        queued: Callable[[], Awaitable[Figures]] | None = None,
        query: Callable[[str], Awaitable[Figures]] | None = None,
        notices: Noticing | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`shared`: other gateways have calls of the same functions, too. `queued` tells the queued calls that are due; `query` answers an administrator's query by its name; `notices` hears of each change."""
        self._provider = provider
        self._totals = totals
        self._settings = settings
        self._leader = leader
        self._shared = shared
        self._queued = queued
        self._query = query
        self._notices = notices
        self._clock = clock or RealClock()
        self._functions: dict[FunctionRef, _Function] = {}
        self._due: list[tuple[float, FunctionRef]] = []
        self._led = False
        self._task: asyncio.Task[None] | None = None
        self._places = asyncio.Semaphore(_AT_ONCE)
        self.changes = 0
        """Counts that were changed."""
        self.looks = 0
        """Functions that were looked at, over all steps: what scaling costs."""

    def start(self) -> None:
        self._task = spawn(self._run(), name="scaling")

    async def stop(self) -> None:
        await cancel(self._task)
        self._task = None

    def seen(self, change: EndpointSet) -> None:
        """A function was made, changed or removed."""
        if change.spec is None:
            self._functions.pop(change.ref, None)
            return
        known = self._functions.get(change.ref)
        if known is not None and known.spec.labels == change.spec.labels:
            known.spec = change.spec
            self._look_at(change.ref, known, self._clock.now())
            return
        policy, wrong = read_policy(change.spec.labels, default_target=float(self._settings.default_target))
        if wrong:
            _log.warning("scaling labels ignored", function=str(change.ref), reason="; ".join(wrong))
        if not policy.by_load and not policy.zero:
            self._functions.pop(change.ref, None)
            return
        if known is None or known.policy.kind != policy.kind:
            known = self._functions[change.ref] = _Function(change.spec, policy, self._clock.now())
        known.spec, known.policy = change.spec, policy
        self._look_at(change.ref, known, self._clock.now())

    def alert(self, ref: FunctionRef, floor: int) -> bool:
        """Hold a function at `floor` replicas at least, or at none with 0. False: it is not scaled by load, and alerts alone scale it."""
        function = self._functions.get(ref)
        if function is None or not function.policy.by_load or not self._settings.by_load:
            return False
        function.floor = floor
        self._look_at(ref, function, self._clock.now())
        return True

    def explain(self, ref: FunctionRef) -> ScalingState | None:
        """How a function scales; None if it does not."""
        function = self._functions.get(ref)
        if function is None:
            return None
        return ScalingState(
            policy=function.policy, decision=function.decision, events=tuple(function.events), refused=function.refused
        )

    def policies(self) -> Iterable[tuple[FunctionRef, ScalingState]]:
        """Every function that scales."""
        for ref in sorted(self._functions):
            state = self.explain(ref)
            if state is not None:
                yield ref, state

    async def _run(self) -> None:
        while True:
            await self._clock.sleep(STEP)
            try:
                await self.step()
            except Exception:  # noqa: BLE001 - one bad step must not be the last
                _log.error("a step of scaling failed", exc_info=True)

    async def step(self) -> None:
        """Look at each function that had calls since the last step, or whose time has come."""
        now = self._clock.now()
        moved = {FunctionRef(NamespaceName(ns), FunctionName(name)) for ns, name in self._totals.take_moved()}
        if self._shared is not None:
            moved.update(self._shared.moved_elsewhere())
        refs = moved & self._functions.keys()
        while self._due and self._due[0][0] <= now:
            _, ref = heapq.heappop(self._due)
            function = self._functions.get(ref)
            if function is not None and function.next_look is not None and function.next_look <= now:
                function.next_look = None
                refs.add(ref)
        if not self._leader.leads:
            self._led = False
            for ref in refs:
                self._look_at(ref, self._functions[ref], now + STEP)
            return
        if not self._led:
            self._led = True
            for function in self._functions.values():
                function.history = History(now)  # What happened while another gateway led is not known here.
        if not refs:
            return
        figures = await self._figures(refs)
        totals = self._totals.functions()
        await asyncio.gather(
            *(self._look(ref, self._calls(ref, totals.get(ref)), figures, now) for ref in sorted(refs))
        )

    def _calls(self, ref: FunctionRef, mine: FunctionTotals | None) -> Counted:
        """By all gateways."""
        own = counted(mine) if mine is not None else Counted()
        return own + self._shared.counted_elsewhere(ref) if self._shared is not None else own

    async def _look(self, ref: FunctionRef, calls: Counted, figures: Mapping[str, Figures], now: float) -> None:
        function = self._functions.get(ref)
        if function is None:
            return
        self.looks += 1
        async with self._places:
            try:
                status = await self._provider.get(ref)
            except FunctionNotFound:
                self._functions.pop(ref, None)
                return
            except HilbertError as exc:
                function.refused = exc.message
                self._look_at(ref, function, now + STEP)
                return
            seen = _observed(function, status, calls, figures, now)
            function.history.note(now, seen)
            decision = decide(
                now,
                function.policy,
                function.history,
                seen,
                maintain_min=self._settings.maintain_min,
                enabled=self._settings.by_load,
            )
            function.decision = decision
            if decision.wanted is not None:
                function.history.recommend(now, decision.wanted)
            wait = decision.again
            if decision.desired != status.replicas:
                wait = await self._change(ref, function, status.replicas, decision)
            if wait is not None and self._functions.get(ref) is function:
                self._look_at(ref, function, now + max(wait, STEP))

    async def _change(self, ref: FunctionRef, function: _Function, before: int, decision: Decision) -> float:
        """Do as decided. Returns the seconds until the next look."""
        if not self._leader.leads:
            return STEP
        try:
            await self._provider.scale(ref, decision.desired)
        except HilbertError as exc:
            function.failures += 1
            function.refused = exc.message
            wait = _REFUSED.delay(function.failures)
            if self._notices is not None:
                self._notices.notice(
                    ref, "NotScaled", f"{before} => {decision.desired} replicas: {exc.message}", warning=True
                )
            _log.warning("not scaled", function=str(ref), to=decision.desired, reason=exc.message, retry_in=wait)
            return wait
        function.failures, function.refused = 0, ""
        self.changes += 1
        if self._notices is not None:
            direction = (
                "ScaledToZero" if decision.desired == 0 else "ScaledUp" if decision.desired > before else "ScaledDown"
            )
            self._notices.notice(
                ref, direction, f"{before} => {decision.desired} replicas ({decision.reason.value}: {decision.message})"
            )
        function.events.append(
            ScalingEvent(
                at=time(),
                before=before,
                after=decision.desired,
                reason=decision.reason,
                message=decision.message,
                load=decision.load,
                wanted=decision.wanted,
            )
        )
        _log.info(
            "scaled",
            function=str(ref),
            before=before,
            after=decision.desired,
            load=decision.load,
            wanted=decision.wanted,
            reason=decision.reason.value,
        )
        return STEP

    async def _figures(self, refs: Iterable[FunctionRef]) -> Mapping[str, Figures]:
        """What others measure, by the kind of load. One that fails is missing: nothing is concluded from it."""
        functions = [self._functions[ref].policy for ref in refs]
        asked: dict[str, Callable[[], Awaitable[Figures]]] = {}
        if self._queued is not None and any(policy.kind == QUEUE or policy.zero for policy in functions):
            asked[QUEUE] = self._queued
        if self._query is not None:
            query = self._query
            for kind in sorted({policy.kind for policy in functions if policy.by_load} - KNOWN):
                asked[kind] = lambda kind=kind: query(kind)  # type: ignore[misc]
        found: dict[str, Figures] = {}
        for kind, ask in asked.items():
            try:
                found[kind] = await ask()
            except HilbertError as exc:
                _log.warning("load not known", kind=kind, reason=exc.message)
        return found

    def _look_at(self, ref: FunctionRef, function: _Function, when: float) -> None:
        function.next_look = when
        heapq.heappush(self._due, (when, ref))
        if len(self._due) > 4 * len(self._functions) + 64:
            self._due = [(one.next_look, name) for name, one in self._functions.items() if one.next_look is not None]
            heapq.heapify(self._due)


def _observed(
    function: _Function,
    status: FunctionStatus,
    calls: Counted,
    figures: Mapping[str, Figures],
    now: float,
) -> Observed:
    kind, ref = function.policy.kind, function.spec.ref
    custom = figures.get(kind, {}).get(ref) if kind not in KNOWN else None
    return Observed(
        desired=status.replicas,
        inflight=calls.inflight,
        waiting=calls.waiting,
        started=calls.started,
        completed=calls.finished - calls.refused,
        cpu=Figure(status.usage.cpu_millis, now) if kind == CPU and status.usage is not None else None,
        queued=Figure(figures[QUEUE].get(ref, 0.0), now) if QUEUE in figures else None,
        custom=Figure(custom, now) if custom is not None else None,
        floor=function.floor,
    )
