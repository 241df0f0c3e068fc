"""The loop that makes replicas agree with promises: observe, decide, act, publish; again on every change.

One pass of one function never waits for a replica: starts and stops are tasks of their own that queue the function again
when they end. All state is changed on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final

import structlog

from hilbert.core.errors import HilbertError
from hilbert.core.isolation import Promise
from hilbert.core.limits import TenantLimits
from hilbert.core.model import Namespace
from hilbert.core.ports import Handle, Observed, ReplicaPlan, Runtime
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import Duration, FunctionRef
from hilbert.kit.aio import Clock, KeyedQueue, cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.turns import Turns
from hilbert.providers.host.cell import STEADY, Cell, Replica, grace_of
from hilbert.providers.host.decide import Revision, Stage, decide
from hilbert.providers.host.extra import Announcing, Preparing
from hilbert.providers.host.idle import Idle
from hilbert.providers.host.record import FunctionRecord, ReplicaRecord
from hilbert.providers.host.store import Store
from hilbert.providers.quota import with_limits
from hilbert.providers.rules import network_of, pull_secret, required_of

_log = structlog.get_logger("hilbert.host")

_CHECK_AGAIN: Final = 30.0
"""Seconds between checks of a function at rest, when the runtime announces changes itself: a safety net."""
_POLL: Final = 2.0
_POLL_BOOTING: Final = 0.025
"""Seconds between checks when the runtime does not announce changes."""
_STOP_AGAIN: Final = Pace(first=1.0, most=60.0)
"""Until a stop that failed is tried again."""
_LOOK_AGAIN: Final = 1.0
"""Seconds after which a replica that waits for its image is looked at: it may not be wanted any more."""
_SLOT_MOST: Final = 5.0
"""Most seconds that a booting replica holds its place among those that boot at once."""
_TOLD: Final = {
    "SecretNotFound": "a secret that it needs does not exist",
    "ImageUnavailable": "its image is not available",
    "StorageFull": "the disk of this machine is full",
}
"""Why a start failed, in words that whoever calls the function may read: without names of the owner's."""
_PATIENCE: Final = 3600.0
"""Most seconds that a replica which is one too many may take to finish its calls."""
_COUNTED_WITHIN: Final = 1.5
"""Seconds after which a call that has begun is known of: workers report once a second."""
_CALLS_AGAIN: Final = 0.5
"""Seconds between two looks at whether it has finished them."""
_UNHEALTHY_GRACE: Final = Duration.of(5)
"""Grace of a replica that has stopped answering anyway."""


