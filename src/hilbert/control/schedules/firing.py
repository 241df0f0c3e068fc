"""Queues a call at each tick of each schedule, while this gateway leads.

A tick's call and the mark that says so are one step of the queue (`Marks.advance`), so that however many gateways there
are, and whenever they die, a tick has one entry in the queue.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec
import structlog

from hilbert.control.delivery.room import Rooms
from hilbert.control.schedules.known import PACE, Known
from hilbert.control.schedules.rules import LATE, MOST, Overlap, Schedule
from hilbert.control.schedules.step import Step, step, upcoming
from hilbert.control.schedules.ticks import call_of, extra_call
from hilbert.core.errors import CallNotFound, Conflict, HilbertError, Invalid, NotFound
from hilbert.core.ports import Leader, Marks, Provider, Queue
from hilbert.core.ports.queue import NO_BOUNDS, Bounds, CallState, QueuedCall
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.kit.retry import Backoff

_log = structlog.get_logger("hilbert.schedules")

_LOOK: Final = 1.0
"""Seconds between two looks at the clock at most: it may be set, or the machine may have slept."""
_AT_ONCE: Final = 256
"""Steps that are worked out in one go, while all else waits."""
LATENESS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 600.0)
"""Bounds of the classes in which lateness is counted, in seconds."""

_AHEAD: Final = 5.0
"""Seconds before a tick from which on its call is made ready: at a full minute there can be thousands of them."""

Key = tuple[FunctionRef, int]


class MarkedQueue(Queue, Marks, Protocol):
    """A queue that keeps marks of schedules."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule as it stands."""

    schedule: Schedule
    mark: Mark | None
    next: tuple[float, ...]
    """Unix seconds; none when it is paused, or names no time."""


class _Ready(NamedTuple):
    """A step that was worked out before its tick. It holds as long as schedule and mark are the same."""

    schedule: Schedule
    mark: Mark
    planned: Step
    call: QueuedCall

    def holds(self, now: float, schedule: Schedule, mark: Mark | None) -> bool:
        return self.schedule is schedule and self.mark is mark and 0 <= now - self.planned.tick < LATE


