"""What the REST API calls: writes records down, and counts refusals that are too many to write down each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from hilbert.audit.ports import Sink
from hilbert.audit.record import Actor, Decision, Record, clean, moment, new_id
from hilbert.audit.thinning import Thinning
from hilbert.core.errors import HilbertError

_log = structlog.get_logger("hilbert.audit")

COUNTED_EVERY: Final = 60.0
"""Seconds after which what was only counted is written down as a number."""


class Auditor:
    """One gateway's."""

    def __init__(self, sink: Sink, *, now: Callable[[], float] = time.monotonic) -> None:
        self._sink = sink
        self._now = now
        self._thinning = Thinning()
        self.failed = 0
        """Records of what was already done or refused that could not be written."""

    async def begin(self, record: Record) -> None:
        """Write down that a change is about to be made. Raises `HilbertError`: then it must not be."""
        await self._sink.append(record)

    async def end(self, record: Record) -> None:
        """Write down what has come of a request. Never fails: what was done or refused cannot be undone."""
        if record.is_refusal:
            stranger = not record.actor.sub
            who = f"source {record.source_ip}" if stranger else record.actor.sub
            counted = self._thinning.admit(who, self._now(), stranger=stranger)
            if counted is None:
                return
            if counted:
                record = msgspec.structs.replace(record, suppressed=record.suppressed + counted)
        await self._append(record)

    async def keep_counting(self) -> None:
        """Write down numbers of refusals again and again, until cancelled."""
        while True:
            await asyncio.sleep(COUNTED_EVERY)
            await self.flush()

    async def flush(self) -> None:
        for who, count in self._thinning.drain():
            source = who.removeprefix("source ") if who.startswith("source ") else ""
            await self._append(
                Record(
                    id=new_id(),
                    time=moment(time.time()),
                    actor=Actor() if source else Actor(sub=clean(who)),
                    source_ip=source,
                    decision=Decision.UNAUTHENTICATED if source or not who else Decision.REFUSED,
                    suppressed=count,
                    custom_message="refusals that were counted only, since there were too many",
                )
            )

    async def _append(self, record: Record) -> None:
        try:
            await self._sink.append(record)
        except HilbertError as exc:
            self.failed += 1
            _log.error("an audit record is lost", reason=exc.message, detail=exc.detail, id=record.id)
