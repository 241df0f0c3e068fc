"""The types of the API: from its OpenAPI documents, and from the schemas of custom resources.

A `Node` is what decoding, patching and server-side apply need to know of one place in an object. The official JSON schemas
(package kubernetes-validate) have the last word on what is written, see `Official`.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Final

import jsonschema_rs
import msgspec
from kubernetes_validate import utils as official

from kubernetes_double.serving.status import Json

DATA: Final = Path(__file__).parents[1] / "data"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_OFFICIAL_VERSION: Final = "1.36.0"

_ZERO_IS_ABSENT: Final = frozenset(
    {
        # Fields that are no pointers in the server: their zero value and their absence are the same.
        *("minReadySeconds", "hostPort", "nodePort", "initialDelaySeconds", "observedGeneration", "count"),
        *("readyReplicas", "updatedReplicas", "availableReplicas", "unavailableReplicas", "fullyLabeledReplicas"),
        *("healthCheckNodePort", "paused", "hostNetwork", "hostPID", "hostIPC", "stdin", "stdinOnce", "tty"),
        *("readOnly", "publishNotReadyAddresses", "deprecated", "unschedulable", "preserveUnknownFields"),
        "generation",
    }
)


class Node:
    """One place in an object: its kind of value, and what is below it."""

    def __init__(self, schema: Mapping[str, Any], definitions: Mapping[str, Any], name: str = "") -> None:
        self._definitions = definitions
        outer = schema
        reference = ""
        while True:
            ref = schema.get("$ref")
            if ref is None and len(schema.get("allOf") or ()) == 1 and "$ref" in schema["allOf"][0]:
                ref = schema["allOf"][0]["$ref"]
            if ref is None:
                break
            reference = str(ref).rpartition("/")[2]
            schema = definitions[reference]
        self.schema = schema
        self.definition = reference
        """Name of the definition, such as `io.k8s.api.core.v1.PodSpec`."""
        self.name = name
        self.has_default = "default" in outer
        self.default = outer.get("default")
        self.required = frozenset(schema.get("required") or ())
        self.preserve = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
        self.embedded = bool(schema.get("x-kubernetes-embedded-resource"))
        self.list_type = outer.get("x-kubernetes-list-type") or schema.get("x-kubernetes-list-type") or "atomic"
        self.keys: tuple[str, ...] = tuple(outer.get("x-kubernetes-list-map-keys") or ())
        self.atomic = (outer.get("x-kubernetes-map-type") or schema.get("x-kubernetes-map-type")) == "atomic"
        self.merge_key: str = outer.get("x-kubernetes-patch-merge-key") or ""
        self.strategies = frozenset(str(outer.get("x-kubernetes-patch-strategy") or "").split(","))
        self.kind = self._kind(schema, reference)
        self.zero_is_absent = name in _ZERO_IS_ABSENT
        if self.kind == "list" and self.item.definition.endswith(".ContainerPort"):
            self.keys = ("containerPort", "protocol")

    def _kind(self, schema: Mapping[str, Any], reference: str) -> str:
        short = reference.rpartition(".")[2]
        if short == "Quantity":
            return "quantity"
        if (
            short == "IntOrString"
            or schema.get("x-kubernetes-int-or-string")
            or schema.get("format") == "int-or-string"
        ):
            return "int-or-string"
        if short in ("Time", "MicroTime"):
            return "time"
        if short in ("FieldsV1", "RawExtension", "JSON", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrArray"):
            return "any"
        kind = schema.get("type")
        if kind == "object":
            if schema.get("properties"):
                return "object"
            if schema.get("additionalProperties"):
                return "map"
            return "object" if reference or not self.preserve else "any"
        if kind == "array":
            return "list"
        if kind == "string" and schema.get("format") == "byte":
            return "bytes"
        return str(kind) if kind else "any"

    @cached_property
    def fields(self) -> dict[str, Node]:
        return {
            name: Node(schema, self._definitions, name)
            for name, schema in (self.schema.get("properties") or {}).items()
        }

    @cached_property
    def item(self) -> Node:
        """What a list or a map holds."""
        inner = self.schema.get("items") if self.kind == "list" else self.schema.get("additionalProperties")
        return Node(inner if isinstance(inner, Mapping) else {}, self._definitions)

    @property
    def go_name(self) -> str:
        """The type as the server's decoder names it."""
        plain = {"integer": str(self.schema.get("format") or "int64"), "boolean": "bool", "number": "float64"}
        if self.kind in plain:
            return plain[self.kind]
        if self.kind == "bytes":
            return "[]uint8"
        if self.kind == "string":
            return "string"
        if self.kind == "list":
            return f"[]{self.item.go_name}"
        if self.kind == "map":
            return f"map[string]{self.item.go_name}"
        parts = self.definition.split(".")
        return f"{parts[-2]}.{parts[-1]}" if len(parts) > 1 else "map[string]interface {}"

    @property
    def struct(self) -> str:
        return self.definition.rpartition(".")[2]


