"""Admission of Pods: runtime class, limit ranges, service account, priority, tolerations."""

from __future__ import annotations

import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from kubernetes_double.objects.quantity import parse, written
from kubernetes_double.serving.status import Json, forbidden
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine

_MOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def _refused(pod: Json, text: str) -> Exception:
    metadata = pod["metadata"]
    return forbidden("", "pods", metadata.get("name") or metadata.get("generateName", ""), text)


def runtime_class(engine: Engine, pod: Json) -> None:
    """Overhead, node selector and tolerations of the class. Raises `ApiError` 403."""
    spec = pod["spec"]
    name = spec.get("runtimeClassName")
    if not name:
        return
    found = engine.peek("runtimeclasses", "", name, group="node.k8s.io")
    if found is None:
        raise _refused(pod, f'pod rejected: RuntimeClass "{name}" not found')
    overhead = (found.get("overhead") or {}).get("podFixed")
    if spec.get("overhead") and spec["overhead"] != overhead:
        raise _refused(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
    if overhead:
        spec["overhead"] = copied(overhead)
    scheduling = found.get("scheduling") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        given = (spec.get("nodeSelector") or {}).get(key)
        if given is not None and given != value:
            text = f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; pod.spec.nodeSelector[{key}] = {given}"
            raise _refused(pod, text)
        spec.setdefault("nodeSelector", {})[key] = value
    for toleration in scheduling.get("tolerations") or ():
        if toleration not in (spec.get("tolerations") or ()):
            spec.setdefault("tolerations", []).append(copied(toleration))


def tolerations(pod: Json) -> None:
    spec = pod["spec"]
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        known = [
            t
            for t in spec.get("tolerations") or ()
            if t.get("key") in (key, None, "") and t.get("effect") in ("NoExecute", None, "")
        ]
        if not known:
            added = {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
            spec.setdefault("tolerations", []).append(added)


def priority(engine: Engine, pod: Json) -> None:
    """Raises `ApiError` 403 for a class that is not there."""
    spec = pod["spec"]
    name = spec.get("priorityClassName")
    built_in = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}
    if name and name not in built_in:
        raise _refused(pod, f"no PriorityClass with name {name} was found")
    spec["priority"] = built_in.get(name, 0) if name else 0
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def service_account(engine: Engine, pod: Json, namespace: str, *, furnished: bool) -> None:
    """Raises `ApiError` 403 for an account that is not there."""
    spec = pod["spec"]
    name = spec.get("serviceAccountName") or "default"
    account = engine.peek("serviceaccounts", namespace, name)
    if account is None and (name != "default" or furnished):
        text = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise _refused(pod, text)
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = account or {}
    if account.get("imagePullSecrets") and not spec.get("imagePullSecrets"):
        spec["imagePullSecrets"] = copied(account["imagePullSecrets"])
    wanted = spec.get("automountServiceAccountToken", account.get("automountServiceAccountToken", True))
    if not wanted:
        return
    volume = "kube-api-access-" + "".join(random.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))
    mounted = False
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            if any(mount["mountPath"] == _MOUNT for mount in container.get("volumeMounts") or ()):
                continue
            mount = {"name": volume, "readOnly": True, "mountPath": _MOUNT}
            container.setdefault("volumeMounts", []).append(mount)
            mounted = True
    if mounted:
        spec.setdefault("volumes", []).append({"name": volume, "projected": _token_volume()})


def _token_volume() -> Json:
    field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    certificate = {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
    sources: list[Any] = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": certificate},
        {"downwardAPI": {"items": [field]}},
    ]
    return {"sources": sources, "defaultMode": 420}


def limit_ranges(engine: Engine, pod: Json, namespace: str) -> None:
    """Defaults of the namespace's LimitRanges."""
    notes: list[str] = []
    for _, item in engine.store.collection("limitranges").items(namespace):
        for limit in item.obj["spec"]["limits"]:
            if limit["type"] != "Container":
                continue
            for kind, word in (("containers", "container"), ("initContainers", "init container")):
                for container in pod["spec"].get(kind) or ():
                    notes.extend(_fill(container, limit, word))
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations["kubernetes.io/limit-ranger"] = "LimitRanger plugin set: " + "; ".join(notes)


def _fill(container: Json, limit: Json, word: str) -> list[str]:
    notes = []
    resources = container.setdefault("resources", {})
    for side, source, singular in (("requests", "defaultRequest", "request"), ("limits", "default", "limit")):
        set_here = []
        for name, value in sorted((limit.get(source) or {}).items()):
            if name not in (resources.get(side) or {}):
                resources.setdefault(side, {})[name] = value
                set_here.append(name)
        if set_here:
            notes.append(f"{', '.join(set_here)} {singular} for {word} {container['name']}")
    return notes


def check_limits(engine: Engine, pod: Json, namespace: str) -> None:
    """Raises `ApiError` 403 with every violation in one text."""
    problems: list[str] = []
    for _, item in engine.store.collection("limitranges").items(namespace):
        for limit in item.obj["spec"]["limits"]:
            if limit["type"] == "Container":
                for container in [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]:
                    resources = container.get("resources") or {}
                    problems.extend(_violations(limit, resources.get("requests") or {}, resources.get("limits") or {}))
            elif limit["type"] == "Pod":
                problems.extend(_violations(limit, _sum(pod, "requests"), _sum(pod, "limits")))
    if problems:
        raise _refused(pod, problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")


def _sum(pod: Json, side: str) -> dict[str, str]:
    totals: dict[str, Decimal] = {}
    for container in pod["spec"].get("containers") or ():
        for name, value in ((container.get("resources") or {}).get(side) or {}).items():
            totals[name] = totals.get(name, Decimal(0)) + parse(value)
    return {name: written(value, binary=name == "memory") for name, value in totals.items()}


def _violations(limit: Json, requests: Json, limits: Json) -> list[str]:
    kind, found = limit["type"], []
    for name, least in sorted((limit.get("min") or {}).items()):
        text = f"minimum {name} usage per {kind} is {least}"
        if name not in requests:
            found.append(f"{text}.  No request is specified")
        elif parse(requests[name]) < parse(least):
            found.append(f"{text}, but request is {requests[name]}")
        elif name in limits and parse(limits[name]) < parse(least):
            found.append(f"{text}, but limit is {limits[name]}")
    for name, most in sorted((limit.get("max") or {}).items()):
        text = f"maximum {name} usage per {kind} is {most}"
        if name not in limits:
            found.append(f"{text}.  No limit is specified")
        elif parse(limits[name]) > parse(most):
            found.append(f"{text}, but limit is {limits[name]}")
        elif name in requests and parse(requests[name]) > parse(most):
            found.append(f"{text}, but request is {requests[name]}")
    for name, ratio in sorted((limit.get("maxLimitRequestRatio") or {}).items()):
        text = f"{name} max limit to request ratio per {kind} is {ratio}"
        if name not in requests or name not in limits:
            found.append(f"{text}, but no request is specified or request is 0")
            continue
        given = parse(limits[name]) / parse(requests[name])
        if given > parse(ratio):
            found.append(f"{text}, but provided ratio is {float(given):f}")
    return found
