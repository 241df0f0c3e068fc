"""Objects as rows of a Table, which is what `kubectl get` shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from kubernetes_double.objects import schema
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Item

Cell = Callable[[Json], Any]
Column = tuple[str, str, str, int, Cell]
"""Name, type, description (or where it is described), priority, value."""


def age(text: str | None, now: datetime | None = None) -> str:
    """How long ago, in the short form of the command line."""
    if not text:
        return "<unknown>"
    seconds = int(((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds())
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes = seconds // 60
    if minutes < 10:
        return f"{minutes}m{seconds % 60}s" if seconds % 60 else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def _described(definition: str, field: str) -> str:
    found = schema.definitions().get(f"io.k8s.{definition}", {}).get("properties", {}).get(field, {})
    return str(found.get("description", ""))


_META: Final = "apimachinery.pkg.apis.meta.v1.ObjectMeta"


def _count(obj: Json, name: str) -> int:
    return int(obj.get("status", {}).get(name, 0))


def _ready(obj: Json) -> str:
    return f"{_count(obj, 'readyReplicas')}/{obj['spec'].get('replicas', 0)}"


def _containers(obj: Json, field: str) -> str:
    return ",".join(str(item.get(field, "")) for item in obj["spec"]["template"]["spec"]["containers"])


def _selector(obj: Json) -> str:
    labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>"


def _pod_state(obj: Json) -> str:
    status = obj["status"]
    if "deletionTimestamp" in obj["metadata"]:
        return "Terminating"
    for item in status.get("containerStatuses") or ():
        for kind in ("waiting", "terminated"):
            reason = (item.get("state") or {}).get(kind, {}).get("reason")
            if reason:
                return str(reason)
    return str(status.get("reason") or status.get("phase"))


def _pod_ready(obj: Json) -> str:
    states = obj["status"].get("containerStatuses") or ()
    return f"{sum(bool(item['ready']) for item in states)}/{len(obj['spec']['containers'])}"


def _ports(obj: Json) -> str:
    ports = obj["spec"].get("ports") or ()
    return ",".join(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in ports) or "<none>"


_COLUMNS: Final[dict[str, tuple[Column, ...]]] = {
    "configmaps": (
        (
            "Data",
            "string",
            "api.core.v1.ConfigMap:data",
            0,
            lambda o: len(o.get("data") or {}) + len(o.get("binaryData") or {}),
        ),
    ),
    "secrets": (
        ("Type", "string", "api.core.v1.Secret:type", 0, lambda o: o.get("type", "")),
        ("Data", "string", "api.core.v1.Secret:data", 0, lambda o: len(o.get("data") or {})),
    ),
    "namespaces": (("Status", "string", "The status of the namespace", 0, lambda o: o["status"].get("phase")),),
    "pods": (
        ("Ready", "string", "The aggregate readiness state of this pod for accepting traffic.", 0, _pod_ready),
        ("Status", "string", "The aggregate status of the containers in this pod.", 0, _pod_state),
        (
            "Restarts",
            "string",
            (
                "The number of times the containers in this pod have been restarted and when the last container in this pod "
                "has restarted."
            ),
            0,
            lambda o: str(sum(int(item["restartCount"]) for item in o["status"].get("containerStatuses") or ())),
        ),
    ),
    "services": (
        ("Type", "string", "api.core.v1.ServiceSpec:type", 0, lambda o: o["spec"].get("type")),
        (
            "Cluster-IP",
            "string",
            "api.core.v1.ServiceSpec:clusterIP",
            0,
            lambda o: o["spec"].get("clusterIP", "<none>"),
        ),
        ("External-IP", "string", "api.core.v1.ServiceSpec:externalIPs", 0, lambda o: "<none>"),
        ("Port(s)", "string", "api.core.v1.ServiceSpec:ports", 0, _ports),
    ),
    "deployments.apps": (
        ("Ready", "string", "Number of the pod with ready state", 0, _ready),
        (
            "Up-to-date",
            "string",
            "api.apps.v1.DeploymentStatus:updatedReplicas",
            0,
            lambda o: _count(o, "updatedReplicas"),
        ),
        (
            "Available",
            "string",
            "api.apps.v1.DeploymentStatus:availableReplicas",
            0,
            lambda o: _count(o, "availableReplicas"),
        ),
    ),
    "replicasets.apps": (
        ("Desired", "integer", "api.apps.v1.ReplicaSetSpec:replicas", 0, lambda o: o["spec"].get("replicas", 0)),
        ("Current", "integer", "api.apps.v1.ReplicaSetStatus:replicas", 0, lambda o: _count(o, "replicas")),
        ("Ready", "integer", "api.apps.v1.ReplicaSetStatus:readyReplicas", 0, lambda o: _count(o, "readyReplicas")),
    ),
}
_LATE: Final[dict[str, tuple[Column, ...]]] = {
    "deployments.apps": (
        ("Containers", "string", "Names of each container in the template.", 1, lambda o: _containers(o, "name")),
        (
            "Images",
            "string",
            "Images referenced by each container in the template.",
            1,
            lambda o: _containers(o, "image"),
        ),
        ("Selector", "string", "api.apps.v1.DeploymentSpec:selector", 1, _selector),
    ),
}
"""Columns after Age, shown by `-o wide`."""


def _definition(column: Column) -> Json:
    name, kind, description, priority, _ = column
    where, colon, field = description.partition(":")
    if colon and where.startswith("api.") and " " not in where:
        description = _described(where, field)
    return {"name": name, "type": kind, "format": "", "description": description, "priority": priority}


def _columns(resource: Resource) -> tuple[list[Json], list[Cell]]:
    first: Json = {
        "name": "Name",
        "type": "string",
        "format": "name",
        "description": _described(_META, "name"),
        "priority": 0,
    }
    if resource.custom is not None:
        definitions, cells = resource.custom.columns()
        return [first, *definitions], [lambda obj: obj["metadata"]["name"], *cells]
    last: Column = (
        "Age",
        "string",
        _described(_META, "creationTimestamp"),
        0,
        lambda obj: age(obj["metadata"].get("creationTimestamp")),
    )
    columns = (*_COLUMNS.get(resource.key, ()), last, *_LATE.get(resource.key, ()))
    return [first, *map(_definition, columns)], [
        lambda obj: obj["metadata"]["name"],
        *(column[4] for column in columns),
    ]


def bookmark(resource: Resource, metadata: Json) -> Json:
    """A bookmark in a stream of Tables: one row without a name."""
    definitions, cells = _columns(resource)
    inner = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"resourceVersion": metadata["resourceVersion"]},
        "columnDefinitions": definitions,
        "rows": [{"cells": ["", *([None] * (len(cells) - 1))], "object": inner}],
    }


def table(resource: Resource, items: Sequence[Item], metadata: Json, query: Mapping[str, str]) -> Json:
    """Rows carry what `includeObject` asks for: the metadata (default), the object, or nothing."""
    definitions, cells = _columns(resource)
    wanted = query.get("includeObject", "Metadata")
    rows: list[Json] = []
    for item in items:
        row: Json = {"cells": [cell(item.obj) for cell in cells]}
        if wanted == "Metadata":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": item.obj["metadata"],
            }
        elif wanted == "Object":
            row["object"] = item.obj
        else:
            row["object"] = None
        rows.append(row)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    }
