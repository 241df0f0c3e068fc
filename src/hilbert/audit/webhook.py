"""Tells an address of the administrator's choice of what happens, in OpenFaaS's format for events.

A body is a JSON array of events. `X-Openfaas-Signature-256` has the HMAC of the body, if there is a secret. What was not
taken with a 2xx status is sent again, in order, at a growing distance, so an event can come twice: its `id` says which.
"""

from __future__ import annotations

import asyncio
import hmac
import random
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import structlog

import hilbert
from hilbert.audit.log import AuditLog
from hilbert.audit.ports import Sink, Wanted
from hilbert.audit.record import Record, Stage, encode
from hilbert.core.errors import HilbertError
from hilbert.kit.files import write_file
from hilbert.kit.pace import Pace

_log = structlog.get_logger("hilbert.audit")

Kind = Literal["api_access", "function_usage"]
BATCH: Final = 100
"""Events in one body."""
WITHIN: Final = 30.0
"""Seconds for one try."""
PACE: Final = Pace(first=1.0, most=60.0, jitter=0.3)
MOST_HELD: Final = 10_000
"""Events that wait in memory, where there is no disk to wait on."""
POSITION: Final = "told.json"

Post = Callable[[bytes, Mapping[str, str]], Awaitable[int]]
"""Sends a body with these headers; the status of the answer. Raises `OSError` when there is none."""


class Webhook:
    """Sends batches, one after another."""

    def __init__(self, post: Post, secret: bytes | None) -> None:
        self._post = post
        self._secret = secret

    async def tell(self, kind: Kind, events: Sequence[object]) -> str:
        """Send one batch. Returns why it was not taken; empty if it was."""
        return await self.send(kind, b"[" + b",".join(encode(event) for event in events) + b"]")

    async def send(self, kind: Kind, body: bytes) -> str:
        """As `tell`, of events that are JSON already."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"hilbert/{hilbert.__version__}",
            "X-Openfaas-Event": kind,
            "X-Openfaas-Delivery": str(uuid.uuid4()),
        }
        if self._secret:
            headers["X-Openfaas-Signature-256"] = f"sha256={hmac.new(self._secret, body, 'sha256').hexdigest()}"
        try:
            async with asyncio.timeout(WITHIN):
                status = await self._post(body, headers)
        except (OSError, TimeoutError) as exc:
            return str(exc) or "no answer in time"
        return "" if 200 <= status < 300 else f"it answered {status}"


def event_of(record: Record) -> dict[str, Any]:
    """A record as OpenFaaS's `api_access`: its fields are always there, ours where they say something."""
    fields: dict[str, Any] = msgspec.to_builtins(record)
    actor = {"sub": "", "name": "", "issuer": "", "fed_issuer": ""} | fields.get("actor", {})
    usual = {"namespace": "", "actions": [], "response_code": 0, "custom_message": ""}
    return {"event": "api_access"} | usual | fields | {"actor": actor}