class Reconciler:
    """Owns the cells. `HostProvider` tells it what is promised; it makes it so."""

    def __init__(
        self,
        store: Store,
        runtime: Runtime,
        *,
        settings: ProviderSettings,
        clock: Clock,
        namespace_of: Callable[[FunctionRef], Namespace | None],
        required: frozenset[Promise],
        changed: Callable[[FunctionRef], None],
        last_words: Callable[[Handle], Awaitable[str]],
    ) -> None:
        """`last_words` gives the line of a replica's log that says most of what is wrong with it."""
        self._store = store
        self._runtime = runtime
        self._settings = settings
        self._clock = clock
        self._namespace_of = namespace_of
        self._required = required
        self._changed = changed
        self._last_words = last_words
        self._announcing = isinstance(runtime, Announcing)
        self._queue: KeyedQueue[FunctionRef] = KeyedQueue(
            self._reconcile, name="host", pace=Pace(first=0.05, most=10.0)
        )
        self._idle = Idle(runtime, settings)
        self._slots: Turns[str] = Turns(max(4, 2 * (os.cpu_count() or 1)))
        """Starts at once. Namespaces take turns, so that many starts of one do not put off one of another."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.busy: Callable[[FunctionRef], Mapping[str, int]] | None = None
        """Calls under way of a function, by the address of the replica that has them. None: nobody counts them."""
        self.cells: dict[FunctionRef, Cell] = {}
        self._cell_of: dict[str, Cell] = {}

    def cell(self, ref: FunctionRef) -> Cell:
        """The cell of `ref`, made if it is new."""
        cell = self.cells.get(ref)
        if cell is None:
            cell = self.cells[ref] = Cell(ref)
        return cell

    def wake(self, ref: FunctionRef) -> None:
        """Look at `ref` soon."""
        if not self._closing:
            self._queue.add(ref)

    async def start(self, replicas: Sequence[ReplicaRecord]) -> None:
        """Take back the replicas of an earlier run, then begin to reconcile."""
        now = self._clock.now()
        for record in replicas:
            replica = Replica(record, stage=Stage.BOOTING, now=now, taken_back=True)
            self._idle.stage_of(replica, now)
            self._hold(self.cell(record.handle.ref), replica)
        if replicas:
            self._apply_observations(await self._runtime.check([record.handle for record in replicas]))
        if isinstance(self._runtime, Announcing):
            self._runtime.subscribe(self._announced)
        self._queue.start()
        for ref, cell in self.cells.items():
            cell.published = cell.endpoints()
            if cell.replicas or (cell.record is not None and cell.record.replicas):
                self.wake(ref)

    async def close(self, *, stop_replicas: bool) -> int:
        """Stop reconciling. Replicas go on, to be taken back by the next run, unless they are to be stopped.

        Returns how many of those were still there after their grace. That is never longer than the platform's here: the
        gateway takes no calls any more, so a function's long `write_timeout` would be waited for in vain.
        """
        self._closing = True
        await self._queue.stop()
        await cancel(*self._tasks)
        if not stop_replicas:
            return 0
        live = [(cell, replica) for cell in self.cells.values() for replica in cell.replicas.values()]
        begin = self._clock.now()

        async def stop(cell: Cell, replica: Replica) -> bool:
            grace = min(replica.grace, self._settings.grace)
            await self._stop(cell, replica, grace)
            return grace.ns > 0 and self._clock.now() - begin >= grace.seconds

        return sum(await asyncio.gather(*(stop(cell, replica) for cell, replica in live)))

    def revision(self, record: FunctionRecord) -> Revision:
        """What a replica of `record` has to be started from now."""
        namespace = self._namespace_of(record.spec.ref)
        imposed: Mapping[str, str] = {} if namespace is None else namespace.annotations
        required = self._required | required_of(record.spec, imposed)
        return Revision(record.generation, network_of(record.spec, imposed), required)

    def handles(self, cells: Iterable[Cell]) -> list[Handle]:
        """Of replicas that run."""
        return [
            replica.handle
            for cell in cells
            for replica in cell.replicas.values()
            if replica.stage not in (Stage.STARTING, Stage.STOPPING)
        ]

    # One pass

    async def _reconcile(self, ref: FunctionRef) -> float | None:
        cell = self.cells.get(ref)
        if cell is None:
            return None
        handles = self.handles([cell])
        if handles:
            self._apply_observations(await self._runtime.check(handles))
        now = self._clock.now()
        await self._expire(cell, now)
        record = cell.record
        wanted = None if record is None else self.revision(record)
        busy = self.busy(ref) if self.busy is not None else {}
        frozen = 0 if record is None else self._idle.most(record.spec)
        decision = decide(0 if record is None else record.replicas, wanted, cell.views(busy), frozen=frozen)
        for name in decision.thaw:
            await self._idle.thaw(cell.replicas[name])
        for name in decision.freeze:
            delay = max(self._settings.drain_delay.seconds, _COUNTED_WITHIN if self.busy is not None else 0.0)
            self._idle.cool(cell.replicas[name], now + delay)
        for name in decision.drain:
            self._drain(cell.replicas[name], now)
        for name in decision.retire:
            self._drain(cell.replicas[name], now, patience=_PATIENCE if self.busy is not None else 0.0)
        if record is not None and wanted is not None and now >= cell.retry_at:
            for _ in range(decision.start):
                self._begin(cell, record, wanted, now)
        self._publish(cell)
        self._note_success(cell, wanted, now)
        for replica in list(cell.replicas.values()):
            if replica.stage is Stage.DRAINING and now >= replica.stop_at:
                if wanted is not None and _may_finish(replica, wanted, busy, now):
                    replica.stop_at = now + _CALLS_AGAIN
                else:
                    self._begin_stop(cell, replica)
            elif replica.stage in (Stage.COOLING, Stage.FROZEN) and now >= replica.stop_at:
                await self._sleep_on(replica, busy, now)
        if cell.record is None and not cell.replicas:
            self.cells.pop(ref, None)
            return None
        return self._next_look(cell, now, waits=decision.start > 0)

    async def _sleep_on(self, replica: Replica, busy: Mapping[str, int], now: float) -> None:
        """Freeze one that has cooled down; give the memory back of one that nobody has called for long."""
        if replica.stage is Stage.COOLING and replica.endpoint is not None and busy.get(replica.endpoint.address, 0):
            replica.stop_at = now + _CALLS_AGAIN
        elif replica.stage is Stage.FROZEN or not await self._idle.freeze(replica, now):
            self._drain(replica, now)

    async def _expire(self, cell: Cell, now: float) -> None:
        limit = self._settings.start_timeout
        late = [
            replica
            for replica in cell.replicas.values()
            if replica.stage is Stage.BOOTING and now - replica.started_at >= limit.seconds
        ]
        for replica in late:
            said = await self._last_words(replica.handle)
            if replica.stage is Stage.BOOTING:
                why = f"a replica did not become ready within {limit}"
                self._fail(cell, replica, "ProbeFailing", f"{why}: {replica.unready}" if replica.unready else why, said)
                self._drain(replica, now)

    def _drain(self, replica: Replica, now: float, *, patience: float = 0.0) -> None:
        """Take it out of the routes, and stop it after the drain delay, or up to `patience` later if it has calls."""
        published = replica.stage is Stage.READY
        if replica.stage is Stage.UNHEALTHY:
            replica.grace = min(replica.grace, _UNHEALTHY_GRACE)
        replica.stage = Stage.DRAINING
        delay = self._settings.drain_delay.seconds
        replica.stop_at = now + (max(delay, _COUNTED_WITHIN if patience else 0.0) if published else 0.0)
        replica.patient_until = replica.stop_at + patience if published and patience else 0.0
        replica.settled.set()

    def _publish(self, cell: Cell) -> None:
        endpoints, fault = cell.endpoints(), cell.refusal()
        if endpoints != cell.published or fault != cell.published_fault:
            cell.published, cell.published_fault = endpoints, fault
            self._changed(cell.ref)

    def _note_success(self, cell: Cell, wanted: Revision | None, now: float) -> None:
        if wanted is None or cell.record is None:
            return
        ready = [
            replica
            for replica in cell.replicas.values()
            if replica.stage is Stage.READY and replica.uid == cell.record.uid and replica.revision.is_current(wanted)
        ]
        if ready:
            cell.ready_generation = wanted.generation
        if len(ready) >= cell.record.replicas and cell.reason:
            cell.succeed(now=now)

    def _next_look(self, cell: Cell, now: float, *, waits: bool) -> float | None:
        """Seconds until this function has to be looked at again, if nothing changes before."""
        times: list[float] = []
        if waits and cell.retry_at > now:
            times.append(cell.retry_at)
        if cell.reason and cell.failed_at + STEADY > now:
            times.append(cell.failed_at + STEADY)
        running = False
        for replica in cell.replicas.values():
            if replica.stage in (Stage.DRAINING, Stage.COOLING, Stage.FROZEN):
                times.append(replica.stop_at)
            elif replica.stage is Stage.BOOTING:
                times.append(replica.started_at + self._settings.start_timeout.seconds)
                if not self._announcing:
                    times.append(now + _POLL_BOOTING)
            running = running or replica.stage is not Stage.STOPPING
        if running:
            times.append(now + (_CHECK_AGAIN if self._announcing else _POLL))
        return max(0.0, min(times) - now) if times else None

    # Observations

    def _announced(self, replica: str) -> None:
        cell = self._cell_of.get(replica)
        if cell is not None:
            self.wake(cell.ref)

    def _apply_observations(self, observations: Sequence[Observed]) -> None:
        now = self._clock.now()
        for seen in observations:
            cell = self._cell_of.get(seen.replica)
            replica = None if cell is None else cell.replicas.get(seen.replica)
            if cell is None or replica is None or replica.stage in (Stage.STARTING, Stage.STOPPING):
                continue
            replica.endpoint = seen.endpoint or replica.endpoint
            replica.placement = seen.placement or replica.placement
            if seen.state == "exited":
                self._exited(cell, replica, seen)
            elif replica.stage in (Stage.DRAINING, Stage.COOLING, Stage.FROZEN):
                continue
            elif seen.state == "ready":
                if replica.stage is not Stage.READY:
                    _log.info("replica ready", function=str(cell.ref), replica=replica.name)
                    replica.ready_at = now
                replica.stage = Stage.READY
                cell.fault = None
                replica.settled.set()
            elif seen.state == "starting":
                replica.unready = seen.message
            elif seen.state == "unhealthy":
                replica.stage = Stage.UNHEALTHY
                replica.settled.set()
                self._fail(cell, replica, seen.reason or "ProbeFailing", seen.message or "a replica stopped answering")

    def _exited(self, cell: Cell, replica: Replica, seen: Observed) -> None:
        if replica.stage not in (Stage.DRAINING, Stage.COOLING, Stage.FROZEN):  # Those are not waited for.
            reason = "CrashLoop" if seen.reason in ("", "Exited") else seen.reason
            self._fail(cell, replica, reason, seen.message or "a replica ended by itself", seen.said)
        replica.grace = Duration(0)
        replica.stop_at = replica.patient_until = 0.0
        replica.stage = Stage.DRAINING  # What it left behind still has to go.
        replica.settled.set()

    def _fail(self, cell: Cell, replica: Replica, reason: str, message: str, said: str = "", *, told: str = "") -> None:
        """Note a failure, unless it is of a replica that is not wanted any more."""
        record = cell.record
        if record is None or replica.uid != record.uid or not replica.revision.is_current(self.revision(record)):
            return
        cell.fail(replica, reason, message, said=said, told=told, now=self._clock.now())
        _log.warning(
            "replica failed",
            function=str(cell.ref),
            replica=replica.name,
            reason=reason,
            message=cell.message,
            failures=cell.failures,
        )

    # Starts and stops

    def _hold(self, cell: Cell, replica: Replica) -> None:
        cell.replicas[replica.name] = replica
        self._cell_of[replica.name] = cell

    def _begin(self, cell: Cell, record: FunctionRecord, revision: Revision, now: float) -> None:
        name = f"{record.spec.ref.name}-{_random()}"
        kept = ReplicaRecord(
            handle=Handle(replica=name, ref=record.spec.ref, generation=record.generation),
            uid=record.uid,
            revision=str(revision),
            grace=grace_of(record, self._settings),
        )
        replica = Replica(kept, stage=Stage.STARTING, now=now)
        self._hold(cell, replica)
        self._spawn(self._start(cell, replica, record), f"start {name}")

    def _begin_stop(self, cell: Cell, replica: Replica) -> None:
        replica.stage = Stage.STOPPING
        self._spawn(self._stop(cell, replica, replica.grace), f"stop {replica.name}")

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = spawn(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _start(self, cell: Cell, replica: Replica, record: FunctionRecord) -> None:
        try:
            await self._prepare(cell, replica, record)
        except Exception as exc:  # noqa: BLE001 - as below
            self._not_started(cell, replica, exc)
            self.wake(cell.ref)
            return
        async with self._slots.place(cell.ref.namespace):
            if not self._still_wanted(cell, replica):  # It may have waited long for its slot.
                self._drop(cell, replica)
                return
            replica.started_at = self._clock.now()
            try:
                await self._run_start(replica, record)
                replica.stage = Stage.BOOTING
            except Exception as exc:  # noqa: BLE001 - a runtime's bug must not leave the replica half started
                self._not_started(cell, replica, exc)
            self.wake(cell.ref)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SLOT_MOST):
                    await replica.settled.wait()

    async def _prepare(self, cell: Cell, replica: Replica, record: FunctionRecord) -> None:
        """Have the runtime fetch what it needs, for as long as the replica is wanted. It holds up nobody's start."""
        if not isinstance(self._runtime, Preparing):
            return
        spec = record.spec
        namespace = self._namespace_of(spec.ref)
        secret = pull_secret(spec, namespace.annotations if namespace is not None else {})
        names = (secret,) if secret is not None else ()
        values = await self._store.secret_values(record.tenant, names)
        login = values[secret] if secret is not None else b""
        fetching = asyncio.get_running_loop().create_task(
            self._runtime.prepare(spec, generation=record.generation, pull_secret=login), name=f"prepare {replica.name}"
        )
        try:
            while not (await asyncio.wait({fetching}, timeout=_LOOK_AGAIN))[0] and self._still_wanted(cell, replica):
                pass
            if fetching.done():
                fetching.result()
        finally:
            await cancel(fetching)

    def _still_wanted(self, cell: Cell, replica: Replica) -> bool:
        record = cell.record
        if record is None or replica.uid != record.uid:
            return False
        wanted = self.revision(record)
        others = sum(
            other.revision.is_current(wanted) and other.stage not in (Stage.DRAINING, Stage.STOPPING)
            for other in cell.replicas.values()
            if other is not replica and other.uid == record.uid
        )
        return replica.revision.is_current(wanted) and others < record.replicas

    async def _run_start(self, replica: Replica, record: FunctionRecord) -> None:
        namespace = self._namespace_of(record.spec.ref)
        plan = ReplicaPlan(
            replica=replica.name,
            spec=with_limits(record.spec, namespace.annotations if namespace is not None else {}),
            generation=record.generation,
            secrets=await self._store.secret_values(record.tenant, record.spec.secrets),
            network=replica.revision.network,
            required=replica.revision.required,
            tenant=record.tenant,
            weight=TenantLimits.usable(namespace.annotations).weight if namespace is not None else 1.0,
        )
        steps: AsyncIterator[Handle] = self._runtime.start(plan)
        try:
            async for handle in steps:
                replica.handle = handle
                await self._store.put_replica(replica.record())
        finally:
            close = getattr(steps, "aclose", None)
            if close is not None:
                await close()
        if plan.secrets:  # One may have been updated since it was read, before there was a replica to update.
            now = await self._store.secret_values(record.tenant, record.spec.secrets, missing_ok=True)
            if now != plan.secrets:
                await self._runtime.update_secrets(replica.handle, now)

    def _not_started(self, cell: Cell, replica: Replica, error: Exception) -> None:
        known = isinstance(error, HilbertError)
        reason = type(error).__name__ if known else "StartFailed"
        message = error.message if isinstance(error, HilbertError) else "a replica could not be started"
        self._fail(cell, replica, reason, message, told=_TOLD.get(reason, "a replica could not be started"))
        if not known:
            _log.error("start failed", function=str(cell.ref), replica=replica.name, exc_info=error)
        replica.grace = Duration(0)
        replica.stop_at = 0.0
        replica.stage = Stage.DRAINING
        replica.settled.set()

    async def _stop(self, cell: Cell, replica: Replica, grace: Duration) -> None:
        try:
            await self._runtime.stop(replica.handle, grace=grace)
            await self._store.forget_replica(replica.name)
        except Exception as exc:  # noqa: BLE001 - tried again until it works: nothing may be left running
            replica.stop_failures += 1
            pause = _STOP_AGAIN.delay(replica.stop_failures)
            _log.warning("stop failed", function=str(cell.ref), replica=replica.name, reason=str(exc), again_in=pause)
            replica.stage = Stage.DRAINING
            replica.stop_at = self._clock.now() + pause
        else:
            self._drop(cell, replica)
        self.wake(cell.ref)

    def _drop(self, cell: Cell, replica: Replica) -> None:
        cell.replicas.pop(replica.name, None)
        self._cell_of.pop(replica.name, None)
        replica.settled.set()
        self.wake(cell.ref)


def _may_finish(replica: Replica, wanted: Revision, busy: Mapping[str, int], now: float) -> bool:
    """Whether a replica that was retired goes on with its calls: not against what its namespace imposes by now."""
    has_calls = replica.endpoint is not None and busy.get(replica.endpoint.address, 0) > 0
    return has_calls and now < replica.patient_until and replica.revision.allowed_by(wanted)


def _random() -> str:
    """Ten letters and digits: 50 bits, so that a name is never given twice and cannot be guessed."""
    return "".join(secrets.choice("abcdefghijklmnopqrstuvwxyz234567") for _ in range(10))
