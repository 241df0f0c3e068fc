"""Where queued calls come in: from a request of a client to an entry in the queue."""

from __future__ import annotations

import hashlib
import itertools
import re
import secrets
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from hilbert.control.delivery.callbacks import Target
from hilbert.control.delivery.request import DEPTH_FIELD, MOST_DEPTH, Fields, QueuedRequest, new_id
from hilbert.control.delivery.room import Rates, Rooms
from hilbert.core.errors import Invalid, KeyReused
from hilbert.core.ports import Marks, Queue, QueueRecords
from hilbert.core.ports.queue import Bounds, CallRecord, QueuedCall
from hilbert.core.values import Duration, FunctionRef, NamespaceName, whole_or
from hilbert.kit.http1.forward import HOP_FIELDS, passing

MOST_DELAY: Final = 30 * 86_400.0
"""Seconds that a call may be put off."""
_UNGUESSABLE: Final = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")
"""A UUID: 122 random bits in its fourth version, which clients of OpenFaaS make."""
LONGEST_KEY: Final = 255
_PROCESS: Final = secrets.token_bytes(16)
_REQUESTS: Final = itertools.count()
_OURS: Final = HOP_FIELDS | {
    b"host",
    b"content-length",
    b"expect",
    b"x-call-id",
    b"x-start-time",
    b"x-callback-url",
    b"x-delay",
    b"x-run-at",
    b"idempotency-key",
    b"x-openfaas-internal",
    b"x-hilbert-delivery",
    DEPTH_FIELD.lower(),
}
"""About the queueing, or for the gateway to say; all others go to the function."""


Asked = tuple[FunctionRef, str, bytes, Fields, bytes]
"""A request: function, method, path and query below it, headers, body."""


class FullQueue(Queue, QueueRecords, Marks, Protocol):
    """A queue with what is kept of its calls, and of schedules."""


