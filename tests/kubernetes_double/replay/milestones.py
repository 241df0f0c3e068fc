"""States of objects that controllers write: what must come in the same order, whatever the pace."""

from __future__ import annotations

from typing import Any, Final

from kubernetes_double.serving.status import Json

SKIPPED: Final = object()
"""A state that comes or not, depending on the pace."""
_MOVING: Final = frozenset({"NewReplicaSetCreated", "ReplicaSetUpdated", "FoundNewReplicaSet"})


def _conditions(obj: Json) -> dict[str, Json]:
    return {item["type"]: item for item in obj.get("status", {}).get("conditions") or ()}


def _container(item: Json) -> Json:
    kind, state = next(iter(item["state"].items()))
    last = item.get("lastState") or {}
    return {
        "state": kind,
        "why": state.get("reason", ""),
        "code": state.get("exitCode"),
        "started": item.get("started"),
        "restarts": item["restartCount"],
        "last": (last.get("terminated") or {}).get("reason", ""),
    }


def _pod(obj: Json) -> Any:
    status = obj["status"]
    conditions = {kind: f"{item['status']} {item.get('reason', '')}" for kind, item in _conditions(obj).items()}
    containers = [_container(item) for item in status.get("containerStatuses") or ()]
    deleting = "deletionTimestamp" in obj["metadata"]
    running = any(item["state"] == "running" for item in containers)
    if running and not deleting and not conditions.get("Ready", "").startswith("True"):
        return SKIPPED
    creating = any(item["why"] == "ContainerCreating" for item in containers)
    if creating and not deleting and conditions.get("PodReadyToStartContainers", "").startswith("False"):
        return SKIPPED
    return {
        "phase": status.get("phase"),
        "node": obj["spec"].get("nodeName"),
        "conditions": conditions,
        "containers": containers,
        "deleting": deleting,
    }


def _deployment(obj: Json) -> Json:
    """What is wanted and what the conditions say; counts in between depend on how fast Pods are."""
    conditions = _conditions(obj)
    progress = conditions.get("Progressing", {}).get("reason", "ReplicaSetUpdated")
    available = conditions.get("Available", {}).get("status", "False")
    return {
        "replicas": obj["spec"].get("replicas"),
        "progress": "moving" if progress in _MOVING else progress,
        "available": available,
        "failing": "ReplicaFailure" in conditions,
        "deleting": "deletionTimestamp" in obj["metadata"],
    }


def _replica_set(obj: Json) -> Json:
    return {"replicas": obj["spec"].get("replicas"), "deleting": "deletionTimestamp" in obj["metadata"]}


def _slice(obj: Json) -> Json:
    endpoints = obj.get("endpoints") or ()
    return {"ready": any(item["conditions"]["ready"] for item in endpoints)}


def _quota(obj: Json) -> Json:
    return {"hard": obj["spec"].get("hard"), "status": obj.get("status")}


_KINDS = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "EndpointSlice": _slice,
    "ResourceQuota": _quota,
}


def milestones(obj: Json) -> Any:
    """The reduced state of one object."""
    reduce = _KINDS.get(obj.get("kind", ""))
    return obj if reduce is None else reduce(obj)
