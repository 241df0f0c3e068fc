"""CustomResourceDefinitions: established a moment after they are made; emptied before they go."""

from __future__ import annotations

from kubernetes_double.controllers.base import Controller
from kubernetes_double.objects.clock import stamp
from kubernetes_double.objects.definitions import FINALIZER, is_established
from kubernetes_double.serving.options import DeleteOptions
from kubernetes_double.serving.status import ApiError, Json
from kubernetes_double.storage.store import Key

_KEY = "customresourcedefinitions.apiextensions.k8s.io"


class DefinitionController(Controller):
    """Keys are definitions."""

    def begin(self) -> None:
        self.follow(_KEY, existing=True)

    def _tell(self, definition: Json, *conditions: tuple[str, str, str, str]) -> Json:
        def change(fresh: Json) -> None:
            status = fresh["status"]
            names = fresh["spec"]["names"]
            status["acceptedNames"] = {**names}
            known = {item["type"]: item for item in status.get("conditions") or ()}
            for kind, value, reason, message in conditions:
                old = known.get(kind, {})
                moment = old["lastTransitionTime"] if old.get("status") == value else stamp()
                known[kind] = {
                    "type": kind,
                    "status": value,
                    "lastTransitionTime": moment,
                    "reason": reason,
                    "message": message,
                }
            status["conditions"] = list(known.values())

        return self.change(
            self.resource("customresourcedefinitions", "apiextensions.k8s.io"), definition, change, sub="status"
        )

    async def sync(self, key: Key) -> None:
        definition = self.engine.peek("customresourcedefinitions", *key, group="apiextensions.k8s.io")
        if definition is None:
            return
        if "deletionTimestamp" in definition["metadata"]:
            self._empty(definition)
            return
        if is_established(definition):
            self.server.controllers.garbage.watch_new()
            return
        text = "the initial names have been accepted"
        if not definition["status"].get("conditions"):
            accepted = ("NamesAccepted", "True", "NoConflicts", "no conflicts found")
            self._tell(definition, accepted, ("Established", "False", "Installing", text))
            self.enqueue(key, after=self.server.pace.establish)
            return
        if self._timers.get(key) is None:
            self._tell(definition, ("Established", "True", "InitialNamesAccepted", text))

    def _empty(self, definition: Json) -> None:
        finalizers = definition["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return
        text = "CustomResource deletion is in progress"
        definition = self._tell(definition, ("Terminating", "True", "InstanceDeletionInProgress", text))
        spec = definition["spec"]
        resource = self.resource(spec["names"]["plural"], spec["group"])
        for (namespace, name), _ in list(self.store.collection(resource.key).items()):
            try:
                self.engine.delete(resource, namespace, name, DeleteOptions(policy="Background"), self.options())
            except ApiError:
                continue
        if self.store.collection(resource.key).count():
            self.enqueue(("", definition["metadata"]["name"]), after=0.05)
            return

        def change(fresh: Json) -> None:
            fresh["metadata"]["finalizers"] = [name for name in finalizers if name != FINALIZER]

        self.change(self.resource("customresourcedefinitions", "apiextensions.k8s.io"), definition, change)
