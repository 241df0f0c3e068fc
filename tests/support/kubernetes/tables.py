"""Objects as rows of a Table, which is what `kubectl get` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from support.kubernetes.resources import Resource
from support.kubernetes.status import Json
from support.kubernetes.store import Item


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


_NAME = {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
_AGE = {"name": "Age", "type": "string", "format": "", "description": "", "priority": 0}


def table(resource: Resource, items: Sequence[Item], metadata: Json, query: Mapping[str, str]) -> Json:
    rows: list[Json] = []
    for item in items:
        meta = item.obj["metadata"]
        row: Json = {"cells": [meta["name"], age(meta.get("creationTimestamp"))]}
        wanted = query.get("includeObject", "Metadata")
        if wanted == "Metadata":
            row["object"] = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
        elif wanted == "Object":
            row["object"] = item.obj
        rows.append(row)
    columns: list[Any] = [_NAME, _AGE]
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": metadata,
        "columnDefinitions": columns,
        "rows": rows,
    }
