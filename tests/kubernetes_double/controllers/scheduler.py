"""The scheduler: every Pod goes to the first node that fits, by labels; nothing is counted."""

from __future__ import annotations

from kubernetes_double.checks.quotas import pod_amount
from kubernetes_double.controllers.base import Controller
from kubernetes_double.controllers.scripts import too_big, unlabelled
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.quantity import parse
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Event, Key

_ALLOCATABLE = {"cpu": "64", "memory": "256Gi"}


class Scheduler(Controller):
    """Assigns nodes."""

    manager = "kube-scheduler"

    def begin(self) -> None:
        self.follow("pods", self._unassigned)
        for key, item in self.store.collection("pods").items():
            if not item.obj["spec"].get("nodeName"):
                self.enqueue(key)
        self.follow("nodes", lambda event: self._pending())

    @staticmethod
    def _unassigned(event: Event) -> list[Key]:
        return [] if event.deleted or event.item.obj["spec"].get("nodeName") else [event.key]

    def _pending(self) -> list[Key]:
        return [key for key, item in self.store.collection("pods").items() if not item.obj["spec"].get("nodeName")]

    async def sync(self, key: Key) -> None:
        pod = self.engine.peek("pods", *key)
        if pod is None or pod["spec"].get("nodeName") or "deletionTimestamp" in pod["metadata"]:
            return
        node = self._node(pod)
        outcome = self.server.images.outcome(pod)
        refusal = outcome.unschedulable
        large = self._too_large(pod)
        if large and not refusal:
            refusal = too_big(large, len(self.server.objects("nodes"))).unschedulable
        if node is None and not refusal:
            refusal = unlabelled(len(self.server.objects("nodes"))).unschedulable
        if refusal or node is None:
            self._refuse(pod, refusal)
            return

        def change(fresh: Json) -> None:
            fresh["spec"]["nodeName"] = node
            fresh["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "True", "lastProbeTime": None, "lastTransitionTime": stamp()}
            ]

        self.server.kubelet.write(pod, change, binding=True)
        namespace, name = key
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self.event(pod, "Normal", "Scheduled", text, component="default-scheduler")

    def _refuse(self, pod: Json, why: str) -> None:
        known = [item for item in pod["status"].get("conditions") or () if item["type"] == "PodScheduled"]
        if known and known[0].get("message") == why:
            return

        def change(fresh: Json) -> None:
            fresh["status"]["conditions"] = [
                {
                    "type": "PodScheduled",
                    "observedGeneration": fresh["metadata"]["generation"],
                    "status": "False",
                    "lastProbeTime": None,
                    "lastTransitionTime": stamp(),
                    "reason": "Unschedulable",
                    "message": why,
                }
            ]

        self.change(self.resource("pods"), pod, change, sub="status")
        self.event(pod, "Warning", "FailedScheduling", why, component="default-scheduler")

    @staticmethod
    def _too_large(pod: Json) -> str:
        """What a Pod asks more of than any node has; nothing that other Pods use is counted."""
        for name, most in _ALLOCATABLE.items():
            if pod_amount(pod, "requests", name) > parse(most):
                return name
        return ""

    def _node(self, pod: Json) -> str | None:
        wanted = pod["spec"].get("nodeSelector") or {}
        for key, item in self.store.collection("nodes").items():
            if item.obj["spec"].get("unschedulable"):
                continue
            if wanted.items() <= item.labels.items() and self._affine(pod, item.labels):
                return key[1]
        return None

    @staticmethod
    def _affine(pod: Json, labels: dict[str, str]) -> bool:
        affinity = ((pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}).get(
            "requiredDuringSchedulingIgnoredDuringExecution"
        )
        if not affinity:
            return True
        tests = {
            "In": lambda key, values: labels.get(key) in values,
            "NotIn": lambda key, values: labels.get(key) not in values,
            "Exists": lambda key, values: key in labels,
            "DoesNotExist": lambda key, values: key not in labels,
        }
        return any(
            all(
                tests[part["operator"]](part["key"], part.get("values") or ())
                for part in term.get("matchExpressions") or ()
            )
            for term in affinity["nodeSelectorTerms"]
        )
