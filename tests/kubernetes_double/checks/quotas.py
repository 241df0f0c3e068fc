"""What a ResourceQuota counts."""

from __future__ import annotations

from decimal import Decimal

from kubernetes_double.objects.quantity import parse, written
from kubernetes_double.serving.status import Json
from kubernetes_double.storage.store import Store

_OBJECTS = {
    "pods": "pods",
    "services": "services",
    "secrets": "secrets",
    "configmaps": "configmaps",
    "persistentvolumeclaims": "persistentvolumeclaims",
    "replicationcontrollers": "replicationcontrollers",
    "resourcequotas": "resourcequotas",
}
_BINARY = ("memory", "storage")


def _resource_of(name: str) -> str:
    """The resource whose objects `name` counts; empty when it counts no objects."""
    if name.startswith("count/"):
        return name.removeprefix("count/")
    return _OBJECTS.get(name, "")


def _compute(name: str) -> tuple[str, str]:
    """`requests` or `limits`, and the resource; empty when `name` is about objects."""
    if _resource_of(name) or ("." in name and not name.startswith(("requests.", "limits."))):
        return "", ""
    side, dot, resource = name.partition(".")
    return (side, resource) if dot else ("requests", name)


def pod_amount(pod: Json, side: str, resource: str) -> Decimal:
    total = Decimal(0)
    for container in pod["spec"].get("containers") or ():
        value = ((container.get("resources") or {}).get(side) or {}).get(resource)
        if value is not None:
            total += parse(value)
    largest = max(
        (
            parse(value)
            for container in pod["spec"].get("initContainers") or ()
            if (value := ((container.get("resources") or {}).get(side) or {}).get(resource)) is not None
        ),
        default=Decimal(0),
    )
    total = max(total, largest)
    overhead = (pod["spec"].get("overhead") or {}).get(resource)
    return total + parse(overhead) if overhead is not None and total else total


def is_counted(pod: Json) -> bool:
    return pod["status"].get("phase") not in ("Failed", "Succeeded")


def missing(quota: Json, pod: Json) -> dict[str, list[str]]:
    """Compute resources under quota that containers do not name."""
    found: dict[str, list[str]] = {}
    for name in sorted(quota["spec"].get("hard") or {}):
        side, resource = _compute(name)
        if not side:
            continue
        for container in [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]:
            if resource not in ((container.get("resources") or {}).get(side) or {}):
                found.setdefault(name, []).append(container["name"])
    return found


def charge(quota: Json, resource_key: str, obj: Json) -> dict[str, Decimal]:
    """What a new object adds to each name under quota."""
    found: dict[str, Decimal] = {}
    for name in quota["spec"].get("hard") or {}:
        if _resource_of(name) == resource_key:
            found[name] = Decimal(1)
        elif resource_key == "pods":
            side, resource = _compute(name)
            if side:
                found[name] = pod_amount(obj, side, resource)
    return found


def shown(name: str, value: Decimal) -> str:
    return written(value, binary=any(part in name for part in _BINARY))


def usage(store: Store, namespace: str, quota: Json) -> dict[str, str]:
    totals: dict[str, Decimal] = {}
    for name in sorted(quota["spec"].get("hard") or {}):
        resource = _resource_of(name)
        if resource:
            inside = store.collection(resource).spaces.get(namespace, {})
            count = sum(resource != "pods" or is_counted(item.obj) for item in inside.values())
            totals[name] = Decimal(count)
            continue
        side, compute = _compute(name)
        if side:
            inside = store.collection("pods").spaces.get(namespace, {})
            totals[name] = sum(
                (pod_amount(i.obj, side, compute) for i in inside.values() if is_counted(i.obj)), Decimal(0)
            )
    return {name: shown(name, value) for name, value in totals.items()}
