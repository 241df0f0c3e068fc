"""What every loop is made of: a queue of keys, fed by events, worked off one at a time."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.options import DeleteOptions, WriteOptions
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import Event, Key, copied

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

_RETRIES = 8


class Controller:
    """Brings objects of one kind to what they ask for. Subclasses set `manager` and write `sync`."""

    manager = "kube-controller-manager"
    component = "kube-controller-manager"
    """Who reports events."""

    def __init__(self, server: ApiServer) -> None:
        self.server = server
        self.engine = server.engine
        self.store = server.store
        self.errors: list[str] = []
        """Tracebacks of what should not have happened."""
        self._dirty: dict[Key, None] = {}
        self._tries: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._task: asyncio.Task[None] | None = None
        self._listening: list[tuple[list[Callable[[Event], None]], Callable[[Event], None]]] = []

    def begin(self) -> None:
        """Subscribe with `follow`, and enqueue what is there."""

    async def sync(self, key: Key) -> None:
        raise NotImplementedError

    # Life

    def start(self) -> None:
        self.begin()
        self._task = asyncio.create_task(self._run(), name=f"double-{type(self).__name__}")

    async def stop(self) -> None:
        for listeners, listener in self._listening:
            if listener in listeners:
                listeners.remove(listener)
        self._listening.clear()
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    @property
    def idle(self) -> bool:
        return not self._dirty

    async def _run(self) -> None:
        while True:
            if not self._dirty:
                self._wake.clear()
                await self._wake.wait()
            key = next(iter(self._dirty))
            del self._dirty[key]
            try:
                await self.sync(key)
                self._tries.pop(key, None)
            except ApiError as exc:
                self._again(key, exc)
            except Exception:
                self.errors.append(traceback.format_exc())
            await asyncio.sleep(0)

    def _again(self, key: Key, error: ApiError) -> None:
        if error.code == 404:
            return
        tries = self._tries.get(key, 0)
        self._tries[key] = tries + 1
        if tries < _RETRIES:
            self.enqueue(key, after=0.005 * 2**tries)

    # Feeding

    def enqueue(self, key: Key, *, after: float = 0.0) -> None:
        if after > 0:
            loop = asyncio.get_running_loop()
            pending = self._timers.get(key)
            if pending is not None and not pending.cancelled():
                if pending.when() <= loop.time() + after:
                    return
                pending.cancel()
            self._timers[key] = loop.call_later(after, self._due, key)
            return
        self._dirty[key] = None
        self._wake.set()

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.enqueue(key)

    def follow(
        self, resource: str, keys: Callable[[Event], Iterable[Key]] | None = None, *, existing: bool = False
    ) -> None:
        """Enqueue `keys(event)` (the object's own key) on every event of a resource (`plural.group`)."""

        def listener(event: Event) -> None:
            for key in (event.key,) if keys is None else keys(event):
                self.enqueue(key)

        collection = self.store.collection(resource)
        collection.listeners.append(listener)
        self._listening.append((collection.listeners, listener))
        if existing:
            for key, _ in collection.items():
                self.enqueue(key)

    # Writing

    def resource(self, plural: str, group: str = "") -> Resource:
        return self.engine.registry.named(plural, group)

    def options(self) -> WriteOptions:
        return WriteOptions(manager=self.manager, user=f"system:{self.manager}", validation="Ignore")

    def create(self, resource: Resource, namespace: str, obj: Json) -> Json:
        return self.engine.create(resource, namespace, obj, self.options())

    def change(self, resource: Resource, obj: Json, change: Callable[[Json], Any], *, sub: str = "") -> Json:
        """Read the object again, change a copy, write it; nothing is written when nothing changed."""
        metadata = obj["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        fresh = copied(self.engine.find(resource, namespace, name).obj)
        change(fresh)
        return self.engine.update(resource, namespace, name, fresh, self.options(), sub)

    def delete(self, resource: Resource, obj: Json, *, policy: str = "Background", grace: int | None = None) -> None:
        metadata = obj["metadata"]
        options = DeleteOptions(policy=policy, uid=metadata["uid"], grace=grace)
        try:
            self.engine.delete(resource, metadata.get("namespace", ""), metadata["name"], options, self.options())
        except ApiError as exc:
            if exc.code not in (404, 409):
                raise

    def event(self, obj: Json, kind: str, reason: str, message: str, *, component: str = "", part: str = "") -> None:
        """Record an Event about `obj`."""
        self.server.recorder.record(obj, kind, reason, message, component=component or self.component, part=part)


def controller_of(obj: Json) -> Json | None:
    """The reference to the controller that owns `obj`."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: Json = reference
            return found
    return None


def owner_reference(owner: Json) -> Json:
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }
