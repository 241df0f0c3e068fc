"""Namespaces: what every new one gets, and how one goes."""

from __future__ import annotations

from datetime import UTC, datetime

from kubernetes_double.controllers.base import Controller
from kubernetes_double.serving.options import DeleteOptions
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import Event, Key, copied

_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


class NamespaceFurnisher(Controller):
    """Puts the service account `default` and the ConfigMap `kube-root-ca.crt` into each active namespace."""

    def begin(self) -> None:
        self.follow("namespaces", existing=True)
        self.follow("serviceaccounts", lambda event: [("", event.key[0])] if event.deleted else [])
        self.follow("configmaps", lambda event: [("", event.key[0])] if event.deleted else [])

    async def sync(self, key: Key) -> None:
        name = key[1]
        namespace = self.engine.peek("namespaces", "", name)
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            return
        if self.engine.peek("serviceaccounts", name, "default") is None:
            body: Json = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
            self.create(self.resource("serviceaccounts"), name, body)
        if self.engine.peek("configmaps", name, "kube-root-ca.crt") is None:
            metadata = {"name": "kube-root-ca.crt", "annotations": {"kubernetes.io/description": _DESCRIPTION}}
            body = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": metadata,
                "data": {"ca.crt": "CERTIFICATE DATA"},
            }
            self.create(self.resource("configmaps"), name, body)


class NamespaceRemover(Controller):
    """Empties namespaces that are being deleted, says what is still in them, and lets go of those that are empty."""

    def begin(self) -> None:
        self._begun: set[str] = set()
        self.follow(
            "namespaces", lambda event: [event.key] if event.before is None or _newly(event) else [], existing=True
        )

    async def sync(self, key: Key) -> None:
        namespace = self.engine.peek("namespaces", "", key[1])
        if namespace is None or "deletionTimestamp" not in namespace["metadata"]:
            return
        uid = namespace["metadata"]["uid"]
        if self.server.pace.namespace_delete and uid not in self._begun:
            self._begun.add(uid)
            self.enqueue(key, after=self.server.pace.namespace_delete)
            return
        left, held = self._empty(key[1])
        if not left:
            self._tell(namespace, {}, {})
            self._begun.discard(uid)
            resource = self.resource("namespaces")
            fresh = copied(self.engine.find(resource, "", key[1]).obj)
            fresh["spec"] = {"finalizers": []}
            self.engine.update(resource, "", key[1], fresh, self.options(), "finalize")
            return
        self._tell(namespace, left, held)
        self.enqueue(key, after=self.server.pace.namespace_check)

    def _empty(self, name: str) -> tuple[dict[str, int], dict[str, int]]:
        """Delete what can be deleted; what is left, by resource, and the finalizers that hold it."""
        left: dict[str, int] = {}
        held: dict[str, int] = {}
        every = [r for r in self.engine.registry.every() if r.namespaced and "delete" in r.verbs]
        for resource in sorted(every, key=lambda r: r.key != "pods"):
            if left.get("pods"):
                # Pods go first; what they may need goes after them.
                break
            collection = self.store.collection(resource.key)
            for _, item in list(collection.items(name)):
                try:
                    options = DeleteOptions(policy="Background")
                    self.engine.delete(resource, name, item.obj["metadata"]["name"], options, self.options())
                except ApiError:
                    continue
            for _, item in collection.items(name):
                left[resource.key] = left.get(resource.key, 0) + 1
                for finalizer in item.obj["metadata"].get("finalizers") or ():
                    held[finalizer] = held.get(finalizer, 0) + 1
        return left, held

    def _tell(self, namespace: Json, left: dict[str, int], held: dict[str, int]) -> None:
        remaining = "Some resources are remaining: " + ", ".join(
            f"{name}. has {count} resource instances" for name, count in sorted(left.items())
        )
        holding = "Some content in the namespace has finalizers remaining: " + ", ".join(
            f"{name} in {count} resource instances" for name, count in sorted(held.items())
        )
        told = [
            (
                "NamespaceDeletionDiscoveryFailure",
                "False",
                "ResourcesDiscovered",
                "All resources successfully discovered",
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                "False",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            (
                "NamespaceDeletionContentFailure",
                "False",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            ("NamespaceContentRemaining", "True", "SomeResourcesRemain", remaining)
            if left
            else ("NamespaceContentRemaining", "False", "ContentRemoved", "All content successfully removed"),
            ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain", holding)
            if held
            else (
                "NamespaceFinalizersRemaining",
                "False",
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished",
            ),
        ]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        before = {condition["type"]: condition for condition in namespace["status"].get("conditions") or ()}
        conditions = []
        for kind, status, reason, message in told:
            old = before.get(kind, {})
            moment = old["lastTransitionTime"] if old.get("status") == status else now
            conditions.append(
                {"type": kind, "status": status, "lastTransitionTime": moment, "reason": reason, "message": message}
            )

        def change(obj: Json) -> None:
            obj["status"]["conditions"] = conditions

        self.change(self.resource("namespaces"), namespace, change, sub="status")


def _newly(event: Event) -> bool:
    before = event.before
    return before is not None and "deletionTimestamp" not in before.obj["metadata"]
