"""The call that a tick queues: what cron-connector sends, with the time that it is for."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Final

from hilbert.control.delivery.request import QueuedRequest, new_id
from hilbert.control.schedules.rules import TOPIC, Schedule
from hilbert.core.ports.queue import QueuedCall
from hilbert.wire.headers import SCHEDULED_TIME

SCHEDULE: Final = "schedule"
"""Who queues the call of a tick."""


def call_of(schedule: Schedule, tick: float, *, now: float) -> QueuedCall:
    """With a key of the tick's own, which no client can send: a tick is accepted once, even if its mark is lost."""
    return QueuedCall(
        id=new_id(),
        ref=schedule.ref,
        due=_due(schedule, tick, now),
        body=_request(schedule, tick).dump(),
        key=f"\x1f{TOPIC}/{schedule.ref.name}/{schedule.index}/{tick:.0f}",
        fingerprint=b"tick",
        by=SCHEDULE,
    )


def extra_call(schedule: Schedule, *, now: float, by: str) -> QueuedCall:
    """One that somebody asks for now."""
    return QueuedCall(id=new_id(), ref=schedule.ref, due=now, body=_request(schedule, now).dump(), by=by)


def _request(schedule: Schedule, moment: float) -> QueuedRequest:
    said = datetime.fromtimestamp(int(moment), UTC).isoformat().replace("+00:00", "Z")
    fields = [
        (b"X-Topic", TOPIC.encode()),
        (b"X-Connector", b"cron-connector"),
        (SCHEDULED_TIME.encode(), said.encode()),
    ]
    if schedule.content_type:
        fields.append((b"Content-Type", schedule.content_type.encode()))
    return QueuedRequest("POST", b"/", tuple(fields), schedule.body)


def _due(schedule: Schedule, tick: float, now: float) -> float:
    """With the jitter: the same for whoever asks, and another for each tick."""
    if not schedule.jitter:
        return now
    digest = hashlib.sha256(f"{schedule.ref} {schedule.index} {tick}".encode()).digest()
    return max(now, tick + schedule.jitter * int.from_bytes(digest[:4]) / 2**32)