@lru_cache(maxsize=1)
def documents() -> dict[str, Json]:
    """The OpenAPI documents by path (`api/v1`, `apis/apps/v1`)."""
    found: dict[str, Json] = {}
    for file in sorted((DATA / "openapi").glob("*.json.gz")):
        path = file.name.removesuffix(".json.gz").replace("__", "/")
        found[path] = msgspec.json.decode(gzip.decompress(file.read_bytes()))
    return found


@lru_cache(maxsize=1)
def definitions() -> dict[str, Json]:
    merged: dict[str, Json] = {}
    for document in documents().values():
        merged.update(document["components"]["schemas"])
    return merged


@lru_cache(maxsize=1)
def _by_kind() -> dict[tuple[str, str, str], str]:
    found: dict[tuple[str, str, str], str] = {}
    for name, schema in definitions().items():
        for entry in schema.get("x-kubernetes-group-version-kind") or ():
            found.setdefault((entry["group"], entry["version"], entry["kind"]), name)
    return found


@lru_cache(maxsize=256)
def node_of(group: str, version: str, kind: str) -> Node:
    """The type of a built-in kind. Raises `KeyError`."""
    name = _by_kind()[group, version, kind]
    return Node({"$ref": f"#/{name}"}, definitions())


@lru_cache(maxsize=1)
def metadata_node() -> Node:
    return Node({"$ref": f"#/{_META}ObjectMeta"}, definitions())


def custom_node(schema: Mapping[str, Any]) -> Node:
    """The type of a custom resource with a structural schema."""
    properties = dict(schema.get("properties") or {})
    properties["apiVersion"] = properties["kind"] = {"type": "string"}
    properties["metadata"] = {"$ref": f"#/{_META}ObjectMeta"}
    return Node({**schema, "type": "object", "properties": properties}, definitions())


class Official:
    """The official JSON schemas, compiled once per kind."""

    def __init__(self) -> None:
        self._validators: dict[tuple[str, str], Any] = {}
        self._shared: Any = None

    def complaint(self, obj: Json) -> str | None:
        """Why `obj` is not valid; None when it is, or when there is no schema of its kind."""
        key = (str(obj.get("apiVersion")), str(obj.get("kind")))
        if key not in self._validators:
            self._validators[key] = self._load(*key)
        validator = self._validators[key]
        if validator is None:
            return None
        for error in validator.iter_errors(obj):
            path = ".".join(str(part) for part in error.instance_path)
            return f"{path or 'object'}: {error.message[:300]}"
        return None

    def _load(self, api_version: str, kind: str) -> Any:
        folder = "kubernetes-json-schema/v1.36.0-local"
        short = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
        try:
            schema = official.schema_contents(f"{folder}/{kind.lower()}-{short}.json", _OFFICIAL_VERSION)
        except FileNotFoundError:
            return None
        if self._shared is None:
            self._shared = official.schema_contents(f"{folder}/_definitions.json", _OFFICIAL_VERSION)
        whole = msgspec.json.decode(msgspec.json.encode(schema).replace(b'"/api/_definitions.json#', b'"#'))
        return jsonschema_rs.validator_for({**whole, "$defs": self._shared["$defs"]})
