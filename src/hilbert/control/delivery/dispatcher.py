"""Takes calls from the queue, fairly, and brings each to its end."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import structlog

from hilbert.control.delivery import fair
from hilbert.control.delivery.backlog import Backlog
from hilbert.control.delivery.calling import INTERNAL, Calls, GatewayAway, Unreached
from hilbert.control.delivery.concurrency import Concurrency
from hilbert.control.delivery.outcomes import Outcomes
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.control.delivery.retries import Decision, RetryPolicy, decide, policy_of
from hilbert.control.delivery.room import Room, room_of
from hilbert.core.errors import CallNotFound, FunctionNotFound, HilbertError, LeaseLost, NamespaceNotFound
from hilbert.core.ports import Leader, Queue
from hilbert.core.ports.queue import Again, Finished, GivenUp, Lease, Outcome, QueueCounts
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock, RealClock, cancel, spawn
from hilbert.kit.pace import Draw, Pace
from hilbert.kit.retry import Backoff

_log = structlog.get_logger("hilbert.delivery")

_STORE_PACE: Final = Pace(first=0.1, most=10.0)
_AWAY: Final = 1.0
"""Seconds to wait for a worker that is being started."""
_LEARNS: Final = 0.2
"""Weight of the newest call in the estimate of how long a function's calls take."""
_UNLIKE: Final = 1.0
"""Seconds by which the clock of the day may fall behind that of the process and still be taken to go on."""
_LEAST_COST: Final = 0.001
_ANY_ROOM: Final = Room()
_UNKNOWN: Final = Concurrency()


class DeliverySettings(msgspec.Struct, frozen=True, kw_only=True):
    """How calls are delivered. Times are in seconds."""

    slots: int = 64
    """Calls at once, in all."""
    namespace_slots: int = 48
    """Calls at once, of one namespace."""
    function_slots: int = 32
    """Calls at once of one function, at most; what it can take is found out."""
    lease: float = 60.0
    """A call whose holder is not heard of for so long is given to another one."""
    look_every: float = 1.0
    """The queue is looked at this often at least, also when nobody says that something was put."""
    retry: RetryPolicy = RetryPolicy()


class CallBacks(Protocol):
    """Tells whoever asked for it what came of a call."""

    async def tell(
        self, lease: Lease, request: QueuedRequest, answer: QueuedAnswer | None, *, took: float, attempts: int
    ) -> bool:
        """Whether it was told in the end. Never raises; bounded in time."""
        ...


