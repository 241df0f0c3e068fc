"""Admission: what is asked about a write before it is stored, beyond its being valid."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING

from kubernetes_double.checks import admission_pods, pod_security, quotas
from kubernetes_double.objects.quantity import parse
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.options import WriteOptions
from kubernetes_double.serving.status import Cause, Json, forbidden, not_found
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine

_IMMORTAL = frozenset({"default", "kube-system", "kube-public"})
_TEMPLATED = frozenset({"deployments.apps", "replicasets.apps", "statefulsets.apps", "daemonsets.apps"})


@dataclass
class Request:
    """One write under admission."""

    verb: str
    resource: Resource
    namespace: str
    obj: Json
    old: Json | None
    options: WriteOptions
    sub: str = ""


class Admission:
    """The admission plug-ins of a default API server that matter here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._addresses = itertools.count(1)
        self.furnished = True
        """Whether namespaces get their service account `default`."""

    def next_address(self) -> str:
        """The cluster address of a Service; nothing listens there."""
        number = next(self._addresses)
        return f"10.{96 + number // 65536}.{number // 256 % 256}.{number % 256}"

    def mutate(self, request: Request) -> None:
        """Raises `ApiError` 403 and 404."""
        self._lifecycle(request)
        if request.resource.key == "pods" and request.verb == "CREATE":
            pod = request.obj
            admission_pods.limit_ranges(self._engine, pod, request.namespace)
            admission_pods.service_account(self._engine, pod, request.namespace, furnished=self.furnished)
            admission_pods.priority(self._engine, pod)
            admission_pods.tolerations(pod)
            admission_pods.runtime_class(self._engine, pod)

    def validate(self, request: Request) -> None:
        """Raises `ApiError` 403."""
        if request.verb == "DELETE":
            name = request.obj["metadata"]["name"]
            if request.resource.key == "namespaces" and name in _IMMORTAL:
                raise forbidden("", "namespaces", name, "this namespace may not be deleted")
            return
        if request.resource.key == "pods" and request.verb == "CREATE":
            admission_pods.check_limits(self._engine, request.obj, request.namespace)
        self._pod_security(request)
        if request.verb == "CREATE":
            self._quota(request)

    def _lifecycle(self, request: Request) -> None:
        if request.verb != "CREATE" or not request.resource.namespaced:
            return
        namespace = self._engine.peek("namespaces", "", request.namespace)
        if namespace is None:
            raise not_found("", "namespaces", request.namespace)
        if namespace["status"].get("phase") == "Terminating" or "deletionTimestamp" in namespace["metadata"]:
            raise forbidden(
                request.resource.group,
                request.resource.plural,
                request.obj["metadata"].get("name", ""),
                f"unable to create new content in namespace {request.namespace} because it is being terminated",
                [
                    Cause(
                        "NamespaceTerminating",
                        "metadata.namespace",
                        f"namespace {request.namespace} is being terminated",
                    )
                ],
            )

    def _pod_security(self, request: Request) -> None:
        key = request.resource.key
        if key == "namespaces" and request.verb == "UPDATE" and request.old is not None:
            self._changed_level(request)
            return
        if key == "pods":
            if request.verb != "CREATE":
                return
            spec = request.obj["spec"]
        elif key in _TEMPLATED and not request.sub:
            spec = request.obj["spec"]["template"]["spec"]
        else:
            return
        namespace = self._engine.peek("namespaces", "", request.namespace)
        if key == "pods":
            level = pod_security.level_of(namespace, pod_security.ENFORCE)
            found = pod_security.violations(level, spec)
            if found:
                text = pod_security.text(level, found).replace("violate ", "violates ", 1)
                raise forbidden("", "pods", request.obj["metadata"]["name"], text)
        level = pod_security.level_of(namespace, pod_security.WARN)
        found = pod_security.violations(level, spec)
        if found:
            request.options.warnings.append(f"would {pod_security.text(level, found)}")

    def _changed_level(self, request: Request) -> None:
        """Warn of Pods that are there already and violate the new level."""
        level = pod_security.level_of(request.obj, pod_security.ENFORCE)
        if level == pod_security.level_of(request.old, pod_security.ENFORCE):
            return
        name = request.obj["metadata"]["name"]
        lines = []
        for (_, pod_name), item in self._engine.store.collection("pods").items(name):
            found = pod_security.violations(level, item.obj["spec"])
            if found:
                lines.append(f"{pod_name}: {', '.join(what for what, _ in found)}")
        if lines:
            head = f'existing pods in namespace "{name}" violate the new PodSecurity enforce level "{level}:latest"'
            request.options.warnings.extend([head, *lines])

    def _quota(self, request: Request) -> None:
        """Refuse what is beyond a quota; note what is used otherwise."""
        resource = request.resource
        name = request.obj["metadata"]["name"]
        for _, item in list(self._engine.store.collection("resourcequotas").items(request.namespace)):
            quota = item.obj
            hard, used = quota["status"].get("hard"), quota["status"].get("used")
            if not hard or not used:
                continue
            if resource.key == "pods":
                missing = quotas.missing(quota, request.obj)
                if missing:
                    text = "; ".join(f"{key} for: {','.join(names)}" for key, names in sorted(missing.items()))
                    text = f"failed quota: {quota['metadata']['name']}: must specify {text}"
                    raise forbidden(resource.group, resource.plural, name, text)
            charge = {
                key: value
                for key, value in quotas.charge(quota, resource.key, request.obj).items()
                if key in hard and value
            }
            over = [
                key for key, value in sorted(charge.items()) if value + parse(used.get(key, "0")) > parse(hard[key])
            ]
            if over:
                parts = (
                    ",".join(f"{key}={quotas.shown(key, charge[key])}" for key in over),
                    ",".join(f"{key}={used[key]}" for key in over),
                    ",".join(f"{key}={hard[key]}" for key in over),
                )
                text = f"exceeded quota: {quota['metadata']['name']}, requested: {parts[0]}, used: {parts[1]}, limited: {parts[2]}"
                raise forbidden(resource.group, resource.plural, name, text)
            if charge and not request.options.dry_run:
                self._charge(quota, charge)

    def _charge(self, quota: Json, charge: dict[str, Decimal]) -> None:
        fresh = copied(quota)
        used = fresh["status"]["used"]
        for key, value in charge.items():
            used[key] = quotas.shown(key, parse(used.get(key, "0")) + value)
        metadata = quota["metadata"]
        self._engine.store.put("resourcequotas", (metadata["namespace"], metadata["name"]), fresh)
