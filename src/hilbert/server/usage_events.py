"""From what workers report of each call to the webhook that is told of it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import structlog

from hilbert.audit.spool import Spool
from hilbert.audit.usage_events import Events, HeldEvents, SpooledEvents, event_of
from hilbert.audit.webhook import Held, Webhook, http_post, secret_of
from hilbert.control.usage import Ledger
from hilbert.core.errors import InvalidSettings
from hilbert.core.settings import Settings
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.dataplane.feed.messages import Used
from hilbert.dataplane.feed.publisher import Feed
from hilbert.kit.aio import cancel, spawn

_log = structlog.get_logger("hilbert.usage")

FOLDER: Final = "usage-events"


class Collector:
    """Keeps what workers report, and tells each worker when it is kept."""

    def __init__(
        self,
        events: Events,
        *,
        memory_of: Callable[[FunctionRef], int],
        kept: Callable[[str, int], None],
        excluded: frozenset[str] = frozenset(),
        again: float = 1.0,
    ) -> None:
        """`again` is in seconds: what could not be kept is tried again after it. `kept(worker, number)`: that worker need not keep its message any more."""
        self._events = events
        self._memory_of = memory_of
        self._kept = kept
        self._excluded = excluded
        self._again = again
        self._reported: asyncio.Queue[tuple[str, Used]] = asyncio.Queue()
        self._numbers: dict[str, int] = {}

    def take(self, worker: str, used: Used) -> None:
        """A worker, known by its incarnation, reports. It sends again what it does not know to be kept."""
        self._reported.put_nowait((worker, used))

    async def run(self) -> None:
        """For ever."""
        while True:
            worker, used = await self._reported.get()
            if used.number > self._numbers.get(worker, 0):
                await self._keep(worker, used)
                self._numbers[worker] = used.number
            self._kept(worker, used.number)

    async def _keep(self, worker: str, used: Used) -> None:
        events = [
            event_of(
                namespace=one.namespace,
                name=one.name,
                started_ns=one.started_ns,
                seconds=one.seconds,
                memory=self._memory_of(FunctionRef(NamespaceName(one.namespace), FunctionName(one.name))),
                number=f"{worker}-{used.number}-{place}",
                status=one.status,
                received=one.received,
                sent=one.sent,
                is_queued=one.is_queued,
            )
            for place, one in enumerate(used.calls)
            if one.namespace not in self._excluded
        ]
        if used.lost:
            _log.error("a worker had no room for what calls have used", calls=used.lost)
        while True:
            try:
                await self._events.put(events, lost=used.lost)
            except OSError as exc:
                _log.error("what calls have used could not be saved; trying again", reason=str(exc))
                await asyncio.sleep(self._again)
            else:
                return


@contextlib.asynccontextmanager
async def telling_usage(settings: Settings, feed: Feed, ledger: Ledger | None) -> AsyncIterator[None]:
    """`ledger` knows the memory limits of functions. Raises `InvalidSettings`."""
    usage = settings.usage
    if not usage.webhook_url:
        yield
        return
    try:
        webhook = Webhook(http_post(usage.webhook_url), secret_of(usage.webhook_secret_file))
    except OSError as exc:
        raise InvalidSettings(f"usage.webhook_secret_file: cannot read {exc.filename}: {exc.strerror}") from exc
    async with contextlib.AsyncExitStack() as stack:
        events: Events
        if settings.provider.name == "host":
            spool = Spool(Path(settings.paths.state_dir) / FOLDER, most=usage.max_waiting.units)
            try:
                await asyncio.to_thread(spool.open)
            except OSError as exc:
                raise InvalidSettings(f"{Path(settings.paths.state_dir) / FOLDER} cannot be used: {exc}") from exc
            events = spooled = SpooledEvents(spool, webhook)
            stack.push_async_callback(cancel, spawn(spooled.run(), name="usage webhook"))
        else:
            held = Held("function_usage", webhook)
            stack.push_async_callback(cancel, spawn(held.run(), name="usage webhook"))
            events = HeldEvents(held.put)
        default = int(settings.default_limits.memory.units)
        memory_of = ledger.memory_of if ledger is not None else lambda _ref: default
        excluded = frozenset(name.strip() for name in usage.excluded_namespaces.split(",") if name.strip())
        collector = Collector(events, memory_of=memory_of, kept=feed.tell_used_kept, excluded=excluded)
        feed.on_used = collector.take
        stack.push_async_callback(cancel, spawn(collector.run(), name="usage of calls"))
        yield
