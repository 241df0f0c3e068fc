"""ResourceQuotas: what is used, once in a while counted anew."""

from __future__ import annotations

from kubernetes_double.checks.quotas import usage
from kubernetes_double.controllers.base import Controller
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Event, Key


class QuotaController(Controller):
    """Keys are ResourceQuotas."""

    def begin(self) -> None:
        self.follow("resourcequotas", existing=True)
        for resource in ("pods", "secrets", "configmaps", "services", "deployments.apps", "replicasets.apps"):
            self.follow(resource, self._freed)

    def _freed(self, event: Event) -> list[Key]:
        over = event.item.obj.get("status", {}).get("phase") in ("Failed", "Succeeded")
        if not event.deleted and not over:
            return []
        return [key for key, _ in self.store.collection("resourcequotas").items(event.key[0])]

    async def sync(self, key: Key) -> None:
        quota = self.engine.peek("resourcequotas", *key)
        if quota is None:
            return
        hard = quota["spec"].get("hard") or {}
        status: Json = {}
        if hard:
            status = {"hard": hard, "used": usage(self.store, key[0], quota)}
        if status != quota.get("status"):
            self.change(self.resource("resourcequotas"), quota, lambda fresh: fresh.update(status=status), sub="status")
