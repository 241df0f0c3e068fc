"""Objects, versions and events: one counter for all writes, one history for each resource.

Objects are never changed in place: a write puts a new one. So lists, watches and the history share them without copying.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from kubernetes_double.serving.status import Json, expired

Key = tuple[str, str]
"""Namespace and name; the namespace of a cluster-wide object is empty."""

_encode = msgspec.json.encode


class Item:
    """One state of one object, with its JSON made at most once."""

    __slots__ = ("_bare", "_whole", "labels", "obj", "version")

    def __init__(self, obj: Json, version: int) -> None:
        self.obj = obj
        self.version = version
        self.labels: dict[str, str] = obj["metadata"].get("labels") or {}
        self._whole: bytes | None = None
        self._bare: bytes | None = None

    @property
    def whole(self) -> bytes:
        """With kind and apiVersion, as single objects and events carry them."""
        if self._whole is None:
            self._whole = _encode(self.obj)
        return self._whole

    @property
    def bare(self) -> bytes:
        """Without kind and apiVersion, as the items of a list come."""
        if self._bare is None:
            self._bare = _encode({k: v for k, v in self.obj.items() if k not in ("kind", "apiVersion")})
        return self._bare


@dataclass(frozen=True, slots=True)
class Event:
    """One write: what was before, what is after. `item` of a deletion is the last state under the deletion's version."""

    version: int
    key: Key
    before: Item | None
    item: Item
    deleted: bool = False


class Collection:
    """All objects of one resource."""

    def __init__(self, window: int) -> None:
        self.spaces: dict[str, dict[str, Item]] = {}
        self.events: deque[Event] = deque()
        self.compacted = 0
        """Events up to this version are forgotten."""
        self.listeners: list[Callable[[Event], None]] = []
        self.window = window

    def get(self, key: Key) -> Item | None:
        return self.spaces.get(key[0], {}).get(key[1])

    def items(self, namespace: str = "", *, after: Key | None = None) -> Iterator[tuple[Key, Item]]:
        """In the order of `place`, from behind `after`; an empty namespace is all of them."""
        spaces = [namespace] if namespace else sorted(self.spaces, key=lambda space: f"{space}/")
        for space in spaces:
            if after is not None and f"{space}/" < f"{after[0]}/":
                continue
            inside = self.spaces.get(space, {})
            names = sorted(inside)
            if after is not None and space == after[0]:
                names = names[bisect_right(names, after[1]) :]
            for name in names:
                yield (space, name), inside[name]

    def left(self, namespace: str, after: Key) -> int:
        """How many objects come behind `after`."""
        spaces = [namespace] if namespace else list(self.spaces)
        later = sum(len(self.spaces[space]) for space in spaces if f"{space}/" > f"{after[0]}/")
        return later + sum(name > after[1] for name in self.spaces.get(after[0], ()))

    def count(self) -> int:
        return sum(len(inside) for inside in self.spaces.values())

    def is_unchanged_since(self, version: int) -> bool:
        return not self.events or self.events[-1].version <= version

    def at(self, version: int, namespace: str = "") -> list[tuple[Key, Item]]:
        """The objects as they were at `version`: later events taken back. Raises `ApiError` 410."""
        if version < self.compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter, or use the continue token in this response to retrieve the "
                "remainder of the results. Continuing with the provided token results in an inconsistent list - objects "
                "that were created, modified, or deleted between the time the first chunk was returned and now may show "
                "up in the list."
            )
        states: dict[Key, Item | None] = {}
        for event in reversed(self.events):
            if event.version <= version:
                break
            states[event.key] = event.before
        if not states:
            return list(self.items(namespace))
        merged = {key: item for key, item in self.items(namespace) if key not in states}
        merged.update(
            {k: item for k, item in states.items() if item is not None and (not namespace or k[0] == namespace)}
        )
        return sorted(merged.items(), key=lambda pair: place(pair[0]))

    def since(self, version: int) -> list[Event]:
        """Events after `version`. The caller checks `compacted` first."""
        if not self.events or self.events[-1].version <= version:
            return []
        start = bisect_right(self.events, version, key=lambda event: event.version)
        return [self.events[index] for index in range(start, len(self.events))]

    def record(self, event: Event) -> None:
        self.events.append(event)
        while len(self.events) > self.window:
            self.compacted = self.events.popleft().version
        for listener in tuple(self.listeners):
            listener(event)


class Store:
    """Every collection, and the counter that all writes share."""

    def __init__(self, *, first: int = 1, window: int = 20_000) -> None:
        self.version = first
        self._window = window
        self._collections: dict[str, Collection] = {}
        self._first = first

    def collection(self, resource: str) -> Collection:
        """`resource` is `plural` or `plural.group`."""
        found = self._collections.get(resource)
        if found is None:
            found = self._collections[resource] = Collection(self._window)
            found.compacted = self._first
        return found

    def collections(self) -> dict[str, Collection]:
        return dict(self._collections)

    def put(self, resource: str, key: Key, obj: Json) -> Item:
        """Write one state. `obj` becomes the store's; its resourceVersion is set here."""
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        item = Item(obj, self.version)
        collection = self.collection(resource)
        space = collection.spaces.setdefault(key[0], {})
        before = space.get(key[1])
        space[key[1]] = item
        collection.record(Event(self.version, key, before, item))
        return item

    def remove(self, resource: str, key: Key) -> Item:
        """Delete; the event carries the stored state, under the deletion's version. Raises `KeyError`."""
        collection = self.collection(resource)
        space = collection.spaces[key[0]]
        before = space.pop(key[1])
        if not space:
            del collection.spaces[key[0]]
        self.version += 1
        final = {**before.obj, "metadata": {**before.obj["metadata"], "resourceVersion": str(self.version)}}
        item = Item(final, self.version)
        collection.record(Event(self.version, key, before, item, deleted=True))
        return item

    def forget(self, resource: str) -> None:
        """Drop a whole collection, as when its definition goes."""
        self._collections.pop(resource, None)

    def compact(self, version: int | None = None) -> None:
        """Forget the events up to `version` (all of them): watches and pages from before answer 410."""
        until = self.version if version is None else version
        for collection in self._collections.values():
            while collection.events and collection.events[0].version <= until:
                collection.events.popleft()
            collection.compacted = max(collection.compacted, until)


def place(key: Key) -> str:
    """Where a key stands among others: the order is that of the store's paths."""
    return f"{key[0]}/{key[1]}"


def copied(value: Any) -> Any:
    """A deep copy of JSON data."""
    if isinstance(value, dict):
        return {k: copied(v) for k, v in value.items()}
    if isinstance(value, list):
        return [copied(v) for v in value]
    return value
