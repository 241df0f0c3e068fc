"""metrics.k8s.io: what Pods and nodes use, when a test says that there is a metrics server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kubernetes_double.serving.status import Json, not_found

if TYPE_CHECKING:
    from kubernetes_double.server import ApiServer

GROUP: Final = "metrics.k8s.io"
VERSION: Final = "v1beta1"


class Metrics:
    """`cluster.metrics.enabled = True`, and `cluster.metrics.usage["pod-name"] = ("12m", "34Mi")`."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self.enabled = False
        self.usage: dict[str, tuple[str, str]] = {}
        """CPU and memory by name of the Pod or node; others use a little."""

    def discovery(self) -> Json:
        kinds = (("nodes", "NodeMetrics", False), ("pods", "PodMetrics", True))
        listed = [
            {"name": plural, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]}
            for plural, kind, namespaced in kinds
        ]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/{VERSION}",
            "resources": listed,
        }

    def answer(self, plural: str, namespace: str, name: str) -> Json:
        """One object or a list. Raises `ApiError` 404."""
        kind = "PodMetrics" if plural == "pods" else "NodeMetrics"
        found = [self._one(kind, obj) for obj in self._server.objects(plural, namespace) if self._is_measured(obj)]
        head = {"apiVersion": f"{GROUP}/{VERSION}"}
        if not name:
            return {"kind": f"{kind}List", **head, "metadata": {}, "items": found}
        for item in found:
            if item["metadata"]["name"] == name:
                return {"kind": kind, **head, **item}
        raise not_found(GROUP, plural, name)

    @staticmethod
    def _is_measured(obj: Json) -> bool:
        return bool(obj["kind"] == "Node" or obj["status"].get("phase") == "Running")

    def _one(self, kind: str, obj: Json) -> Json:
        metadata = obj["metadata"]
        cpu, memory = self.usage.get(metadata["name"], ("1m", "8Mi"))
        usage = {"cpu": cpu, "memory": memory}
        kept = {key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata}
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        out: Json = {"metadata": {**kept, "creationTimestamp": now}, "timestamp": now, "window": "15s"}
        if kind == "NodeMetrics":
            return {**out, "usage": usage}
        return {**out, "containers": [{"name": item["name"], "usage": usage} for item in obj["spec"]["containers"]]}
