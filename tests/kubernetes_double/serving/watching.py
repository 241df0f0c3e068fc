"""Watches: from a version or from the present state, with bookmarks, until their time is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import msgspec

from kubernetes_double.serving.listing import Match
from kubernetes_double.serving.options import ListOptions
from kubernetes_double.serving.status import Json, expired
from kubernetes_double.storage.store import Collection, Event, Item, Store

if TYPE_CHECKING:
    from kubernetes_double.chaos import Chaos

Dress = Callable[[Item], bytes]
"""Makes the object of an event."""

BOOKMARK_SECONDS = 60.0
_DEFAULT_SECONDS = 1800.0
_LATE = 100_000
"""Events that wait for a slow reader before its watch is ended."""


class Watch:
    """One stream of events."""

    def __init__(
        self,
        store: Store,
        collection: Collection,
        namespace: str,
        options: ListOptions,
        matches: Match | None,
        chaos: Chaos,
        *,
        dress: Dress,
        mark: Callable[[Json], bytes],
        scale: float = 1.0,
        resource_key: str = "",
    ) -> None:
        """`mark` makes the object of a bookmark from its metadata."""
        self._store = store
        self._collection = collection
        self._namespace = namespace
        self._options = options
        self._matches = matches
        self._chaos = chaos
        self._dress = dress
        self._mark = mark
        self._scale = scale
        self.resource_key = resource_key
        self._lines: deque[bytes] = deque()
        self._more = asyncio.Event()
        self._ended = False

    def end(self, *, error: Json | None = None) -> None:
        """End the stream, with an ERROR event first if one is given."""
        if error is not None:
            self.push(_line(b"ERROR", msgspec.json.encode(error)))
        self._ended = True
        self._more.set()

    def push(self, line: bytes) -> None:
        self._lines.append(line)
        if len(self._lines) > _LATE:
            self._ended = True
        self._more.set()

    def _take(self, event: Event) -> None:
        line = self._line(event)
        if line is not None:
            self._chaos.pass_event(self, line, self.push)

    def _line(self, event: Event) -> bytes | None:
        if self._namespace and event.key[0] != self._namespace:
            return None
        matches = self._matches
        before = event.before is not None and (matches is None or matches(event.before))
        if event.deleted:
            return _line(b"DELETED", self._dress(event.item)) if before else None
        if matches is None or matches(event.item):
            return _line(b"MODIFIED" if before else b"ADDED", self._dress(event.item))
        if not before or event.before is None:
            return None
        old = event.before.obj
        gone = {**old, "metadata": {**old["metadata"], "resourceVersion": str(event.version)}}
        return _line(b"DELETED", self._dress(Item(gone, event.version)))

    def _bookmark(self, *, initial: bool = False) -> bytes:
        metadata: Json = {"resourceVersion": str(self._store.version)}
        if initial:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        return _line(b"BOOKMARK", self._mark(metadata))

    def _begin(self) -> bool:
        """Fill in what comes before the changes; False when the version is too old."""
        options = self._options
        from_now = options.initial_events is False and options.version in ("", "0")
        present = options.initial_events or (options.initial_events is None and options.version in ("", "0"))
        if present:
            for _, item in self._collection.items(self._namespace):
                if self._matches is None or self._matches(item):
                    self._lines.append(_line(b"ADDED", self._dress(item)))
            if options.initial_events and options.bookmarks:
                self._lines.append(self._bookmark(initial=True))
        elif not from_now:
            version = int(options.version)
            if version < self._collection.compacted or self._chaos.is_too_old(version):
                oldest = max(self._collection.compacted, self._chaos.oldest)
                error = expired(f"too old resource version: {version} ({oldest})")
                self._lines.append(_line(b"ERROR", msgspec.json.encode(error.status)))
                return False
            if version > self._store.version:
                return True
            for event in self._collection.since(version):
                line = self._line(event)
                if line is not None:
                    self._lines.append(line)
        return True

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream, several events at a time."""
        loop = asyncio.get_running_loop()
        seconds = _DEFAULT_SECONDS if self._options.timeout is None else self._options.timeout * self._scale
        if seconds < 0:
            return
        ends = loop.time() + seconds
        if not self._begin():
            yield b"".join(self._lines)
            return
        bookmark_at = loop.time() + self._chaos.bookmark_seconds if self._options.bookmarks else float("inf")
        self._collection.listeners.append(self._take)
        self._chaos.watches.add(self)
        self._more.set()
        try:
            while True:
                if self._lines:
                    batch = b"".join(self._lines)
                    self._lines.clear()
                    yield batch
                    continue
                if self._ended or loop.time() >= ends:
                    return
                self._more.clear()
                wait = min(ends, bookmark_at) - loop.time()
                try:
                    async with asyncio.timeout(max(wait, 0)):
                        await self._more.wait()
                except TimeoutError:
                    if loop.time() >= bookmark_at and loop.time() < ends:
                        bookmark_at = loop.time() + self._chaos.bookmark_seconds
                        self._lines.append(self._bookmark())
        finally:
            self._collection.listeners.remove(self._take)
            self._chaos.watches.discard(self)


def _line(kind: bytes, obj: bytes) -> bytes:
    return b'{"type":"' + kind + b'","object":' + obj + b"}\n"
