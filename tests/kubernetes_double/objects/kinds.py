"""What is special about single kinds when they are created, changed or deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kubernetes_double.objects.defaults import quality_of_service
from kubernetes_double.objects.definitions import FINALIZER
from kubernetes_double.objects.resources import Resource
from kubernetes_double.serving.status import Json

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine

DEFINITIONS: Final = "customresourcedefinitions.apiextensions.k8s.io"
RETURNED: Final = frozenset({"pods", "serviceaccounts", "resourcequotas", "services", "persistentvolumeclaims"})
"""Kinds of which a DELETE answers the object, not a Status."""


def prepare_create(engine: Engine, resource: Resource, obj: Json) -> None:
    """Fields that the server sets whatever the client said."""
    if resource.key == "namespaces":
        finalizers = obj["spec"].setdefault("finalizers", [])
        if "kubernetes" not in finalizers:
            finalizers.append("kubernetes")
        obj["status"] = {"phase": "Active"}
    elif resource.key == "pods":
        obj["status"] = {"phase": "Pending", "qosClass": quality_of_service(obj["spec"])}
    elif resource.key == "services":
        _addresses(engine, obj, None)
    elif resource.key == DEFINITIONS:
        stored = [version["name"] for version in obj["spec"].get("versions") or () if version.get("storage")]
        obj["status"] = {"conditions": None, "acceptedNames": {"kind": "", "plural": ""}, "storedVersions": stored}


def prepare_update(engine: Engine, resource: Resource, old: Json, new: Json, sub: str) -> None:
    if resource.key == "namespaces":
        if sub != "finalize":
            new["spec"] = {
                **new.get("spec", {}),
                **({"finalizers": old["spec"]["finalizers"]} if "finalizers" in old["spec"] else {}),
            }
        if sub != "status":
            new["status"] = old["status"]
    elif resource.key == "services" and sub != "status":
        _addresses(engine, new, old)
    elif resource.key == DEFINITIONS and sub != "status":
        stored = [version["name"] for version in new["spec"].get("versions") or () if version.get("storage")]
        known = list((new.get("status") or {}).get("storedVersions") or ())
        new.setdefault("status", {})["storedVersions"] = known + [name for name in stored if name not in known]


def prepare_delete(resource: Resource, obj: Json) -> None:
    if resource.key == "namespaces":
        obj["status"] = {**obj["status"], "phase": "Terminating"}
    elif resource.key == DEFINITIONS and FINALIZER not in (obj["metadata"].get("finalizers") or ()):
        obj["metadata"].setdefault("finalizers", []).append(FINALIZER)
        obj["metadata"].pop("deletionGracePeriodSeconds", None)
        text = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
        conditions = obj["status"].get("conditions") or []
        obj["status"]["conditions"] = [
            *conditions,
            {
                "type": "Terminating",
                "status": "True",
                "lastTransitionTime": obj["metadata"]["deletionTimestamp"],
                "reason": "InstanceDeletionPending",
                "message": text,
            },
        ]


def keeps(resource: Resource, obj: Json) -> bool:
    """Whether something other than metadata.finalizers holds an object that is being deleted."""
    if resource.key == "namespaces":
        return bool(obj.get("spec", {}).get("finalizers"))
    if resource.key == DEFINITIONS:
        return FINALIZER not in (obj["metadata"].get("finalizers") or ()) and "deletionTimestamp" not in obj["metadata"]
    return resource.key == "pods" and bool(obj["metadata"].get("deletionGracePeriodSeconds"))


def grace(resource: Resource, obj: Json, wanted: int | None) -> int | None:
    """Seconds that a deletion waits; None when the kind knows no grace."""
    if resource.key != "pods":
        return None
    spec = obj["spec"]
    seconds = wanted if wanted is not None else int(spec.get("terminationGracePeriodSeconds", 30))
    if not spec.get("nodeName") or obj["status"].get("phase") in ("Failed", "Succeeded"):
        return 0
    return max(seconds, 1) if wanted is None or wanted != 0 else 0


def _addresses(engine: Engine, obj: Json, old: Json | None) -> None:
    spec = obj["spec"]
    if spec.get("type") == "ExternalName":
        return
    if old is not None:
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
            if name in old["spec"]:
                spec.setdefault(name, old["spec"][name])
        return
    if "clusterIP" not in spec:
        spec["clusterIP"] = engine.admission.next_address()
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
