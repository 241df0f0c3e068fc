"""Events: what happened to objects, counted when it happens again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubernetes_double.serving.options import WriteOptions
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer


class Recorder:
    """Writes Event objects."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._known: dict[tuple[str, str, str], str] = {}

    def record(self, obj: Json, kind: str, reason: str, message: str, *, component: str, part: str = "") -> None:
        """`part` is the field of `obj` that it is about."""
        metadata = obj["metadata"]
        namespace = metadata.get("namespace") or "default"
        key = (metadata["uid"], reason, message)
        engine = self._server.engine
        resource = self._server.resource("events")
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        options = WriteOptions(manager=component, validation="Ignore")
        try:
            known = self._known.get(key)
            old = engine.peek("events", namespace, known) if known else None
            if old is not None:
                new = copied(old)
                new["count"] = int(new.get("count") or 1) + 1
                new["lastTimestamp"] = now
                engine.update(resource, namespace, old["metadata"]["name"], new, options)
                return
            name = f"{metadata['name']}.{time.time_ns():x}"
            self._known[key] = name
            body: Json = {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": {
                    "kind": obj["kind"],
                    "namespace": metadata.get("namespace", ""),
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "apiVersion": obj["apiVersion"],
                    "resourceVersion": metadata["resourceVersion"],
                },
                "reason": reason,
                "message": message,
                "type": kind,
                "reportingComponent": component,
            }
            if part:
                body["involvedObject"]["fieldPath"] = part
            if component == "default-scheduler":
                moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
                action = "Binding" if reason == "Scheduled" else "Scheduling"
                body |= {"eventTime": moment, "action": action, "reportingInstance": "default-scheduler-server-1"}
            else:
                body |= {"firstTimestamp": now, "lastTimestamp": now, "count": 1, "source": {"component": component}}
                if component == "kubelet":
                    node = obj["spec"].get("nodeName", "")
                    body["source"]["host"] = body["reportingInstance"] = node
            engine.create(resource, namespace, body, options)
        except ApiError:
            # An event of a namespace that goes away is nobody's.
            return
