"""The scale subresource: one number of a Deployment, a ReplicaSet, a StatefulSet or a custom resource."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kubernetes_double.objects import patch
from kubernetes_double.objects.definitions import look_up, put_at
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.decode import parse_json
from kubernetes_double.serving.negotiation import Form
from kubernetes_double.serving.status import Json, bad_request, invalid, invalid_object, method_not_allowed
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.checks.rbac import User
    from kubernetes_double.serving.app import Answer, Call
    from kubernetes_double.serving.handlers import Handlers, Target

_PATHS = (".spec.replicas", ".status.replicas")


def _paths(resource: Resource) -> tuple[str, str, str]:
    if resource.custom is None:
        return (*_PATHS, "")
    scale = resource.custom.scale
    return scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", "")


def view(resource: Resource, obj: Json) -> Json:
    """The Scale of an object."""
    wanted, observed, selector = _paths(resource)
    metadata = {
        name: obj["metadata"][name]
        for name in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        if name in obj["metadata"]
    }
    count = look_up(obj, wanted)
    status: Json = {"replicas": look_up(obj, observed) or 0}
    if resource.custom is None:
        labels = (obj["spec"].get("selector") or {}).get("matchLabels") or {}
        text = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
    else:
        text = str(look_up(obj, selector) or "") if selector else ""
    if text:
        status["selector"] = text
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": {"replicas": count} if count else {},
        "status": status,
    }


async def handle(handlers: Handlers, call: Call, target: Target, user: User, form: Form) -> Answer:
    engine, resource = handlers.engine, target.resource
    space = target.namespace if resource.namespaced else ""
    obj = engine.find(resource, space, target.name).obj
    current = view(resource, obj)
    if call.method in ("GET", "HEAD"):
        return handlers.encoded(200, current, form)
    if call.method == "PUT":
        new, options = handlers.body(call, resource, user, "UpdateOptions", body_kind="Scale")
    elif call.method == "PATCH":
        options = handlers.patch_options(call, target, user)
        new = _patched(current, call)
    else:
        raise method_not_allowed()
    count: Any = (new.get("spec") or {}).get("replicas") or 0
    if isinstance(count, bool) or not isinstance(count, int):
        raise bad_request(f"Scale.spec.replicas: {count!r} is no number")
    if count < 0:
        cause = invalid("spec.replicas", count, "must be greater than or equal to 0")
        raise invalid_object("autoscaling", "Scale", target.name, [cause])
    version = (new.get("metadata") or {}).get("resourceVersion")
    changed = copied(obj)
    put_at(changed, _paths(resource)[0], count)
    if version:
        changed["metadata"]["resourceVersion"] = version
    elif call.method == "PUT" and resource.custom is None:
        changed["metadata"].pop("resourceVersion")
    stored = engine.update(resource, target.namespace, target.name, changed, options, "scale")
    return handlers.encoded(200, view(resource, stored), form)


def _patched(current: Json, call: Call) -> Json:
    try:
        change = parse_json(call.body)
    except ValueError as exc:
        raise bad_request(f"error decoding patch: {exc}") from exc
    before = {**current, "metadata": {k: v for k, v in current["metadata"].items() if k != "resourceVersion"}}
    if call.content_type == "application/json-patch+json":
        result: Json = patch.json_patch(current, change)
        return result
    merged: Json = patch.merge_patch(before, change)
    return merged
