"""DELETE: finalizers, grace, propagation, preconditions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from kubernetes_double.checks.admission import Request
from kubernetes_double.objects import kinds
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.bodies import ordered, same
from kubernetes_double.serving.options import DeleteOptions, WriteOptions
from kubernetes_double.serving.status import ApiError, Json, success
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine


class Deleter:
    """Takes objects out of the store, or marks them."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def delete(
        self, resource: Resource, namespace: str, name: str, options: DeleteOptions, who: WriteOptions
    ) -> tuple[Json, int]:
        space = namespace if resource.namespaced else ""
        item = self._engine.find(resource, space, name)
        obj = item.obj
        self._engine.admission.validate(Request("DELETE", resource, namespace, obj, obj, who))
        metadata = obj["metadata"]
        if options.uid and options.uid != metadata["uid"]:
            raise self._precondition(resource, name, "UID", options.uid, metadata["uid"])
        if options.version and options.version != metadata["resourceVersion"]:
            raise self._precondition(resource, name, "ResourceVersion", options.version, metadata["resourceVersion"])
        if options.dry_run:
            return success(resource.group, resource.plural, name, metadata["uid"]), 200
        finalizers = list(metadata.get("finalizers") or ())
        if options.policy == "Orphan" and "orphan" not in finalizers:
            finalizers.append("orphan")
        if options.policy == "Foreground" and "foregroundDeletion" not in finalizers:
            finalizers.append("foregroundDeletion")
        if options.policy in ("Background", "Foreground"):
            finalizers = [f for f in finalizers if f != "orphan"]
        if options.policy in ("Background", "Orphan"):
            finalizers = [f for f in finalizers if f != "foregroundDeletion"]
        grace = kinds.grace(resource, obj, options.grace)
        waiting = bool(finalizers) or kinds.keeps(resource, obj) or bool(grace)
        if not waiting and resource.key == "pods" and metadata.get("deletionGracePeriodSeconds") != 0:
            # A Pod is marked first, however short its notice.
            self._engine.store.put("pods", (space, name), ordered(resource, _marked(obj, 0, generation=True)))
        if not waiting:
            last = self._engine.store.remove(resource.key, (space, name))
            self.settle(resource, last.obj)
            if resource.key in kinds.RETURNED:
                return {**last.obj, "metadata": {**last.obj["metadata"]}}, 200
            return success(resource.group, resource.plural, name, metadata["uid"]), 200
        new = copied(obj)
        after = new["metadata"]
        pending = "deletionTimestamp" in metadata
        if not pending or (grace is not None and grace < int(metadata.get("deletionGracePeriodSeconds", 0))):
            seconds = grace or 0
            after["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
            if resource.key != "namespaces":
                after["deletionGracePeriodSeconds"] = seconds
            if resource.has_generation and resource.key != kinds.DEFINITIONS and after.get("generation"):
                after["generation"] += 1
        if finalizers:
            after["finalizers"] = finalizers
        else:
            after.pop("finalizers", None)
        kinds.prepare_delete(resource, new)
        if same(obj, new):
            return obj, 200
        stored = self._engine.store.put(resource.key, (space, name), ordered(resource, new)).obj
        if resource.key == kinds.DEFINITIONS:
            self._engine.on_definition(obj, stored)
        return stored, 200

    def settle(self, resource: Resource, last: Json) -> None:
        if resource.key == kinds.DEFINITIONS:
            self._engine.on_definition(last, None)

    @staticmethod
    def _precondition(resource: Resource, name: str, what: str, wanted: str, found: str) -> ApiError:
        lost = "deleted and then recreated" if what == "UID" else "modified"
        return ApiError(
            409,
            f"Operation cannot be fulfilled on {resource.kind if not resource.group else f'{resource.kind}.{resource.group}'} "
            f'"{name}": the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). '
            f"The object might have been {lost}",
            reason="Conflict",
            details={"name": name, **({"group": resource.group} if resource.group else {}), "kind": resource.kind},
        )


def _marked(obj: Json, seconds: int, *, generation: bool) -> Json:
    """An object that is being deleted."""
    new: Json = copied(obj)
    metadata = new["metadata"]
    metadata["deletionTimestamp"] = stamp(datetime.now(UTC) + timedelta(seconds=seconds))
    metadata["deletionGracePeriodSeconds"] = seconds
    if generation and "deletionTimestamp" not in obj["metadata"] and metadata.get("generation"):
        metadata["generation"] += 1
    return new
