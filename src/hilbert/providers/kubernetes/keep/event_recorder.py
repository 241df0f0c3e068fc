"""Event objects on Functions, as `kubectl describe` and `kubectl get events` show them.

They are counted as Kubernetes's own components count theirs: the same once more raises the count of what is there, and many
that differ in their words alone become one. Each function has few at a time, and so have all together: a function that is
scaled to and fro costs the API server little. Nothing waits for an event, and one that cannot be written is left out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import structlog

from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.kit.bucket import Bucket
from hilbert.providers.kubernetes.cluster import kinds
from hilbert.providers.kubernetes.cluster.api import Api
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable
from hilbert.providers.kubernetes.cluster.objects import FunctionObject, Manifest
from hilbert.providers.kubernetes.view.state import State

_log = structlog.get_logger("hilbert.kubernetes")

_COMPONENT: Final = "hilbert"
_KEPT: Final = 3600.0
"""Seconds for which the API server keeps an event; a later one is a new one."""
_SIMILAR: Final = 10
_SIMILAR_WITHIN: Final = 600.0
"""So many of one reason within these seconds are told one by one; those beyond become one event."""
_BURST: Final = 20.0
_EACH: Final = 1 / 30
"""Events that one function may have together, and a second after that."""
_BURST_OF_ALL: Final = 100.0
_ALL: Final = 5.0
"""The same of all functions: requests to the API server."""
_MOST_WAITING: Final = 256
"""Events that wait to be written; those beyond are left out."""
_MOST_FUNCTIONS: Final = 2048
"""Functions of which it is known what was told."""
_LONGEST: Final = 1000
"""Of a message; the API server takes 1024 bytes."""
_LEFT_ALONE: Final = 600.0
"""Seconds for which a namespace is left alone where the right is missing."""


class _Known(msgspec.Struct):
    """An event that was written."""

    name: str
    count: int
    at: float


class _Told:
    """What was told of one function."""

    def __init__(self, now: float) -> None:
        self.bucket = Bucket(_BURST, _EACH, now)
        self.events: dict[tuple[str, str], _Known] = {}
        """By reason and message; an empty message: those that became one."""
        self.similar: dict[str, deque[tuple[float, str]]] = {}
        """By reason: when which message was told."""


class _Event(msgspec.Struct, frozen=True):
    ref: FunctionRef
    reason: str
    message: str
    warning: bool


class EventRecorder:
    """Writes events about functions. `stop` leaves out what was not written by then."""

    def __init__(self, api: Api, state: State, *, identity: str, clock: Clock) -> None:
        self._api = api
        self._state = state
        self._identity = identity
        self._clock = clock
        self._told: OrderedDict[str, _Told] = OrderedDict()
        """By the function's UID, the least recent first."""
        self._bucket = Bucket(_BURST_OF_ALL, _ALL, clock.now())
        self._waiting: deque[_Event] = deque()
        self._refused: dict[str, float] = {}
        """Namespaces where the right is missing, and since when."""
        self._serial = 0
        self._task: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        self._waiting.clear()
        await cancel(self._task)
        self._task = None

    def record(self, ref: FunctionRef, reason: str, message: str, *, warning: bool = False) -> None:
        """`reason` is a word in CamelCase, `message` a sentence. Returns at once and never fails."""
        now = self._clock.now()
        since = self._refused.get(ref.namespace)
        if since is not None and now - since < _LEFT_ALONE:
            return
        function = self._state.function((ref.namespace, ref.name))
        if function is None or len(self._waiting) >= _MOST_WAITING:
            return
        if not self._of(function, now).bucket.take(now) or not self._bucket.take(now):
            return
        self._waiting.append(_Event(ref, reason, message.encode()[:_LONGEST].decode(errors="ignore"), warning))
        if self._task is None or self._task.done():
            self._task = spawn(self._write_all(), name="events")

    def _of(self, function: FunctionObject, now: float) -> _Told:
        uid = function.metadata.uid
        told = self._told.get(uid)
        if told is None:
            told = self._told[uid] = _Told(now)
        self._told.move_to_end(uid)
        while len(self._told) > _MOST_FUNCTIONS:
            self._told.popitem(last=False)
        return told

    async def _write_all(self) -> None:
        while self._waiting:
            event = self._waiting.popleft()
            try:
                await self._write(event)
            except Refused as exc:
                if exc.code == 403:
                    self._refused = {
                        name: at for name, at in self._refused.items() if self._clock.now() - at < _LEFT_ALONE
                    }
                    self._refused[event.ref.namespace] = self._clock.now()
                _log.info("an event was not written", function=str(event.ref), reason=str(exc))
            except Unreachable as exc:
                _log.info("an event was not written", function=str(event.ref), reason=str(exc))

    async def _write(self, event: _Event) -> None:
        function = self._state.function((event.ref.namespace, event.ref.name))
        if function is None:
            return
        now = self._clock.now()
        told = self._of(function, now)
        for key in [key for key, known in told.events.items() if now - known.at >= _KEPT]:
            del told.events[key]
        key, message = _summed(told, event, now)
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        known = told.events.get(key)
        if known is not None:
            change = {"count": known.count + 1, "lastTimestamp": stamp, "message": message}
            if await self._api.adjust(kinds.EVENTS, known.name, change, event.ref.namespace) is not None:
                known.count, known.at = known.count + 1, now
                return
        self._serial += 1
        name = f"{event.ref.name}.{int(datetime.now(UTC).timestamp() * 1e6):x}{self._serial % 4096:03x}"
        await self._api.create(kinds.EVENTS, self._manifest(function, event, name, message, stamp), event.ref.namespace)
        told.events[key] = _Known(name, 1, now)

    def _manifest(self, function: FunctionObject, event: _Event, name: str, message: str, stamp: str) -> Manifest:
        metadata = function.metadata
        about: dict[str, Any] = {
            "apiVersion": "openfaas.com/v1",
            "kind": "Function",
            "name": metadata.name,
            "namespace": metadata.namespace,
            "uid": metadata.uid,
        }
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": metadata.namespace},
            "involvedObject": about,
            "reason": event.reason,
            "message": message,
            "type": "Warning" if event.warning else "Normal",
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
            "source": {"component": _COMPONENT},
            "reportingComponent": _COMPONENT,
            "reportingInstance": self._identity,
        }


def _summed(told: _Told, event: _Event, now: float) -> tuple[tuple[str, str], str]:
    """Under which key it is counted, and in which words it is told."""
    similar = told.similar.setdefault(event.reason, deque())
    while similar and now - similar[0][0] >= _SIMILAR_WITHIN:
        similar.popleft()
    if all(message != event.message for _, message in similar):
        if len(similar) >= _SIMILAR:
            return (event.reason, ""), f"(combined from similar events): {event.message}"
        similar.append((now, event.message))
    return (event.reason, event.message), event.message
