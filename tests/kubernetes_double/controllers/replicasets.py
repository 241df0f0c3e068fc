"""ReplicaSets: as many Pods as they ask for."""

from __future__ import annotations

from datetime import UTC, datetime

from kubernetes_double.controllers.base import Controller, controller_of, owner_reference
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.selectors import object_selector
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import Event, Key, copied


def is_active(pod: Json) -> bool:
    return "deletionTimestamp" not in pod["metadata"] and pod["status"].get("phase") not in ("Failed", "Succeeded")


def is_terminating(pod: Json) -> bool:
    return "deletionTimestamp" in pod["metadata"] and pod["status"].get("phase") not in ("Failed", "Succeeded")


def condition(obj: Json, kind: str) -> Json | None:
    for item in obj.get("status", {}).get("conditions") or ():
        if item["type"] == kind:
            found: Json = item
            return found
    return None


def is_ready(pod: Json) -> bool:
    found = condition(pod, "Ready")
    return found is not None and found["status"] == "True"


def ready_for(pod: Json) -> float:
    """Seconds since the Pod became ready."""
    found = condition(pod, "Ready")
    if found is None or found["status"] != "True":
        return 0.0
    since = datetime.fromisoformat(found["lastTransitionTime"])
    return (datetime.now(UTC) - since).total_seconds()


class ReplicaSetController(Controller):
    """Creates and deletes Pods."""

    component = "replicaset-controller"

    def begin(self) -> None:
        self.follow("replicasets.apps", existing=True)
        self.follow("pods", self._owners)

    def _owners(self, event: Event) -> list[Key]:
        found: list[Key] = []
        for item in (event.before, event.item):
            if item is None:
                continue
            owner = controller_of(item.obj)
            if owner is not None and owner["kind"] == "ReplicaSet":
                found.append((event.key[0], owner["name"]))
        return list(dict.fromkeys(found))

    async def sync(self, key: Key) -> None:
        rs = self.engine.peek("replicasets", *key, group="apps")
        if rs is None:
            return
        owned = self._owned(rs)
        active = [pod for pod in owned if is_active(pod)]
        failure: ApiError | None = None
        if "deletionTimestamp" not in rs["metadata"]:
            missing = int(rs["spec"]["replicas"]) - len(active)
            if missing > 0:
                failure = self._add(rs, missing)
            elif missing < 0:
                for pod in sorted(active, key=_worth)[:-missing]:
                    self.delete(self.resource("pods"), pod)
                    self.event(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
        self._tell(rs, owned, active, failure)
        if failure is not None:
            self.enqueue(key, after=self.server.pace.retry_create)

    def _owned(self, rs: Json) -> list[Json]:
        namespace, uid = rs["metadata"]["namespace"], rs["metadata"]["uid"]
        matches = object_selector(rs["spec"]["selector"])
        found: list[Json] = []
        for _, item in list(self.store.collection("pods").items(namespace)):
            owner = controller_of(item.obj)
            if owner is not None:
                if owner["uid"] == uid:
                    found.append(item.obj)
            elif matches(item.labels) and "deletionTimestamp" not in rs["metadata"] and is_active(item.obj):
                found.append(self._adopt(rs, item.obj))
        return found

    def _adopt(self, rs: Json, pod: Json) -> Json:
        def change(fresh: Json) -> None:
            fresh["metadata"].setdefault("ownerReferences", []).append(owner_reference(rs))

        return self.change(self.resource("pods"), pod, change)

    def _add(self, rs: Json, count: int) -> ApiError | None:
        template = rs["spec"]["template"]
        for _ in range(count):
            metadata = copied(template.get("metadata") or {})
            metadata["generateName"] = f"{rs['metadata']['name']}-"
            metadata["ownerReferences"] = [owner_reference(rs)]
            body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template["spec"])}
            try:
                pod = self.create(self.resource("pods"), rs["metadata"]["namespace"], body)
            except ApiError as exc:
                causes = exc.status.get("details", {}).get("causes") or ()
                if any(cause.get("reason") == "NamespaceTerminating" for cause in causes):
                    return None
                self.event(rs, "Warning", "FailedCreate", f"Error creating: {exc}")
                return exc
            self.event(rs, "Normal", "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return None

    def _tell(self, rs: Json, owned: list[Json], active: list[Json], failure: ApiError | None) -> None:
        least = int(rs["spec"].get("minReadySeconds") or 0)
        labels = (rs["spec"]["template"].get("metadata") or {}).get("labels") or {}
        ready = [pod for pod in active if is_ready(pod)]
        waits = [least - ready_for(pod) for pod in ready] if least else []
        status: Json = {"replicas": len(active)}
        full = sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active)
        counts = (
            ("fullyLabeledReplicas", full),
            ("readyReplicas", len(ready)),
            ("availableReplicas", sum(wait <= 0 for wait in waits) if least else len(ready)),
        )
        for name, count in counts:
            if count:
                status[name] = count
        status["terminatingReplicas"] = sum(is_terminating(pod) for pod in owned)
        status["observedGeneration"] = rs["metadata"]["generation"]
        kept = [c for c in rs["status"].get("conditions") or () if c["type"] != "ReplicaFailure"]
        if failure is not None:
            known = condition(rs, "ReplicaFailure")
            if known is None:
                known = {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "lastTransitionTime": stamp(),
                    "reason": "FailedCreate",
                    "message": str(failure),
                }
            kept.append(known)
        if kept:
            status["conditions"] = kept
        if status != rs["status"]:
            self.change(
                self.resource("replicasets", "apps"), rs, lambda fresh: fresh.update(status=status), sub="status"
            )
        later = [wait for wait in waits if wait > 0]
        if later:
            self.enqueue((rs["metadata"]["namespace"], rs["metadata"]["name"]), after=min(later) + 0.01)


def _worth(pod: Json) -> tuple[int, int, int, int, float]:
    """What is deleted first comes first: unassigned, pending, not ready, of the least deletion cost, youngest."""
    phase = {"Pending": 0, "Unknown": 1}.get(pod["status"].get("phase", ""), 2)
    born = datetime.fromisoformat(pod["metadata"]["creationTimestamp"]).timestamp()
    cost = int((pod["metadata"].get("annotations") or {}).get("controller.kubernetes.io/pod-deletion-cost", "0"))
    return int(bool(pod["spec"].get("nodeName"))), phase, int(is_ready(pod)), cost, -born
