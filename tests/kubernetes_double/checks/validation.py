"""422: what the API server checks beyond types."""

from __future__ import annotations

from typing import Any, Final

from kubernetes_double.checks.validation_kinds import CHECKS
from kubernetes_double.objects.fields import DuplicateKey, indexed, shown_path
from kubernetes_double.objects.resources import Resource
from kubernetes_double.objects.schema import Node
from kubernetes_double.objects.texts import (
    LABEL_TEXT,
    LABEL_VALUE_TEXT,
    NAME_PART_TEXT,
    SUBDOMAIN_TEXT,
    is_label_value,
    is_subdomain,
    matches_label,
    qualified_name,
)
from kubernetes_double.serving.status import Cause, Json, forbidden_field, invalid, required

_SHORT_NAMES: Final = frozenset({"namespaces"})
_STANDARD_FINALIZERS: Final = frozenset(
    {"orphan", "foregroundDeletion", "kubernetes", "customresourcecleanup.apiextensions.k8s.io"}
)
_ANY_NAME: Final = frozenset(
    {
        "roles.rbac.authorization.k8s.io",
        "rolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
    }
)


def _name(resource: Resource, name: str) -> list[Cause]:
    if resource.key in _ANY_NAME:
        return (
            []
            if "/" not in name and "%" not in name and name not in (".", "..")
            else [invalid("metadata.name", name, "may not contain '/'")]
        )
    if resource.key in _SHORT_NAMES:
        return _label(name, "metadata.name")
    if resource.key == "services":
        return _label(name, "metadata.name")
    if len(name) > 253:
        return [invalid("metadata.name", name, "must be no more than 253 characters")]
    return [] if is_subdomain(name) else [invalid("metadata.name", name, SUBDOMAIN_TEXT)]


def _label(name: str, field: str) -> list[Cause]:
    causes = []
    if len(name) > 63:
        causes.append(invalid(field, name, "must be no more than 63 characters"))
    if not matches_label(name):
        causes.append(invalid(field, name, LABEL_TEXT))
    return causes


def _qualified(key: str, field: str) -> list[Cause]:
    prefix, slash, name = key.rpartition("/")
    causes = []
    if slash and not is_subdomain(prefix):
        causes.append(invalid(field, key, f"prefix part {SUBDOMAIN_TEXT}"))
    if len(name) > 63:
        causes.append(invalid(field, key, "name part must be no more than 63 bytes"))
    if not qualified_name(name):
        causes.append(invalid(field, key, NAME_PART_TEXT))
    return causes


def label_causes(labels: Json, field: str) -> list[Cause]:
    causes: list[Cause] = []
    for key in sorted(labels):
        causes.extend(_qualified(key, field))
        value = labels[key]
        if len(value) > 63:
            causes.append(invalid(field, value, "must be no more than 63 bytes"))
        elif not is_label_value(value):
            causes.append(invalid(field, value, LABEL_VALUE_TEXT))
    return causes


def metadata(resource: Resource, obj: Json, old: Json | None) -> list[Cause]:
    """The part that all kinds share."""
    meta = obj["metadata"]
    causes: list[Cause] = []
    if old is None:
        name = meta.get("name")
        causes.extend(
            _name(resource, name) if name else [required("metadata.name", "name or generateName is required")]
        )
    causes.extend(label_causes(meta.get("labels") or {}, "metadata.labels"))
    annotations = meta.get("annotations") or {}
    for key in sorted(annotations):
        causes.extend(_qualified(key.lower(), "metadata.annotations"))
    size = sum(len(key.encode()) + len(str(value).encode()) for key, value in annotations.items())
    if size > 256 * 1024:
        causes.append(Cause("FieldValueTooLong", "metadata.annotations", "Too long: may not be more than 262144 bytes"))
    for index, finalizer in enumerate(meta.get("finalizers") or ()):
        field = f"metadata.finalizers[{index}]"
        if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
            causes.append(
                invalid(field, finalizer, "name is neither a standard finalizer name nor is it fully qualified")
            )
    causes.extend(_owners(meta.get("ownerReferences") or []))
    if old is not None:
        causes.extend(_unchanged(meta, old["metadata"]))
    return causes


def _owners(references: list[Json]) -> list[Cause]:
    causes: list[Cause] = []
    field = "metadata.ownerReferences"
    for reference in references:
        causes.extend(
            invalid(f"{field}.{name}", "", "must not be empty")
            for name in ("kind", "name", "uid")
            if not reference.get(name)
        )
    controllers = [reference for reference in references if reference.get("controller")]
    if len(controllers) > 1:
        first, second = (f"{reference['kind']}/{reference['name']}" for reference in controllers[:2])
        text = (
            f'Only one reference can have Controller set to true. Found "true" in references for {first} and {second}'
        )
        causes.append(invalid(field, references, text))
    return causes


def _unchanged(new: Json, old: Json) -> list[Cause]:
    causes: list[Cause] = []
    if "deletionTimestamp" in old:
        fresh = [item for item in new.get("finalizers") or () if item not in (old.get("finalizers") or ())]
        if fresh:
            listed = ", ".join(f'"{item}"' for item in fresh)
            text = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{listed}}}"
            causes.extend([forbidden_field("metadata.finalizers", text)] * 2)
    if new["uid"] != old["uid"]:
        causes.extend([invalid("metadata.uid", new["uid"], "field is immutable")] * 2)
    return causes


def kind(resource: Resource, obj: Json, old: Json | None) -> list[Cause]:
    """The part of a built-in kind."""
    if resource.custom is not None:
        return []
    check = CHECKS.get(resource.key)
    return check(obj, old) if check is not None else []


def typed(node: Node, value: Any, path: str, problems: list[str]) -> Any:
    """An applied configuration along its schema; what does not fit goes to `problems` in the words of the server."""
    if value is None:
        return value
    if node.kind in ("object", "map"):
        if not isinstance(value, dict):
            problems.append(f"{path}: expected map, got {_typed_name(value)}")
            return value
        for key in sorted(value, key=str):
            if node.kind == "map":
                typed(node.item, value[key], f"{path}.{key}", problems)
            elif key in node.fields:
                typed(node.fields[key], value[key], f"{path}.{key}", problems)
            elif not node.preserve:
                problems.append(f"{path}.{key}: field not declared in schema")
        return value
    if node.kind == "list":
        if not isinstance(value, list):
            problems.append(f"{path}: expected list, got {_typed_name(value)}")
            return value
        try:
            if node.list_type in ("map", "set"):
                indexed(node, value, ())
        except DuplicateKey as exc:
            problems.append(f"{path}: duplicate entries for key {shown_path((exc.element,))}")
        for item in value:
            typed(node.item, item, f"{path}[]", problems)
        return value
    expected = {
        "integer": "numeric (int or float)",
        "number": "numeric (int or float)",
        "boolean": "boolean",
        "string": "string",
    }
    fits = {
        "integer": isinstance(value, (int, float)) and not isinstance(value, bool),
        "number": isinstance(value, (int, float)) and not isinstance(value, bool),
        "boolean": isinstance(value, bool),
        "string": isinstance(value, str),
    }
    if not fits.get(node.kind, True):
        problems.append(f"{path}: expected {expected[node.kind]}, got {_typed_name(value)}")
    return value


def _typed_name(value: Any) -> str:
    return {bool: "boolean", int: "int", float: "float", str: "string", list: "list", dict: "map"}.get(
        type(value), "null"
    )
