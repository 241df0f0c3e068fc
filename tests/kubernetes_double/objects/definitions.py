"""Custom resources: what a CustomResourceDefinition makes of the server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from kubernetes_double.objects import schema
from kubernetes_double.objects.resources import Resource, Subresource
from kubernetes_double.serving.status import Cause, Json, go_quote, invalid, required, shown, unsupported
from kubernetes_double.serving.tables import age
from kubernetes_double.storage.store import copied

if TYPE_CHECKING:
    from kubernetes_double.storage.engine import Engine

FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_UNCHECKED: Final = (
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors "
    "to complete validation"
)
_EQUAL: Final = re.compile(r"^\s*(self|oldSelf)((?:\.\w+)*)\s*==\s*(self|oldSelf)((?:\.\w+)*)\s*$")


def _kind_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return {int: "integer", float: "number", str: "string", list: "array", dict: "object"}.get(type(value), "null")


class Version:
    """One version of a custom resource: its schema, subresources and columns."""

    def __init__(self, definition: Json, version: Json) -> None:
        self._definition = definition
        self._version = version
        self.schema: Json = (version.get("schema") or {}).get("openAPIV3Schema") or {}
        subs = version.get("subresources") or {}
        self.scale: Json | None = subs.get("scale")
        self.has_status = "status" in subs
        self.selectable = tuple(str(field["jsonPath"]).lstrip(".") for field in version.get("selectableFields") or ())

    @cached_property
    def node(self) -> schema.Node:
        return schema.custom_node(self.schema)

    @cached_property
    def _has_rules(self) -> bool:
        return "x-kubernetes-validations" in str(self.schema)

    def fill(self, obj: Json) -> None:
        """The defaults of the schema, in place."""
        _fill(self.schema, obj)

    def check(self, obj: Json, old: Json | None, sub: str = "") -> list[Cause]:
        """422 by the schema and by the rules of the form `self.x == oldSelf.x`."""
        causes: list[Cause] = []
        for name, part in (self.schema.get("properties") or {}).items():
            if name in obj and name not in ("metadata", "kind", "apiVersion"):
                prefix = "" if sub == "status" and name == "status" else name
                causes.extend(_check(part, obj[name], name, prefix))
        missing = [required(name) for name in self.schema.get("required") or () if name not in obj]
        causes = missing + causes
        causes.extend(self._scale_causes(obj))
        hard = [cause for cause in causes if cause.reason in ("FieldValueRequired", "FieldValueTypeInvalid")]
        if hard and self._has_rules:
            causes.append(Cause("FieldValueInvalid", "<nil>", _UNCHECKED))
        elif not hard and old is not None:
            causes.extend(_rules(self.schema, obj, old, ""))
        return causes

    def _scale_causes(self, obj: Json) -> Iterator[Cause]:
        if self.scale is None:
            return
        for name in ("specReplicasPath", "statusReplicasPath"):
            path = self.scale[name]
            value = look_up(obj, path)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
                kind = {float: "float64", str: "string", bool: "bool"}.get(type(value), "object")
                text = f"Invalid value: 0: {path} accessor error: {value} is of the type {kind}, expected int64"
                yield Cause("FieldValueInvalid", path, text)

    def columns(self) -> tuple[list[Json], list[Callable[[Json], Any]]]:
        definitions: list[Json] = []
        cells: list[Callable[[Json], Any]] = []
        columns = self._version.get("additionalPrinterColumns") or [
            {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
        ]
        for column in columns:
            path = column["jsonPath"]
            text = column.get("description") or f"Custom resource definition column (in JSONPath format): {path}"
            definitions.append(
                {
                    "name": column["name"],
                    "type": column["type"],
                    "format": column.get("format", ""),
                    "description": text,
                    "priority": column.get("priority", 0),
                }
            )
            cells.append(_date_cell(path) if column["type"] == "date" else _cell(path))
        return definitions, cells


def _cell(path: str) -> Callable[[Json], Any]:
    return lambda obj: look_up(obj, path)


def _date_cell(path: str) -> Callable[[Json], Any]:
    return lambda obj: age(str(look_up(obj, path) or ""))


def look_up(obj: Any, path: str) -> Any:
    """A simple JSON path: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`, `.spec.list[0]`."""
    for name, index, key, value in re.findall(
        r"\.([\w\\./-]+?)(?=[.\[]|$)|\[(\d+)\]|\[\?\(@\.(\w+)==[\"']([^\"']*)[\"']\)\]", path
    ):
        if name:
            obj = obj.get(name.replace("\\.", ".")) if isinstance(obj, dict) else None
        elif index:
            obj = obj[int(index)] if isinstance(obj, list) and int(index) < len(obj) else None
        elif isinstance(obj, list):
            obj = next((item for item in obj if isinstance(item, dict) and item.get(key) == value), None)
        if obj is None:
            return None
    return obj


def put_at(obj: Json, path: str, value: Any) -> None:
    *parents, last = path.lstrip(".").split(".")
    for name in parents:
        obj = obj.setdefault(name, {})
    obj[last] = value


def _fill(part: Mapping[str, Any], value: Any) -> None:
    if isinstance(value, dict):
        for name, below in (part.get("properties") or {}).items():
            if name not in value and "default" in below:
                value[name] = copied(below["default"])
            if name in value:
                _fill(below, value[name])
        extra = part.get("additionalProperties")
        if isinstance(extra, Mapping):
            for inner in value.values():
                _fill(extra, inner)
    elif isinstance(value, list) and isinstance(part.get("items"), Mapping):
        for inner in value:
            _fill(part["items"], inner)


_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "integer": (int,),
    "number": (int, float),
}


def _check(part: Mapping[str, Any], value: Any, field: str, body: str) -> Iterator[Cause]:
    """`body` is how the text calls the field."""
    name = body or field.rpartition(".")[2]
    if part.get("x-kubernetes-int-or-string"):
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            yield _wrong_type(field, name, "integer or string", value)
        return
    kind = part.get("type")
    if value is None and part.get("nullable"):
        return
    if kind in _TYPES:
        fits = isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        if not fits:
            yield _wrong_type(field, name, kind, value)
            return
    below = f"{body}." if body else ""
    if isinstance(value, dict):
        yield from (required(f"{field}.{key}") for key in part.get("required") or () if key not in value)
        properties = part.get("properties") or {}
        extra = part.get("additionalProperties")
        for key in sorted(value):
            if key in properties:
                yield from _check(properties[key], value[key], f"{field}.{key}", f"{below}{key}")
            elif isinstance(extra, Mapping):
                yield from _check(extra, value[key], f"{field}.{key}", f"{below}{key}")
    elif isinstance(value, list):
        if "maxItems" in part and len(value) > part["maxItems"]:
            text = f"must have at most {part['maxItems']} items"
            yield Cause("FieldValueTooMany", field, f"Too many: {len(value)}: {text}")
        if "minItems" in part and len(value) < part["minItems"]:
            yield invalid(field, len(value), f"{name} in body should have at least {part['minItems']} items")
        for index, inner in enumerate(value):
            yield from _check(part.get("items") or {}, inner, f"{field}[{index}]", f"{body}[{index}]")
    else:
        yield from _check_value(part, value, field, name)


def _wrong_type(field: str, name: str, kind: str, value: Any) -> Cause:
    given = go_quote(_kind_of(value))
    return Cause(
        "FieldValueTypeInvalid", field, f"Invalid value: {given}: {name} in body must be of type {kind}: {given}"
    )


def _check_value(part: Mapping[str, Any], value: Any, field: str, name: str) -> Iterator[Cause]:
    if "enum" in part and value not in part["enum"]:
        yield unsupported(field, value, [str(choice) for choice in part["enum"]])
    if isinstance(value, str):
        if len(value) < part.get("minLength", 0):
            yield invalid(field, value, f"{name} in body should be at least {part['minLength']} chars long")
        if "maxLength" in part and len(value) > part["maxLength"]:
            yield Cause("FieldValueTooLong", field, f"Too long: may not be more than {part['maxLength']} bytes")
        if "pattern" in part and not re.search(part["pattern"], value):
            yield invalid(field, value, f"{name} in body should match '{part['pattern']}'")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        if "minimum" in part and value < part["minimum"]:
            yield invalid(field, value, f"{name} in body should be greater than or equal to {part['minimum']}")
        if "maximum" in part and value > part["maximum"]:
            yield invalid(field, value, f"{name} in body should be less than or equal to {part['maximum']}")


def _rules(part: Mapping[str, Any], new: Any, old: Any, field: str) -> Iterator[Cause]:
    for rule in part.get("x-kubernetes-validations") or ():
        match = _EQUAL.match(rule["rule"])
        if match is None:
            continue
        sides = [
            look_up({"self": new, "oldSelf": old}[who], path or "")
            for who, path in (match.group(1, 2), match.group(3, 4))
        ]
        if sides[0] != sides[1]:
            yield Cause(
                "FieldValueInvalid", field, f"Invalid value: {rule.get('message') or 'failed rule: ' + rule['rule']}"
            )
    if isinstance(new, dict) and isinstance(old, dict):
        for name, below in (part.get("properties") or {}).items():
            if name in new and name in old:
                yield from _rules(below, new[name], old[name], f"{field}.{name}" if field else name)


def _scale_resource() -> Subresource:
    return Subresource("scale", "autoscaling", "v1", "Scale", ("get", "patch", "update"))


def resources_of(definition: Json) -> list[Resource]:
    """The resources that a definition serves, one for each version."""
    spec, found = definition["spec"], []
    names = spec["names"]
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        custom = Version(definition, version)
        subs = {}
        if custom.has_status:
            subs["status"] = Subresource("status", "", "", names["kind"], ("get", "patch", "update"))
        if custom.scale is not None:
            subs["scale"] = _scale_resource()
        found.append(
            Resource(
                spec["group"],
                version["name"],
                names["plural"],
                names["kind"],
                spec["scope"] == "Namespaced",
                verbs=_VERBS,
                singular=names.get("singular") or names["kind"].lower(),
                short=tuple(names.get("shortNames") or ()),
                categories=tuple(names.get("categories") or ()),
                subresources=subs,
                custom=custom,
                list_kind=names.get("listKind") or f"{names['kind']}List",
            )
        )
    return found


def check_definition(obj: Json, old: Json | None) -> list[Cause]:
    """422 of a CustomResourceDefinition itself."""
    spec, causes = obj.get("spec") or {}, []
    names = spec.get("names") or {}
    name = obj["metadata"].get("name", "")
    if name != f"{names.get('plural')}.{spec.get('group')}":
        causes.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if sum(bool(version.get("storage")) for version in spec.get("versions") or ()) != 1:
        stored = [version["name"] for version in spec.get("versions") or ()]
        text = f"Invalid value: {shown(stored)}: must have exactly one version marked as storage version"
        causes.append(Cause("FieldValueInvalid", "spec.versions", text))
    for index, version in enumerate(spec.get("versions") or ()):
        part = (version.get("schema") or {}).get("openAPIV3Schema")
        if not part:
            causes.append(required(f"spec.versions[{index}].schema.openAPIV3Schema"))
            continue
        causes.extend(_structural(part, "spec.validation.openAPIV3Schema"))
    return causes


def _structural(part: Mapping[str, Any], field: str) -> Iterator[Cause]:
    free = part.get("x-kubernetes-int-or-string") or part.get("x-kubernetes-preserve-unknown-fields")
    if not part.get("type") and not free:
        yield required(f"{field}.type", "must not be empty for specified object fields")
    for name, below in (part.get("properties") or {}).items():
        yield from _structural(below, f"{field}.properties[{name}]")
    if isinstance(part.get("additionalProperties"), Mapping):
        yield from _structural(part["additionalProperties"], f"{field}.additionalProperties")
    if isinstance(part.get("items"), Mapping):
        yield from _structural(part["items"], f"{field}.items")


def is_established(definition: Json) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


class Definitions:
    """Keeps the registry in step with the definitions in the store."""

    def __init__(self, engine: Engine, on_change: Callable[[str], None]) -> None:
        """`on_change` is given the key of a resource whose schema changed: its open watches end."""
        self._engine = engine
        self._on_change = on_change

    def changed(self, old: Json | None, new: Json | None) -> None:
        definition = new if new is not None else old
        if definition is None:
            return
        spec = definition["spec"]
        group, plural = spec["group"], spec["names"]["plural"]
        registry = self._engine.registry
        if new is None:
            registry.drop(group, plural)
            self._on_change(f"{plural}.{group}")
            self._engine.store.forget(f"{plural}.{group}")
            return
        if old is not None and old["spec"] == new["spec"]:
            return
        registry.drop(group, plural)
        for resource in resources_of(new):
            registry.add(resource)
        if old is not None:
            self._on_change(f"{plural}.{group}")

    def of(self, resource: Resource) -> Json | None:
        return self._engine.peek(
            "customresourcedefinitions", "", f"{resource.plural}.{resource.group}", group="apiextensions.k8s.io"
        )
