"""Tells an address what each call has used, as OpenFaaS does it for billing (`function_usage`; facts D6)."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec
import structlog

from hilbert.audit.record import encode, moment
from hilbert.audit.spool import Spool
from hilbert.audit.webhook import BATCH, PACE, Webhook
from hilbert.kit.pace import Pace

_log = structlog.get_logger("hilbert.audit")


class UsageEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One call that has ended. The first six fields are OpenFaaS's."""

    event: str = "function_usage"
    namespace: str
    function_name: str
    started: str
    """RFC 3339."""
    duration: int
    """Nanoseconds, from the call's arrival to the end of its answer."""
    memory_bytes: int
    """The function's limit."""
    id: str
    """Of the event: the same when it comes twice."""
    sequence: int
    """Of this gateway, from 1 on. A number that never comes was lost."""
    status: int
    bytes_in: int
    bytes_out: int
    is_queued: bool
    """The call was queued before."""


class Events(Protocol):
    """Where events wait for whoever tells them."""

    async def put(self, events: Sequence[UsageEvent], *, lost: int) -> None:
        """Keep events; `lost` came before them and are gone. Their `sequence` is given here. Raises `OSError`."""
        ...


class SpooledEvents:
    """On the disk."""

    def __init__(self, spool: Spool, webhook: Webhook, *, pace: Pace = PACE) -> None:
        self._spool = spool
        self._webhook = webhook
        self._pace = pace
        self._lock = asyncio.Lock()
        self._grown = asyncio.Event()

    async def put(self, events: Sequence[UsageEvent], *, lost: int) -> None:
        async with self._lock:
            await asyncio.to_thread(self._append, events, lost)
        self._grown.set()

    def _append(self, events: Sequence[UsageEvent], lost: int) -> None:
        first = self._spool.next + lost
        lines = [encode(msgspec.structs.replace(event, sequence=first + place)) for place, event in enumerate(events)]
        self._spool.append(lines, lost=lost)

    async def run(self) -> None:
        """For ever: send what is there, in order, until it is taken."""
        failures = 0
        while True:
            self._grown.clear()
            try:
                async with self._lock:
                    batch = await asyncio.to_thread(self._spool.peek, BATCH)
                if batch is None:
                    await self._grown.wait()
                    continue
                reason = await self._webhook.send("function_usage", b"[" + b",".join(batch.lines) + b"]")
                if not reason:
                    failures = 0
                    async with self._lock:
                        await asyncio.to_thread(self._spool.read, batch.after)
                    continue
            except OSError as exc:
                reason = f"the disk: {exc.strerror or exc}"
            failures += 1
            if failures in (1, 5) or failures % 50 == 0:
                _log.warning("the usage webhook did not accept the events; trying again", reason=reason, tries=failures)
            await asyncio.sleep(self._pace.delay(failures, draw=random.random))


class HeldEvents:
    """In memory, where there is no disk."""

    def __init__(self, put: Any) -> None:
        """`put` is `Held.put`."""
        self._put = put
        self._next = 1

    async def put(self, events: Sequence[UsageEvent], *, lost: int) -> None:
        self._next += lost
        for event in events:
            self._put(msgspec.structs.replace(event, sequence=self._next))
            self._next += 1


NANOSECONDS: Final = 1_000_000_000


def event_of(
    *,
    namespace: str,
    name: str,
    started_ns: int,
    seconds: float,
    memory: int,
    number: str,
    status: int,
    received: int,
    sent: int,
    is_queued: bool,
) -> UsageEvent:
    return UsageEvent(
        namespace=namespace,
        function_name=name,
        started=moment(started_ns / NANOSECONDS),
        duration=int(seconds * NANOSECONDS),
        memory_bytes=memory,
        id=number,
        sequence=0,
        status=status,
        bytes_in=received,
        bytes_out=sent,
        is_queued=is_queued,
    )
