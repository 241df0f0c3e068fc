"""A queue in memory: the executable specification of `core.ports.queue`. It keeps its promises until the process ends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

import msgspec

from hilbert.core.errors import CallNotFound, KeyReused, LeaseLost
from hilbert.core.ports.queue import (
    FINISHED,
    KEPT_FOR,
    NO_BOUNDS,
    OPEN,
    Again,
    Bounds,
    CallRecord,
    CallState,
    Finished,
    Lease,
    Outcome,
    QueueBounds,
    QueueCounts,
    QueuedCall,
)
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.queues.bounds import check_bounds, fingerprint_of, not_found


class _Entry(msgspec.Struct):
    """One call. `wake` is when it can be leased: it is due, or its lease ends."""

    number: int
    call: QueuedCall
    fingerprint: bytes
    size: int
    put_at: float
    due: float
    wake: float
    state: CallState = CallState.QUEUED
    epoch: int = 0
    attempts: int = 0
    finished_at: float = 0.0
    reason: str = ""
    answer: bytes = b""
    answer_until: float = 0.0
    """0: as long as the call is kept."""


class MemoryQueue:
    """A `Queue` with its `QueueRecords` and `Marks`. Every look-up walks over what there is: meant to be read, not to be fast."""

    def __init__(self, bounds: QueueBounds | None = None) -> None:
        self._bounds = bounds or QueueBounds()
        self._entries: dict[str, _Entry] = {}
        self._last = 0
        self._accepted: dict[FunctionRef, int] = {}
        self._forgotten: dict[FunctionRef, int] = {}
        self._marks: dict[tuple[FunctionRef, int], Mark] = {}

    async def put(self, calls: Sequence[QueuedCall], *, now: float, bounds: Bounds = NO_BOUNDS) -> Sequence[str]:
        ids: list[str] = []
        fresh: dict[str, _Entry] = {}
        for call in calls:
            same = self._entries.get(call.id) or fresh.get(call.id) or self._with_key(call, fresh.values())
            if same is None:
                self._last += 1
                fresh[call.id] = _Entry(
                    number=self._last,
                    call=call,
                    fingerprint=fingerprint_of(call),
                    size=len(call.body),
                    put_at=now,
                    due=call.due,
                    wake=call.due,
                )
            elif same.fingerprint != fingerprint_of(call) or same.call.ref.namespace != call.ref.namespace:
                raise KeyReused("the idempotency key was used before with another request")
            ids.append(call.id if same is None else same.call.id)
        for ref in {entry.call.ref for entry in fresh.values()}:
            self._check_room(bounds.get(ref, self._bounds), ref, list(fresh.values()))
        self._entries.update(fresh)
        for entry in fresh.values():
            self._accepted[entry.call.ref] = self._accepted.get(entry.call.ref, 0) + 1
        return ids

    async def lease(self, ref: FunctionRef, *, count: int, now: float, until: float) -> Sequence[Lease]:
        ready = [entry for entry in self._of(ref) if entry.state in OPEN and entry.wake <= now]
        ready.sort(key=lambda entry: (entry.wake, entry.number))
        leases = []
        for entry in ready[: max(count, 0)]:
            entry.state = CallState.RUNNING
            entry.epoch += 1
            entry.attempts += 1
            entry.wake = until
            leases.append(
                Lease(
                    call=msgspec.structs.replace(entry.call, due=entry.due, fingerprint=b""),
                    epoch=entry.epoch,
                    attempt=entry.attempts,
                    put_at=entry.put_at,
                )
            )
        return leases

    async def extend(self, leases: Sequence[tuple[str, int]], *, until: float) -> Set[str]:
        lost = set()
        for call, epoch in leases:
            entry = self._entries.get(call)
            if entry is None or not _holds(entry, epoch):
                lost.add(call)
            else:
                entry.wake = max(entry.wake, until)
        return lost

    async def settle(self, call: str, epoch: int, outcome: Outcome, *, now: float) -> None:
        entry = self._entries.get(call)
        if entry is None or not _holds(entry, epoch):
            raise LeaseLost("the call was cancelled, or another gateway has it now")
        entry.reason = outcome.reason
        if isinstance(outcome, Again):
            entry.state = CallState.QUEUED
            entry.due = entry.wake = outcome.due
            entry.attempts -= 0 if outcome.counts else 1
            return
        entry.finished_at = now
        entry.answer = outcome.answer
        if isinstance(outcome, Finished):
            if outcome.answer_until <= now:
                entry.answer = b""
            entry.state = CallState.SUCCEEDED if outcome.succeeded else CallState.FAILED
            entry.answer_until = outcome.answer_until
            _drop_body(entry)
        else:
            entry.state = CallState.DEAD

    async def pull_in(self, *, before: float, now: float) -> int:
        moved = 0
        for entry in self._entries.values():
            if entry.state not in OPEN or entry.wake <= now:
                continue
            is_late = entry.wake <= before or (entry.due <= entry.put_at and entry.put_at > now)
            if entry.state is CallState.QUEUED and is_late:
                entry.due = entry.wake = now
            elif before <= now:
                continue
            elif entry.state is CallState.RUNNING:
                entry.wake -= before - now
            elif entry.attempts:
                entry.due -= before - now
                entry.wake = entry.due
            else:
                continue
            moved += 1
        return moved

    async def cancel(self, namespace: NamespaceName, call: str, *, now: float, reason: str = "") -> CallRecord:
        entry = self._get(namespace, call)
        if entry.state in OPEN:
            _cancel(entry, now, reason)
        return _record(entry, now=now)

    async def look_up(self, namespace: NamespaceName | None, call: str, *, now: float) -> CallRecord:
        return _record(self._get(namespace, call), now=now)

    async def counts(self, *, open_only: bool = False) -> Sequence[QueueCounts]:
        found = []
        for ref, accepted in self._accepted.items():
            mine = list(self._of(ref))
            if open_only and not any(entry.state in OPEN for entry in mine):
                continue
            found.append(
                QueueCounts(
                    ref=ref,
                    queued=sum(entry.state is CallState.QUEUED for entry in mine),
                    running=sum(entry.state is CallState.RUNNING for entry in mine),
                    finished=sum(entry.state in FINISHED for entry in mine),
                    dead=sum(entry.state is CallState.DEAD for entry in mine),
                    forgotten=self._forgotten.get(ref, 0),
                    accepted=accepted,
                    size=sum(map(_kept, mine)),
                    next_due=min((entry.wake for entry in mine if entry.state in OPEN), default=0.0),
                )
            )
        return found

    async def list_calls(
        self,
        namespace: NamespaceName,
        *,
        function: str = "",
        state: CallState | None = None,
        after: int = 0,
        limit: int,
    ) -> Sequence[CallRecord]:
        found = [
            entry
            for entry in self._entries.values()
            if entry.call.ref.namespace == namespace
            and function in ("", entry.call.ref.name)
            and state in (None, entry.state)
            and entry.number > after
        ]
        found.sort(key=lambda entry: entry.number)
        return [msgspec.structs.replace(_record(entry, now=0.0), answer=b"") for entry in found[:limit]]

    async def body(self, namespace: NamespaceName, call: str) -> bytes:
        entry = self._get(namespace, call)
        if entry.state in FINISHED:
            raise CallNotFound(f"the request of call {call} is no longer kept")
        return entry.call.body

    async def redrive(
        self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "", now: float
    ) -> int:
        chosen = self._dead(namespace, calls, function)
        for entry in chosen:
            entry.state = CallState.QUEUED
            entry.due = entry.wake = now
            entry.attempts = 0
            entry.finished_at = 0.0
            entry.reason, entry.answer = "", b""
        return len(chosen)

    async def purge(self, namespace: NamespaceName, *, calls: Sequence[str] = (), function: str = "") -> int:
        chosen = self._dead(namespace, calls, function)
        self._forget(chosen)
        return len(chosen)

    async def cancel_function(self, ref: FunctionRef, *, reason: str, now: float) -> int:
        chosen = [entry for entry in self._of(ref) if entry.state in OPEN]
        for entry in chosen:
            _cancel(entry, now, reason)
        await self.forget_marks(ref)
        return len(chosen)

    async def forget_namespace(self, namespace: NamespaceName) -> None:
        self._entries = {name: entry for name, entry in self._entries.items() if entry.call.ref.namespace != namespace}
        for table in (self._accepted, self._forgotten):
            for ref in [ref for ref in table if ref.namespace == namespace]:
                del table[ref]
        self._marks = {key: mark for key, mark in self._marks.items() if mark.ref.namespace != namespace}

    async def marks(self, namespace: NamespaceName | None = None) -> Sequence[Mark]:
        return [mark for _, mark in sorted(self._marks.items()) if namespace in (None, mark.ref.namespace)]

    async def advance(
        self, mark: Mark, call: QueuedCall | None = None, *, now: float, bounds: Bounds = NO_BOUNDS
    ) -> bool:
        before = self._marks.get((mark.ref, mark.index))
        if mark.version != (before.version if before is not None else 0) + 1:
            return False
        if call is not None:
            (accepted,) = await self.put([call], now=now, bounds=bounds)
            mark = msgspec.structs.replace(mark, call=accepted)
        self._marks[mark.ref, mark.index] = mark
        return True

    async def forget_marks(self, ref: FunctionRef, *, start: int = 0) -> None:
        self._marks = {key: mark for key, mark in self._marks.items() if mark.ref != ref or mark.index < start}

    async def expire(self, *, now: float) -> int:
        gone: list[_Entry] = []
        kept: dict[NamespaceName, list[_Entry]] = {}
        for entry in self._entries.values():
            if entry.state in FINISHED:
                if entry.answer_until <= now:
                    entry.answer = b""
                if entry.finished_at + KEPT_FOR <= now:
                    gone.append(entry)
                else:
                    kept.setdefault(entry.call.ref.namespace, []).append(entry)
        for entries in kept.values():
            entries.sort(key=lambda entry: (entry.finished_at, entry.number))
            gone += entries[: max(0, len(entries) - self._bounds.finished)]
        self._forget(gone)
        return len(gone)

    def give_back(self) -> None:
        """What a queue of one host does when it is opened: whoever held a lease has ended."""
        for entry in self._entries.values():
            if entry.state is CallState.RUNNING:
                entry.wake = entry.due

    def _get(self, namespace: NamespaceName | None, call: str) -> _Entry:
        entry = self._entries.get(call)
        if entry is None or namespace not in (None, entry.call.ref.namespace):
            raise not_found(namespace, call)
        return entry

    def _of(self, ref: FunctionRef) -> Iterable[_Entry]:
        return (entry for entry in self._entries.values() if entry.call.ref == ref)

    def _with_key(self, call: QueuedCall, fresh: Iterable[_Entry]) -> _Entry | None:
        if not call.key:
            return None
        for entry in (*self._entries.values(), *fresh):
            if entry.call.key == call.key and entry.call.ref.namespace == call.ref.namespace:
                return entry
        return None

    def _dead(self, namespace: NamespaceName, calls: Sequence[str], function: str) -> list[_Entry]:
        return [
            entry
            for entry in self._entries.values()
            if entry.state is CallState.DEAD
            and entry.call.ref.namespace == namespace
            and function in ("", entry.call.ref.name)
            and (not calls or entry.call.id in calls)
        ]

    def _check_room(self, bounds: QueueBounds, ref: FunctionRef, fresh: Sequence[_Entry]) -> None:
        here = [entry for entry in (*self._entries.values(), *fresh) if entry.call.ref.namespace == ref.namespace]
        mine = [entry for entry in here if entry.call.ref == ref]
        check_bounds(bounds, ref, function=_load(mine), namespace=_load(here))

    def _forget(self, entries: Iterable[_Entry]) -> None:
        for entry in entries:
            del self._entries[entry.call.id]
            self._forgotten[entry.call.ref] = self._forgotten.get(entry.call.ref, 0) + 1


def _load(entries: Sequence[_Entry]) -> tuple[int, int]:
    return sum(entry.state not in FINISHED for entry in entries), sum(map(_kept, entries))


def _kept(entry: _Entry) -> int:
    """Bytes."""
    return len(entry.answer) + (0 if entry.state in FINISHED else entry.size)


def _holds(entry: _Entry, epoch: int) -> bool:
    return entry.state is CallState.RUNNING and entry.epoch == epoch


def _cancel(entry: _Entry, now: float, reason: str) -> None:
    entry.state = CallState.CANCELLED
    entry.finished_at = now
    entry.reason = reason
    _drop_body(entry)


def _drop_body(entry: _Entry) -> None:
    entry.call = msgspec.structs.replace(entry.call, body=b"")


def _record(entry: _Entry, *, now: float) -> CallRecord:
    shown = entry.state is CallState.DEAD or entry.answer_until > now
    return CallRecord(
        number=entry.number,
        id=entry.call.id,
        ref=entry.call.ref,
        state=entry.state,
        put_at=entry.put_at,
        due=entry.due,
        attempts=entry.attempts,
        size=entry.size,
        finished_at=entry.finished_at,
        reason=entry.reason,
        answer=entry.answer if shown else b"",
        by=entry.call.by,
    )