class Firing:
    """Knows every schedule from `start` to `stop`, and fires them while it leads."""

    def __init__(
        self,
        queue: MarkedQueue,
        provider: Provider,
        *,
        leader: Leader,
        rooms: Rooms,
        accepted: Callable[[float], None] = lambda _: None,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`rooms` knows how much may be queued; `accepted` tells whoever delivers that there is a new call."""
        self._queue = queue
        self._leader = leader
        self._rooms = rooms
        self._accepted = accepted
        self._clock = clock or RealClock()
        self._wall = wall
        self._known = Known(provider, clock=self._clock, changed=self._changed)
        self._marks: dict[Key, Mark] = {}
        self._next: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._ready: dict[Key, _Ready] = {}
        self._limits: dict[FunctionRef, Bounds] = {}
        """How much may be queued, as far as it was asked for since the annotations changed."""
        self._troubled: set[Key] = set()
        """Schedules whose last step failed, so that the log says it once."""
        self._gone: dict[FunctionRef, int] = {}
        """Functions that had more schedules: their marks from an index on are to be forgotten."""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.ticks: Counter[tuple[FunctionRef, str]] = Counter()
        """By function and what came of them: `fired`, `skipped`."""
        self.lateness: Counter[float] = Counter()
        """Fired ticks by the least of `LATENESS` that they were not later than, or infinity."""
        self.late_seconds = 0.0
        """The lateness of all of them together."""

    def start(self) -> None:
        self._known.start()
        self._task = spawn(self._run(), name="fire schedules")

    async def stop(self) -> None:
        await cancel(self._task)
        self._task = None
        await self._known.stop()

    # What is asked of it.

    async def list(self, namespace: NamespaceName, *, function: str = "", count: int = 5) -> Sequence[Shown]:
        """The schedules of a namespace, or of one of its functions, each with its next `count` times."""
        marks = {(mark.ref, mark.index): mark for mark in await self._queue.marks(namespace)}
        now = self._wall()
        return [
            Shown(
                schedule=schedule,
                mark=(mark := marks.get((ref, schedule.index))),
                next=tuple(upcoming(now, schedule, mark, count)),
            )
            for ref, rules in sorted(self._known.rules.items())
            if ref.namespace == namespace and function in ("", ref.name)
            for schedule in rules.schedules
        ]

    def all_wrong(self, namespace: NamespaceName) -> Iterable[tuple[FunctionRef, Sequence[str]]]:
        """What the annotations of a namespace's functions say that nobody can understand."""
        return [
            (ref, rules.wrong)
            for ref, rules in sorted(self._known.rules.items())
            if ref.namespace == namespace and rules.wrong
        ]

    def fires(self, ref: FunctionRef) -> bool:
        """Whether the function is called at set times."""
        rules = self._known.rules.get(ref)
        return rules is not None and bool(rules.schedules)

    async def pause(self, ref: FunctionRef, *, paused: bool) -> int:
        """Fire none of a function's schedules until they are resumed, or resume them; the number of schedules.

        What is missed meanwhile is not made up for. Raises `NotFound` for a function without schedules, and `Conflict`
        when an annotation pauses it.
        """
        schedules = self._schedules(ref)
        if not paused and any(schedule.paused for schedule in schedules):
            raise Conflict(
                f"the schedules of {ref} are paused by an annotation",
                hint="remove com.hilbert.schedule.paused from the function or its namespace, and deploy it again",
            )
        for schedule in schedules:
            await self._change(schedule, paused)
        self._news.set()
        return len(schedules)

    async def run(self, ref: FunctionRef, *, index: int | None = None, by: str = "") -> str:
        """Queue the call of a function's schedule now, also when it is paused, for `by`; its id.

        Raises `NotFound` for a schedule that is not there, `Invalid` when there are several and none is named, and as `Queue.put`.
        """
        schedules = self._schedules(ref)
        if index is None and len(schedules) > 1:
            raise Invalid(f"{ref} has {len(schedules)} schedules", hint="say which one by its index, from 0")
        chosen = [schedule for schedule in schedules if index in (None, schedule.index)]
        if not chosen:
            raise NotFound(f"{ref} has no schedule with the index {index}")
        now = self._wall()
        bounds = self._bounds(ref)
        (accepted,) = await self._queue.put([extra_call(chosen[0], now=now, by=by)], now=now, bounds=bounds)
        self._accepted(now)
        return accepted

    def _schedules(self, ref: FunctionRef) -> Sequence[Schedule]:
        rules = self._known.rules.get(ref)
        if rules is None or not rules.schedules:
            raise NotFound(f"function {ref} has no schedule")
        return rules.schedules

    def _bounds(self, ref: FunctionRef) -> Bounds:
        if ref not in self._limits:
            self._limits[ref] = {ref: self._rooms.room(*self._known.annotations[ref]).bounds}
        return self._limits[ref]

    async def _change(self, schedule: Schedule, paused: bool) -> None:
        while True:
            now = self._wall()
            found = {
                mark.index: mark for mark in await self._queue.marks(schedule.ref.namespace) if mark.ref == schedule.ref
            }
            mark = found.get(schedule.index) or Mark(
                ref=schedule.ref, index=schedule.index, version=0, rule=schedule.rule, tick=now
            )
            if mark.paused == paused:
                return
            changed = msgspec.structs.replace(mark, version=mark.version + 1, paused=paused, tick=now, waiting=0.0)
            if await self._queue.advance(changed, now=now):
                self._marks[schedule.ref, schedule.index] = changed
                self._plan((schedule.ref, schedule.index), now)
                return

    def _changed(self, ref: FunctionRef) -> None:
        """A function's schedules are new, other or gone."""
        rules = self._known.rules.get(ref)
        kept = {schedule.index for schedule in rules.schedules} if rules is not None else set()
        self._limits.pop(ref, None)
        start = max(kept, default=-1) + 1
        for index in range(MOST):
            if index not in kept:
                self._next.pop((ref, index), None)
                self._ready.pop((ref, index), None)
            if index >= start and self._marks.pop((ref, index), None) is not None:
                self._gone[ref] = start
        if rules is None:
            self.ticks = Counter({key: count for key, count in self.ticks.items() if key[0] != ref})
        for index in kept:
            self._plan((ref, index), self._wall())
        self._news.set()

    # The loop.

    async def _run(self) -> None:
        await self._known.wait_synced()
        backoff = Backoff(PACE, sleep=self._clock.sleep)
        while True:
            await self._leader.wait()
            try:
                await self._load()
                while self._leader.leads:
                    self._news.clear()
                    await self._forget_gone()
                    await self._fire_due()
                    await self._make_ready()
                    await self._pause_until_due()
                    backoff.succeeded()
            except HilbertError as exc:
                _log.warning("schedules wait for the queue", reason=exc.message, detail=exc.detail)
                await self._clock.sleep(backoff.failed())

    async def _load(self) -> None:
        """What is kept of all schedules, as when leading begins, or when somebody else has changed a mark."""
        self._marks = {(mark.ref, mark.index): mark for mark in await self._queue.marks()}
        now = self._wall()
        self._next.clear()
        self._heap.clear()
        for ref, rules in self._known.rules.items():
            for schedule in rules.schedules:
                self._plan((ref, schedule.index), now)
        for ref in {mark.ref for mark in self._marks.values()}:
            self._changed(ref)

    async def _forget_gone(self) -> None:
        for ref, start in list(self._gone.items()):
            await self._queue.forget_marks(ref, start=start)
            if self._gone.get(ref) == start:
                del self._gone[ref]

    async def _fire_due(self) -> None:
        now = self._wall()
        due: list[Key] = []
        while self._heap and self._heap[0][0] <= now:
            moment, key = heapq.heappop(self._heap)
            if self._next.get(key) == moment:
                del self._next[key]
                due.append(key)
        steps: list[asyncio.Task[None]] = []
        for start in range(0, len(due), _AT_ONCE):
            if not self._leader.leads:
                break
            steps += [spawn(self._advance(key), name="advance a schedule") for key in due[start : start + _AT_ONCE]]
            await asyncio.sleep(0)  # While the queue writes, the next ones are worked out, and others have their turn.
        await asyncio.gather(*steps)

    async def _make_ready(self) -> None:
        """Work out the steps of what is due soon, as long as nothing is due yet."""
        until = self._wall() + _AHEAD
        soon = [(moment, key) for moment, key in self._heap if moment <= until and key not in self._ready]
        for place, (moment, key) in enumerate(soon):
            if place % _AT_ONCE == 0:
                await asyncio.sleep(0)
                if self._heap and self._heap[0][0] <= self._wall():
                    return
            schedule, mark = self._known.find(*key), self._marks.get(key)
            if schedule is None or mark is None or mark.waiting or schedule.overlap is not Overlap.ALLOW:
                continue
            planned = step(moment, schedule, mark, None)
            if planned.tick:
                self._bounds(schedule.ref)
                self._ready[key] = _Ready(schedule, mark, planned, call_of(schedule, planned.tick, now=moment))

    async def _advance(self, key: Key) -> None:
        """All that is due of one schedule."""
        while (schedule := self._known.find(*key)) is not None and self._leader.leads:
            now = self._wall()
            try:
                wake = await self._one_step(now, schedule)
            except Exception as exc:  # noqa: BLE001 - one schedule's failure must not stop the others
                if key not in self._troubled:
                    expected = isinstance(exc, HilbertError)
                    _log.warning(
                        "scheduled call not queued", function=str(key[0]), reason=str(exc), exc_info=not expected
                    )
                self._troubled.add(key)
                self._plan(key, now + _LOOK)
                return
            self._troubled.discard(key)
            if wake != now:
                if wake is not None and self._known.find(*key) is schedule:
                    self._plan(key, wake)
                return

    async def _one_step(self, now: float, schedule: Schedule) -> float | None:
        """Returns when to look again: `now` means at once, None only after news."""
        key = schedule.ref, schedule.index
        mark = self._marks.get(key)
        ready = self._ready.pop(key, None)
        call: QueuedCall | None
        if ready is not None and ready.holds(now, schedule, mark):
            planned, call = ready.planned, ready.call
        else:
            planned = step(now, schedule, mark, await self._last(schedule, mark))
            call = call_of(schedule, planned.tick, now=now) if planned.tick else None
        if planned.mark is None:
            return planned.wake
        after = planned.mark
        if call is not None:
            after = msgspec.structs.replace(after, call=call.id)
        bounds = NO_BOUNDS if call is None else self._bounds(schedule.ref)
        if not await self._queue.advance(after, call, now=now, bounds=bounds):
            await self._reload(schedule.ref)
            return now
        if self._known.find(*key) is not None:
            self._marks[key] = after
        self._count(schedule.ref, planned, self._wall())
        if call is not None:
            self._accepted(call.due)
        return now

    async def _last(self, schedule: Schedule, mark: Mark | None) -> CallState | None:
        """The state of the call before, where it matters."""
        if mark is None or not mark.call or (schedule.overlap is Overlap.ALLOW and not mark.waiting):
            return None
        try:
            return (await self._queue.look_up(mark.ref.namespace, mark.call, now=self._wall())).state
        except CallNotFound:
            return None

    async def _reload(self, ref: FunctionRef) -> None:
        kept = {mark.index: mark for mark in await self._queue.marks(ref.namespace) if mark.ref == ref}
        for key in [key for key in self._marks if key[0] == ref]:
            del self._marks[key]
        self._marks.update({(ref, index): mark for index, mark in kept.items()})

    def _count(self, ref: FunctionRef, planned: Step, now: float) -> None:
        if planned.skipped:
            self.ticks[ref, "skipped"] += 1
        if planned.tick:
            late = max(0.0, now - planned.tick)
            self.ticks[ref, "fired"] += 1
            self.lateness[next((bound for bound in LATENESS if late <= bound), float("inf"))] += 1
            self.late_seconds += late

    def _plan(self, key: Key, moment: float) -> None:
        self._next[key] = moment
        heapq.heappush(self._heap, (moment, key))

    async def _pause_until_due(self) -> None:
        wait = max(0.0, self._heap[0][0] - self._wall()) if self._heap else _LOOK
        sleep = spawn(self._clock.sleep(min(wait, _LOOK)), name="wait for the next tick")
        news = spawn(self._news.wait(), name="wait for news of schedules")
        try:
            await asyncio.wait((sleep, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(sleep, news)


def lateness_classes(counted: Mapping[float, int]) -> Iterable[tuple[str, float]]:
    """Cumulated, as Prometheus wants it."""
    total = 0
    for bound in (*LATENESS, float("inf")):
        total += counted.get(bound, 0)
        yield ("+Inf" if bound == float("inf") else str(bound)), float(total)