class LogFollower:
    """Tells of everything in a log, from where it was when it was last told. Needs no memory: the log is the queue."""

    def __init__(self, log: AuditLog, webhook: Webhook, *, pace: Pace = PACE) -> None:
        self._log = log
        self._webhook = webhook
        self._pace = pace
        self._grown = asyncio.Event()
        log.on_grown.append(self._grown.set)
        self._path = log.folder / POSITION
        self.lost = 0
        """Lines that were removed, because of their age or the log's size, before they could be told."""

    async def run(self) -> None:
        """For ever."""
        told, failures = self._told(), 0
        while True:
            self._grown.clear()
            if told + 1 < self._log.kept_from:
                self.lost += self._log.kept_from - told - 1
                _log.error(
                    "audit records were removed before the webhook accepted them", lines=self._log.kept_from - told - 1
                )
                told = self._log.kept_from - 1
            try:
                page = await self._log.read(Wanted(limit=BATCH, after=told)) if told < self._log.seq else None
            except HilbertError as exc:
                _log.error("the audit log cannot be read for the webhook", reason=exc.message, detail=exc.detail)
                page = None
            if page is None:
                await self._pause()
                continue
            events = [event_of(record) for _, record in page.lines if record.stage is Stage.DONE]
            reason = await self._webhook.tell("api_access", events) if events else ""
            if reason:
                failures += 1
                if failures in (1, 5) or failures % 50 == 0:
                    _log.warning(
                        "the audit webhook did not accept the records; trying again", reason=reason, tries=failures
                    )
                await asyncio.sleep(self._pace.delay(failures, draw=random.random))
                continue
            failures, told = 0, page.next
            await asyncio.to_thread(self._keep, told)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(30):
                await self._grown.wait()
        except TimeoutError:
            return

    def _told(self) -> int:
        """Number of the last line that was told. At the very first start: what is in the log already is not told."""
        try:
            return int(msgspec.json.decode(self._path.read_bytes(), type=int))
        except FileNotFoundError:
            self._keep(self._log.seq)
            return self._log.seq
        except (OSError, msgspec.MsgspecError) as exc:
            _log.warning(
                "what the webhook has received is unknown; everything that is kept is sent again", reason=str(exc)
            )
            return self._log.kept_from - 1

    def _keep(self, told: int) -> None:
        try:
            write_file(self._path, msgspec.json.encode(told))
        except OSError as exc:
            _log.warning("what the webhook has received cannot be noted; some of it may be sent again", reason=str(exc))


class Held:
    """Events that wait in memory for the webhook; the oldest go when there are too many, which the log says."""

    def __init__(self, kind: Kind, webhook: Webhook, *, most: int = MOST_HELD, pace: Pace = PACE) -> None:
        self._kind: Kind = kind
        self._webhook = webhook
        self._most = most
        self._pace = pace
        self._events: deque[object] = deque()
        self._arrived = asyncio.Event()
        self.lost = 0

    def put(self, event: object) -> None:
        self._events.append(event)
        if len(self._events) > self._most:
            self._events.popleft()
            self.lost += 1
            if self.lost == 1 or self.lost % 1000 == 0:
                _log.error("events were lost because the webhook did not accept them", kind=self._kind, lost=self.lost)
        self._arrived.set()

    async def run(self) -> None:
        """For ever."""
        failures = 0
        while True:
            await self._arrived.wait()
            batch = list(self._events)[:BATCH]
            lost = self.lost
            reason = await self._webhook.tell(self._kind, batch)
            if reason:
                failures += 1
                _log.warning(
                    "the webhook did not accept the events; trying again",
                    kind=self._kind,
                    reason=reason,
                    tries=failures,
                )
                await asyncio.sleep(self._pace.delay(failures, draw=random.random))
                continue
            failures = 0
            for _ in range(len(batch) - (self.lost - lost)):
                self._events.popleft()
            if not self._events:
                self._arrived.clear()


class Telling:
    """A sink that also tells the webhook, where no log does."""

    def __init__(self, sink: Sink, held: Held) -> None:
        self._sink = sink
        self._held = held

    async def append(self, record: Record) -> None:
        await self._sink.append(record)
        if record.stage is Stage.DONE:
            self._held.put(event_of(record))


def http_post(url: str) -> Post:
    """Posts to this address over HTTP. Redirects are not followed."""
    import httpx2

    client = httpx2.AsyncClient(timeout=WITHIN, follow_redirects=False, trust_env=False)

    async def post(body: bytes, headers: Mapping[str, str]) -> int:
        try:
            async with client.stream("POST", url, content=body, headers=dict(headers)) as answer:
                return int(answer.status_code)
        except httpx2.HTTPError as exc:
            raise OSError(f"cannot be reached: {exc}") from exc

    return post


def secret_of(path: str) -> bytes | None:
    """The secret in a file, without the white space around it; None for no path. Raises `OSError`."""
    return Path(path).read_bytes().strip() if path else None
