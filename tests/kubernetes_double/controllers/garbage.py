"""The garbage collector: what goes with its owner, and what an owner waits for."""

from __future__ import annotations

from collections import defaultdict

from kubernetes_double.controllers.base import Controller
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Event, Key


class GarbageCollector(Controller):
    """Keys are `(resource, uid)` of owners: gone ones, and ones that wait for their dependents."""

    def begin(self) -> None:
        self._dependents: dict[str, dict[tuple[str, Key], None]] = defaultdict(dict)
        self._waiting: dict[str, tuple[str, Key]] = {}
        self._known: set[str] = set()
        self.watch_new()

    def watch_new(self) -> None:
        """Follow resources that came since; custom resources among them."""
        for resource in self.engine.registry.every():
            if resource.key in self._known or "list" not in resource.verbs or resource.key == "events":
                continue
            self._known.add(resource.key)
            collection = self.store.collection(resource.key)
            listener = self._listener(resource)
            collection.listeners.append(listener)
            self._listening.append((collection.listeners, listener))
            for key, item in collection.items():
                self._index(resource, key, item.obj)

    def _listener(self, resource: Resource):  # type: ignore[no-untyped-def]  # a listener, see Collection
        def listener(event: Event) -> None:
            obj = event.item.obj
            if event.before is not None:
                self._unindex(resource, event.key, event.before.obj)
            if event.deleted:
                self._waiting.pop(obj["metadata"]["uid"], None)
                self.enqueue(("gone", obj["metadata"]["uid"]))
                for reference in obj["metadata"].get("ownerReferences") or ():
                    if reference["uid"] in self._waiting:
                        self.enqueue(("waits", reference["uid"]))
                return
            self._index(resource, event.key, obj)

        return listener

    def _index(self, resource: Resource, key: Key, obj: Json) -> None:
        metadata = obj["metadata"]
        for reference in metadata.get("ownerReferences") or ():
            self._dependents[reference["uid"]][resource.key, key] = None
            if not self._exists(reference, metadata.get("namespace", "")):
                self.enqueue(("gone", reference["uid"]))
        finalizers = metadata.get("finalizers") or ()
        if "deletionTimestamp" in metadata and ("foregroundDeletion" in finalizers or "orphan" in finalizers):
            self._waiting[metadata["uid"]] = (resource.key, key)
            self.enqueue(("waits", metadata["uid"]))

    def _unindex(self, resource: Resource, key: Key, obj: Json) -> None:
        for reference in obj["metadata"].get("ownerReferences") or ():
            found = self._dependents.get(reference["uid"])
            if found is not None:
                found.pop((resource.key, key), None)
                if not found:
                    del self._dependents[reference["uid"]]

    def _resource(self, key: str) -> Resource:
        plural, _, group = key.partition(".")
        return self.engine.registry.named(plural, group)

    def _exists(self, reference: Json, namespace: str) -> bool:
        resource = self.engine.registry.of_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return False
        space = namespace if resource.namespaced else ""
        item = self.store.collection(resource.key).get((space, reference["name"]))
        return item is not None and item.obj["metadata"]["uid"] == reference["uid"]

    async def sync(self, key: Key) -> None:
        what, uid = key
        if what == "waits":
            self._wait(uid)
            return
        for resource_key, where in list(self._dependents.get(uid, ())):
            item = self.store.collection(resource_key).get(where)
            if item is None:
                continue
            references = item.obj["metadata"].get("ownerReferences") or []
            living = [r for r in references if self._exists(r, where[0])]
            resource = self._resource(resource_key)
            if not living:
                if "deletionTimestamp" not in item.obj["metadata"]:
                    self.delete(resource, item.obj)
            elif len(living) < len(references):
                self._keep(resource, item.obj, living)

    def _keep(self, resource: Resource, obj: Json, references: list[Json]) -> None:
        def change(fresh: Json) -> None:
            if references:
                fresh["metadata"]["ownerReferences"] = references
            else:
                fresh["metadata"].pop("ownerReferences", None)

        self.change(resource, obj, change)

    def _wait(self, uid: str) -> None:
        """An owner that is deleted in the foreground, or leaves its dependents as orphans."""
        if uid not in self._waiting:
            return
        resource_key, key = self._waiting[uid]
        item = self.store.collection(resource_key).get(key)
        if item is None:
            return
        owner, resource = item.obj, self._resource(resource_key)
        finalizers = owner["metadata"].get("finalizers") or []
        dependents = list(self._dependents.get(uid, ()))
        if "orphan" in finalizers:
            for other_key, where in dependents:
                other = self.store.collection(other_key).get(where)
                if other is not None:
                    references = [r for r in other.obj["metadata"].get("ownerReferences") or () if r["uid"] != uid]
                    self._keep(self._resource(other_key), other.obj, references)
            if dependents:
                self.enqueue(("waits", uid), after=0.02)
            else:
                self._release(resource, owner, "orphan")
            return
        blocking = False
        for other_key, where in dependents:
            other = self.store.collection(other_key).get(where)
            if other is None:
                continue
            reference = next(r for r in other.obj["metadata"]["ownerReferences"] if r["uid"] == uid)
            blocking |= bool(reference.get("blockOwnerDeletion"))
            if "deletionTimestamp" not in other.obj["metadata"]:
                inner = self._dependents.get(other.obj["metadata"]["uid"])
                self.delete(self._resource(other_key), other.obj, policy="Foreground" if inner else "Background")
        if not blocking or not self._dependents.get(uid):
            self._release(resource, owner, "foregroundDeletion")

    def _release(self, resource: Resource, owner: Json, finalizer: str) -> None:
        def change(fresh: Json) -> None:
            left = [name for name in fresh["metadata"].get("finalizers") or () if name != finalizer]
            if left:
                fresh["metadata"]["finalizers"] = left
            else:
                fresh["metadata"].pop("finalizers", None)

        self.change(resource, owner, change)
