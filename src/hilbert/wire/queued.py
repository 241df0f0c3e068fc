"""Queued calls as the REST API shows them, and dead letters as it takes them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:  # The command line imports this, and would import all ports.
    from hilbert.core.ports.queue import CallRecord


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True):
    """Which dead letters are meant."""

    namespace: str = ""
    calls: tuple[str, ...] = ()
    """Call ids; others are passed over."""
    all: bool = False
    """Every one, where no ids are given."""
    function: str = ""
    """Only those of this function."""


class Done(msgspec.Struct, frozen=True):
    """What a change of several calls came to."""

    count: int


class QueueStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """The queue of one function."""

    function: str
    namespace: str
    pending: int
    """Calls that wait, for their time, their turn or their next attempt."""
    in_flight: int
    dead: int
    bytes: int
    """Of the requests that are kept: waiting, running and dead ones."""
    finished_per_minute: int
    """Calls that have ended in the last minute, as far as this gateway has made them."""
    oldest_at: datetime | None = None
    """When the call was queued that has waited longest."""


class BatchCall(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One call of several that are queued at once."""

    function: str
    method: str = "POST"
    path: str = "/"
    """Below the function, with its query."""
    headers: Mapping[str, str] = {}
    """Also `X-Callback-Url`, `X-Delay`, `X-Run-At` and `Idempotency-Key`, which mean what they do with one call."""
    body: str = ""
    """As text."""
    body_base64: str = ""
    """As bytes; instead of `body`."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Calls to queue, all or none."""

    namespace: str = ""
    calls: tuple[BatchCall, ...]


class QueuedIds(msgspec.Struct, frozen=True, rename="camel"):
    """Calls that were queued, in the order in which they were asked for."""

    call_ids: tuple[str, ...]


class QueuedCallStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What became of a queued call so far."""

    number: int
    """Grows with each call that is queued; where a listing goes on."""
    call_id: str
    function: str
    namespace: str
    state: str
    """`queued`, `delayed`, `running`, `succeeded`, `failed`, `cancelled` or `dead`."""
    attempts: int
    """Attempts that were begun."""
    queued_at: datetime
    next_attempt_at: datetime | None = None
    """While it waits."""
    finished_at: datetime | None = None
    reason: str = ""
    """One sentence on the last attempt, or on its end."""
    queued_by: str = ""
    """Whoever queued it, where that had to be proved."""
    has_result: bool = False
    """Whether its answer can be had at `/async-function/CALL-ID/result`."""


def status_of(record: CallRecord, *, now: float) -> QueuedCallStatus:
    waits = record.state == "queued"
    return QueuedCallStatus(
        number=record.number,
        call_id=record.id,
        function=record.ref.name,
        namespace=record.ref.namespace,
        state="delayed" if waits and record.due > now else record.state.value,
        attempts=record.attempts,
        queued_at=_moment(record.put_at),
        next_attempt_at=_moment(record.due) if waits else None,
        finished_at=_moment(record.finished_at) if record.finished_at else None,
        reason=record.reason,
        queued_by=record.by,
        has_result=bool(record.answer),
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