class Intake:
    """Accepts calls, and answers what becomes of them."""

    def __init__(
        self,
        queue: FullQueue,
        *,
        rooms: Rooms,
        accepted: Callable[[float], None] = lambda _: None,
        cancelled: Callable[[str], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`rooms` knows the functions that are there.

        `accepted` tells whoever delivers that there is a call, and when it is due; `cancelled` that one is over.
        """
        self.queue = queue
        self.rooms = rooms
        self._rates = Rates()
        self._accepted = accepted
        self._cancelled = cancelled
        self._wall = wall
        self.submitted = 0
        """Calls accepted since the process began."""

    async def accept(
        self,
        ref: FunctionRef,
        method: str,
        target: bytes,
        fields: Fields,
        body: bytes,
        *,
        annotations: tuple[Mapping[str, str], Mapping[str, str]],
        by: str = "",
        is_vouched: bool = False,
    ) -> str:
        """Queue a request for a function; the call's id, once the call cannot be lost any more.

        `annotations` are the function's, which is there, and its namespace's. `by` is whoever asks, if that was proved;
        `is_vouched`: it may call the call-back's function, too. Raises `Invalid` for headers without a meaning,
        `KeyReused`, `QueueFull`, `RateLimited`, `StorageFull` and `BackendUnavailable`.
        """
        call = self._prepare(ref, method, target, fields, body, by, is_vouched=is_vouched)
        room = self.rooms.room(*annotations)
        now = self._wall()
        self._rates.take(ref, room, 1, now)
        (accepted,) = await self._put(call, now, {ref: room.bounds})
        self.submitted += 1
        self._accepted(call.due)
        return accepted

    async def accept_all(self, requests: Sequence[Asked], *, by: str) -> Sequence[str]:
        """Queue several requests, all or none; their calls' ids, in order. Raises as `accept`, and `FunctionNotFound`.

        `by` may call every function of the namespaces that they are in.
        """
        calls = [self._prepare(*request, by, is_vouched=True) for request in requests]
        counts = Counter(call.ref for call in calls)
        rooms = {ref: await self.rooms.of(ref) for ref in counts}
        now = self._wall()
        for ref, count in counts.items():
            self._rates.take(ref, rooms[ref], count, now)
        accepted = await self.queue.put(calls, now=now, bounds={ref: room.bounds for ref, room in rooms.items()})
        self.submitted += len(accepted)
        self._accepted(min(call.due for call in calls))
        return accepted

    def _prepare(
        self, ref: FunctionRef, method: str, target: bytes, fields: Fields, body: bytes, by: str, *, is_vouched: bool
    ) -> QueuedCall:
        said = {name.lower(): value.decode("latin-1").strip() for name, value in fields}
        callback = said.get(b"x-callback-url", "")
        if callback:
            Target(callback)
        depth = whole_or(said.get(DEPTH_FIELD.lower()), 0, most=1000)
        if depth >= MOST_DEPTH:
            raise Invalid(
                f"more than {MOST_DEPTH} queued calls have led to one another",
                hint="a function seems to queue calls to itself endlessly",
            )
        now = self._wall()
        due = _due(said, now)
        key = said.get(b"idempotency-key", "")
        if len(key) > LONGEST_KEY or not (key.isascii() and key.isprintable()):
            raise Invalid(f"Idempotency-Key: must be at most {LONGEST_KEY} printable ASCII characters")
        passed = tuple(passing(list(fields), _OURS))
        request = QueuedRequest(method, target, passed, body, callback, depth, is_vouched)
        # Without a key each request is a call of its own, whatever id it came with.
        fingerprint = _fingerprint(ref, request) if key else b"%b %d" % (_PROCESS, next(_REQUESTS))
        return QueuedCall(
            id=_id_of(said.get(b"x-call-id", "")),
            ref=ref,
            due=due,
            body=request.dump(),
            key=key,
            fingerprint=fingerprint,
            by=by,
        )

    async def _put(self, call: QueuedCall, now: float, bounds: Bounds) -> Sequence[str]:
        try:
            return await self.queue.put([call], now=now, bounds=bounds)
        except KeyReused:
            if call.key:
                raise
        # The client's own id was used before, here or by somebody who must not be learnt of: it gets a new one.
        fresh = msgspec.structs.replace(call, id=new_id())
        return await self.queue.put([fresh], now=now, bounds=bounds)

    def announce(self) -> None:
        """There is something new to deliver."""
        self._accepted(self._wall())

    async def cancel(self, call: str) -> CallRecord:
        """End a call, by the id that whoever queued it was given. Raises `CallNotFound`."""
        now = self._wall()
        found = await self.queue.look_up(None, call, now=now)
        record = await self.queue.cancel(found.ref.namespace, call, now=now, reason="cancelled by a client")
        self._cancelled(call)
        return record

    async def look_up(self, call: str) -> CallRecord:
        """Raises `CallNotFound`."""
        return await self.queue.look_up(None, call, now=self._wall())

    async def function_removed(self, ref: FunctionRef) -> None:
        """Cancel what waits for a function that is no longer there."""
        await self.queue.cancel_function(ref, reason="the function was removed", now=self._wall())

    async def namespace_removed(self, namespace: NamespaceName) -> None:
        """Forget all calls of a namespace that is no longer there."""
        await self.queue.forget_namespace(namespace)

    async def catch_up(self, namespaces: Callable[[], Awaitable[Sequence[NamespaceName]]]) -> None:
        """Forget calls of namespaces that were removed while nobody listened. `namespaces` asks which there are."""
        # In this order: a namespace that another gateway has just made must not lose its first calls.
        queued = {counts.ref.namespace for counts in await self.queue.counts()}
        for namespace in queued - set(await namespaces()):
            await self.queue.forget_namespace(namespace)


def _id_of(said: str) -> str:
    """The client's id if nobody could guess it, else one of ours: whoever has a queued call's id may cancel the call."""
    return said if _UNGUESSABLE.fullmatch(said) else new_id()


def _due(said: dict[bytes, str], now: float) -> float:
    """When the call is to be made, by `X-Delay` (a duration) or `X-Run-At` (RFC 3339)."""
    delay, moment = said.get(b"x-delay", ""), said.get(b"x-run-at", "")
    if delay and moment:
        raise Invalid("X-Delay and X-Run-At: give one of them, not both")
    due = now
    if delay:
        try:
            due = now + Duration.parse(delay, bare_seconds=True).seconds
        except Invalid as exc:
            raise Invalid(f"X-Delay: {exc.message}") from exc
    elif moment:
        try:
            date = datetime.fromisoformat(moment)
        except ValueError as exc:
            raise Invalid("X-Run-At: must be a time like 2030-01-31T12:00:00Z") from exc
        due = max(now, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    if due > now + MOST_DELAY:
        raise Invalid(f"a call can be put off by at most {MOST_DELAY / 86_400:.0f} days")
    return due


def _fingerprint(ref: FunctionRef, request: QueuedRequest) -> bytes:
    """What a repeated request has in common with the first: some headers differ each time."""
    total = hashlib.sha256()
    for part in (str(ref).encode(), request.method.encode(), request.target, request.body):
        total.update(b"%d " % len(part) + part)
    return total.digest()
