"""Puts the audit log together: on this machine a chain of files, elsewhere lines on standard error."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from hilbert.audit.auditor import Auditor
from hilbert.audit.log import AuditLog
from hilbert.audit.ports import Sink, Source
from hilbert.audit.record import Actor, Decision, Record, clean, moment, new_id
from hilbert.audit.stream import StreamSink
from hilbert.audit.webhook import Held, LogFollower, Telling, Webhook, http_post, secret_of
from hilbert.core.errors import InvalidSettings
from hilbert.core.identity import Action
from hilbert.core.settings import Settings
from hilbert.dataplane.feed.messages import Refusal, TurnedAway
from hilbert.dataplane.feed.publisher import Feed
from hilbert.kit.aio import cancel, spawn

FOLDER = "audit"


class Auditing(msgspec.Struct, frozen=True):
    """What the rest needs of it."""

    auditor: Auditor
    source: Source | None
    """None: it cannot be read here."""


@contextlib.asynccontextmanager
async def running_audit(settings: Settings) -> AsyncIterator[Auditing]:
    """Raises `HilbertError` when the log cannot be opened: without it, nothing may be changed."""
    webhook = _webhook(settings)
    async with contextlib.AsyncExitStack() as stack:
        sink: Sink
        log: AuditLog | None = None
        if settings.provider.name == "host":
            audit = settings.audit
            log = sink = AuditLog(
                Path(settings.paths.state_dir) / FOLDER, max_bytes=audit.max_size.units, max_age=audit.max_age.seconds
            )
            await log.start()
            stack.push_async_callback(log.stop)
            if webhook is not None:
                stack.push_async_callback(cancel, spawn(LogFollower(log, webhook).run(), name="audit webhook"))
        else:
            sink = StreamSink()
            if webhook is not None:
                held = Held("api_access", webhook)
                stack.push_async_callback(cancel, spawn(held.run(), name="audit webhook"))
                sink = Telling(sink, held)
        auditor = Auditor(sink)
        stack.push_async_callback(auditor.flush)
        stack.push_async_callback(cancel, spawn(auditor.keep_counting(), name="audit counts"))
        yield Auditing(auditor, log)


def _webhook(settings: Settings) -> Webhook | None:
    """Raises `InvalidSettings`."""
    audit = settings.audit
    if not audit.webhook_url:
        return None
    try:
        secret = secret_of(audit.webhook_secret_file)
    except OSError as exc:
        raise InvalidSettings(f"audit.webhook_secret_file: cannot read {exc.filename}: {exc.strerror}") from exc
    return Webhook(http_post(audit.webhook_url), secret)


async def told_of_refused_calls(feed: Feed, auditor: Auditor) -> None:
    """Write down which calls of functions workers refuse because of who makes them. For ever."""
    waiting: asyncio.Queue[TurnedAway] = asyncio.Queue()
    feed.on_turned_away = waiting.put_nowait
    while True:
        told = await waiting.get()
        for place, one in enumerate(told.calls):
            is_last = place == len(told.calls) - 1
            await auditor.end(record_of(one, suppressed=told.more if is_last else 0))


def record_of(refusal: Refusal, *, suppressed: int) -> Record:
    return Record(
        id=new_id(),
        time=moment(refusal.at),
        actor=Actor(sub=clean(refusal.who, 1300)) if refusal.who else Actor(),
        token_id=refusal.who.removeprefix("token:") if refusal.who.startswith("token:") else "",
        source_ip=clean(refusal.source),
        request_id=clean(refusal.call_id),
        method=clean(refusal.method, 16),
        path=f"/function/{refusal.name}.{refusal.namespace}",
        actions=(Action.FUNCTION_INVOKE.value,),
        namespace=refusal.namespace,
        resource=f"{refusal.namespace}:{refusal.name}",
        name=refusal.name,
        decision=Decision.REFUSED if refusal.status == 403 else Decision.UNAUTHENTICATED,
        response_code=refusal.status,
        error="forbidden" if refusal.status == 403 else "unauthenticated",
        custom_message=clean(refusal.reason, 512),
        suppressed=suppressed,
    )