class Dispatcher:
    """Delivers from `start` to `stop`, while it leads.

    Every lease is kept by a heartbeat for as long as its call takes. A call that is cancelled, or lost to another
    gateway, is broken off at the next heartbeat, or at once by `break_off`.
    """

    def __init__(
        self,
        queue: Queue,
        calls: Calls,
        *,
        annotations: Callable[[FunctionRef], Awaitable[tuple[Mapping[str, str], Mapping[str, str]]]],
        leader: Leader,
        callbacks: CallBacks | None = None,
        settings: DeliverySettings | None = None,
        clock: Clock | None = None,
        wall: Callable[[], float] = time.time,
        draw: Draw = random.random,
    ) -> None:
        """`annotations` gives a function's and its namespace's. Raises `FunctionNotFound` and `NamespaceNotFound` where there is none now."""
        self._queue = queue
        self._calls = calls
        self._annotations = annotations
        self._leader = leader
        self._callbacks = callbacks
        self._settings = settings or DeliverySettings()
        self._clock = clock or RealClock()
        self._wall = wall
        self._draw = draw
        self._backlog = Backlog(queue, clock=self._clock, look_every=self._settings.look_every)
        self._tags = fair.Tags()
        self._charges: list[fair.Charge] = []
        """What is not in the tags yet."""
        self._limits: dict[FunctionRef, Concurrency] = {}
        self._costs: dict[FunctionRef, float] = {}
        self._rooms: dict[FunctionRef, Room] = {}
        """What annotations said when a function was last called: it begins with what goes for all."""
        self._running: Counter[FunctionRef] = Counter()
        """Calls that take up a slot; those that only wait for a call-back, or to be settled, do not."""
        self._kept: Counter[FunctionRef] = Counter()
        """All that are leased."""
        self._held: dict[str, tuple[int, asyncio.Task[None]]] = {}
        """Every lease that is kept, with its epoch and its task."""
        self._news = asyncio.Event()
        self._looks_at = float("inf")
        """When the queue will be looked at in any case, in Unix seconds."""
        self._seen: tuple[float, float] | None = None
        """The clock of the day, and that of the process, at the last look."""
        self._tasks: list[asyncio.Task[None]] = []
        self.outcomes = Outcomes()

    def start(self) -> None:
        self._tasks = [
            spawn(self._dispatch(), name="dispatch queued calls"),
            spawn(self._keep_leases(), name="keep leases"),
        ]

    async def stop(self) -> None:
        """Break off what is under way. Its attempts count, and are made again by whoever comes next."""
        await cancel(*self._tasks)
        self._tasks = []
        held = [(call, epoch, task) for call, (epoch, task) in self._held.items()]
        await cancel(*(task for _, _, task in held))
        for call, epoch, _ in held:
            with contextlib.suppress(HilbertError):  # It has ended meanwhile, or comes back when its lease is over.
                await self._queue.settle(
                    call, epoch, Again(due=self._wall(), reason="the gateway stopped"), now=self._wall()
                )

    def per_minute(self, ref: FunctionRef) -> int:
        """Queued calls of a function that have ended in the last minute."""
        return self.outcomes.per_minute(ref, self._clock.now())

    def poke(self, due: float) -> None:
        """A call is to be made at this time, in Unix seconds, or at once if that is over."""
        self._backlog.outdate()
        if due < self._looks_at:
            self._news.set()

    def break_off(self, call: str) -> None:
        """End the attempt at a call that was cancelled, if it is made here."""
        if call in self._held:
            self._held[call][1].cancel()

    async def _dispatch(self) -> None:
        backoff = Backoff(_STORE_PACE, sleep=self._clock.sleep, draw=self._draw)
        while True:
            await self._leader.wait()
            self._news.clear()
            self._looks_at = float("inf")
            try:
                pause = await self._hand_out()
            except HilbertError as exc:
                _log.warning("the queue does not answer", reason=exc.message, detail=exc.detail)
                pause = backoff.failed()
                await self._clock.sleep(pause)
                continue
            backoff.succeeded()
            self._looks_at = self._wall() + pause
            await self._until_news(pause)

    async def _until_news(self, seconds: float) -> None:
        sleep = spawn(self._clock.sleep(seconds), name="wait for the next call")
        news = spawn(self._news.wait(), name="wait for news")
        try:
            await asyncio.wait((sleep, news), return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(sleep, news)

    async def _hand_out(self) -> float:
        """Fill the free slots; the seconds after which there may be more to do."""
        settings = self._settings
        await self._mind_clock()
        pause = await self._backlog.look(self._kept)
        now = self._wall()
        open_now = self._backlog.open
        self._tags = fair.correct(self._tags, self._charges)
        self._charges.clear()
        chosen, self._tags = fair.pick(
            now,
            self._tags,
            [self._work(entry) for entry in open_now.values()],
            slots=settings.slots - self._running.total(),
            space_slots=settings.namespace_slots,
        )
        taken = await asyncio.gather(
            *(self._take(ref, count, now) for ref, count in Counter(chosen).items()), return_exceptions=True
        )
        for table in (self._limits, self._costs, self._rooms):
            for ref in table.keys() - open_now.keys():
                del table[ref]
        for failure in taken:
            if isinstance(failure, BaseException):
                raise failure
        if chosen:
            return 0.0
        soon = [entry.next_due - now for entry in open_now.values() if entry.next_due > now]
        return min([pause, *soon])

    async def _mind_clock(self) -> None:
        """Nothing is to wait for a clock that was put back, also while nobody was here, nor lose its lease to one put forward."""
        wall, elapsed = self._wall(), self._clock.now()
        expected = wall if self._seen is None else self._seen[0] + elapsed - self._seen[1]
        if self._seen is None or wall < expected - _UNLIKE:
            moved = await self._queue.pull_in(before=max(expected, wall), now=wall)
            if moved:
                _log.warning("the clock was put back", seconds=round(expected - wall, 3), calls=moved)
            self._backlog.outdate()
        elif wall > expected + _UNLIKE:
            await self._extend()
        self._seen = wall, elapsed

    async def _take(self, ref: FunctionRef, count: int, now: float) -> None:
        """Lease calls of a function and begin them."""
        leases: Sequence[Lease] = ()
        try:
            if self._leader.leads:
                until = now + self._settings.lease
                leases = await self._queue.lease(ref, count=count, now=now, until=until)
        finally:
            self._backlog.taken(ref, count, len(leases))
            unused = (count - len(leases)) * self._costs.get(ref, 1.0)
            self._charge(ref, -unused)
        if leases:
            policy = await self._policy(ref)
            for lease in leases:
                self._begin(lease, policy)

    async def _policy(self, ref: FunctionRef) -> RetryPolicy | HilbertError:
        """What goes for a function's calls now, or why nobody knows."""
        try:
            own, below = await self._annotations(ref)
        except HilbertError as exc:
            return exc
        self._rooms[ref], _ = room_of(own, below)
        return policy_of({**below, **own}, self._settings.retry)[0]

    def _work(self, entry: QueueCounts) -> fair.Work:
        limit = self._limits.get(entry.ref, _UNKNOWN).limit
        room = self._rooms.get(entry.ref, _ANY_ROOM)
        return fair.Work(
            ref=entry.ref,
            ready=self._backlog.ready[entry.ref],
            due=entry.next_due,
            running=self._running[entry.ref],
            limit=min(int(limit), self._settings.function_slots, room.concurrency),
            space_limit=room.namespace_concurrency,
            cost=self._costs.get(entry.ref, 1.0),
            weight=room.weight,
        )

    def _charge(self, ref: FunctionRef, seconds: float) -> None:
        if seconds:
            self._charges.append(fair.Charge(ref, seconds, self._weight(ref)))

    def _weight(self, ref: FunctionRef) -> float:
        return self._rooms.get(ref, _ANY_ROOM).weight

    def _begin(self, lease: Lease, policy: RetryPolicy | HilbertError) -> None:
        if lease.call.id in self._held:  # Its lease was over: that attempt settles nothing any more.
            self._held[lease.call.id][1].cancel()
        self._running[lease.call.ref] += 1
        self._kept[lease.call.ref] += 1
        task = spawn(self._deliver(lease, policy), name=f"queued call {lease.call.id}")
        self._held[lease.call.id] = (lease.epoch, task)

    async def _deliver(self, lease: Lease, policy: RetryPolicy | HilbertError) -> None:
        ref = lease.call.ref
        place = contextlib.ExitStack()
        place.callback(self._leave, ref)
        try:
            with place:
                await self._attempt(lease, policy, place)
        except asyncio.CancelledError:
            self._tell(ref, "lost")
            raise
        finally:
            _less(self._kept, ref)
            if self._held.get(lease.call.id, (0, None))[0] == lease.epoch:
                del self._held[lease.call.id]

    def _leave(self, ref: FunctionRef) -> None:
        _less(self._running, ref)
        self._news.set()

    async def _attempt(self, lease: Lease, policy: RetryPolicy | HilbertError, place: contextlib.ExitStack) -> None:
        """`place` is the slot that the call takes up until it is closed."""
        ref = lease.call.ref
        if isinstance(policy, (FunctionNotFound, NamespaceNotFound)):
            await self._cancel(lease, "the function was removed")
            return
        if isinstance(policy, HilbertError):
            later = self._wall() + _STORE_PACE.most
            await self._settle(lease, Again(due=later, reason=policy.message, counts=False), "retried")
            return
        try:
            request = QueuedRequest.load(lease.call.body)
        except msgspec.MsgspecError as exc:
            await self._settle(lease, GivenUp(reason=f"the stored request cannot be read: {exc}"), "dead")
            return
        if lease.attempt > policy.attempts:  # Its last holder died with it.
            reason = f"given up after {lease.attempt - 1} attempts; the last one did not end"
            await self._settle(lease, GivenUp(reason=reason), "dead")
            return
        began = self._clock.now()
        answer: QueuedAnswer | None = None
        try:
            answer = await self._calls.call(lease, request, attempts=policy.attempts)
        except GatewayAway as exc:
            away = Again(due=self._wall() + _AWAY, reason=str(exc), counts=False)
            await self._settle(lease, away, "retried")
            return
        except Unreached as exc:
            _log.info("queued call not made", function=str(ref), call_id=lease.call.id, reason=str(exc))
        took = max(self._clock.now() - began, _LEAST_COST)
        self._learn(ref, took, answer)
        place.close()
        internal = answer is not None and bool(answer.field(INTERNAL))
        decision = decide(self._wall(), policy, lease.attempt, answer, internal=internal, draw=self._draw)
        if decision.wait is None and request.callback and self._callbacks is not None:
            told = await self._callbacks.tell(lease, request, answer, took=took, attempts=policy.attempts)
            if not told:
                self._tell(ref, "callback-failed")
        await self._settle(lease, *self._outcome(decision, policy, answer))

    def _outcome(self, decision: Decision, policy: RetryPolicy, answer: QueuedAnswer | None) -> tuple[Outcome, str]:
        now = self._wall()
        kept = answer.dump() if answer is not None else b""
        if decision.wait is not None:
            return Again(due=now + decision.wait, reason=decision.reason), "retried"
        if decision.dead:
            return GivenUp(reason=decision.reason, answer=kept), "dead"
        done = Finished(
            succeeded=decision.succeeded,
            reason=decision.reason,
            answer=kept if policy.results else b"",
            answer_until=now + policy.results if policy.results else 0.0,
        )
        return done, "succeeded" if decision.succeeded else "failed"

    async def _settle(self, lease: Lease, outcome: Outcome, word: str) -> None:
        """A store that is away is asked until it answers; the heartbeat keeps the lease, or tells that it is lost."""
        backoff = Backoff(_STORE_PACE, sleep=self._clock.sleep, draw=self._draw)
        while True:
            try:
                await self._queue.settle(lease.call.id, lease.epoch, outcome, now=self._wall())
            except LeaseLost:
                self._tell(lease.call.ref, "lost")
                return
            except HilbertError as exc:
                _log.warning("the outcome of a call is not stored yet", call_id=lease.call.id, reason=exc.message)
                await self._clock.sleep(backoff.failed())
                continue
            self._tell(lease.call.ref, word)
            if isinstance(outcome, Again):
                self.poke(outcome.due)
            return

    def _tell(self, ref: FunctionRef, word: str) -> None:
        self.outcomes.count(ref, word, self._clock.now())

    async def _cancel(self, lease: Lease, reason: str) -> None:
        with contextlib.suppress(CallNotFound):
            await self._queue.cancel(lease.call.ref.namespace, lease.call.id, now=self._wall(), reason=reason)

    def _learn(self, ref: FunctionRef, took: float, answer: QueuedAnswer | None) -> None:
        known = self._costs.get(ref, 1.0)
        self._charge(ref, took - known)
        self._costs[ref] = max(_LEAST_COST, known + _LEARNS * (took - known))
        limit = self._limits.get(ref, Concurrency())
        if answer is None or answer.status in (429, 503):
            self._limits[ref] = limit.overloaded(self._clock.now())
        else:
            self._limits[ref] = limit.answered(running=self._running[ref], most=self._settings.function_slots)

    async def _keep_leases(self) -> None:
        while True:
            await self._clock.sleep(self._settings.lease / 3)
            try:
                await self._extend()
                self.outcomes.keep_only([entry.ref for entry in await self._queue.counts()])
            except HilbertError as exc:
                _log.warning("leases are not extended", calls=len(self._held), reason=exc.message)

    async def _extend(self) -> None:
        """Keep every lease, and break off the calls whose lease is lost."""
        held = {call: epoch for call, (epoch, _) in self._held.items()}
        if not held:
            return
        for call in await self._queue.extend(list(held.items()), until=self._wall() + self._settings.lease):
            epoch, task = self._held.get(call, (0, None))
            if task is not None and epoch == held[call]:
                task.cancel()


def _less(counter: Counter[FunctionRef], ref: FunctionRef) -> None:
    counter[ref] -= 1
    if not counter[ref]:
        del counter[ref]
