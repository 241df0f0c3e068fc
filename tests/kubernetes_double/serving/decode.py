"""Request bodies: parsed, pruned and checked for types as the API server's decoder does, with its texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import yaml

from kubernetes_double.objects.formats import base64_text, time_text
from kubernetes_double.objects.quantity import canonical
from kubernetes_double.objects.schema import Node
from kubernetes_double.serving.status import ApiError, Json, bad_request

_JSON_NAMES = {dict: "object", list: "array", str: "string", bool: "bool", int: "number", float: "number"}


class _Doubled(dict[str, Any]):
    """An object in which keys came twice."""

    doubled: tuple[str, ...] = ()


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    merged = _Doubled()
    doubled: list[str] = []
    for key, value in pairs:
        if key in merged:
            doubled.append(key)
            if isinstance(value, dict) and isinstance(merged[key], dict):
                value = {**merged[key], **value}
        merged[key] = value
    merged.doubled = tuple(dict.fromkeys(doubled))
    return merged


def parse_json(body: bytes) -> Any:
    """Raises `ValueError` with the text of Go's parser."""
    if not body.strip():
        raise ValueError("unexpected end of JSON input")
    try:
        return json.loads(body, object_pairs_hook=_pairs)
    except UnicodeDecodeError as exc:
        raise ValueError("invalid character in string literal") from exc
    except json.JSONDecodeError as exc:
        if exc.pos >= len(exc.doc.rstrip()):
            raise ValueError("unexpected end of JSON input") from exc
        char = exc.doc[exc.pos]
        raise ValueError(f"invalid character {_go_rune(char)} looking for beginning of value") from exc


def _go_rune(char: str) -> str:
    return f"'{char}'" if char.isprintable() and ord(char) < 0x7F else f"'\\u{ord(char):04x}'"


def parse_body(body: bytes, content_type: str, kind: str) -> Any:
    """The body of a POST or PUT. Raises `ApiError`."""
    if content_type == "application/yaml":
        try:
            return yaml.safe_load(body)
        except yaml.YAMLError as exc:
            raise bad_request(f"the object provided is unrecognized (must be of type {kind}): {exc}") from exc
    try:
        value = parse_json(body)
    except ValueError as exc:
        shown = body.decode("utf-8", "replace") or "<empty>"
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; "
            f"json parse error: {exc} ({shown})"
        ) from exc
    if value is None:
        return {}
    if not isinstance(value, dict):
        name = _JSON_NAMES.get(type(value), "object")
        struct = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
        raise bad_request(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse "
            f"error: json: cannot unmarshal {name} into Go value of type {struct} ({body.hex()})"
        )
    return value


class WrongType(Exception):
    """A value of another type than the field's; the text is the decoder's."""


class Decoder:
    """Walks a value along its type: drops what is unknown, empty or null, and brings quantities into their one form."""

    def __init__(self, *, custom: bool = False) -> None:
        """`custom`: values of a wrong type and empty ones stay; the schema has its say later."""
        self.problems: list[str] = []
        self._custom = custom

    def object(self, node: Node, value: Any, *, path: str = "", go_path: str = "", struct: str = "") -> Any:
        handler = _HANDLERS.get(node.kind)
        if handler is None:
            return value
        if self._custom and path and not path.startswith("metadata"):
            if node.kind in ("quantity", "time", "bytes", "int-or-string"):
                return value
            try:
                return handler(self, node, value, path, go_path, struct)
            except WrongType:
                return value
        return handler(self, node, value, path, go_path, struct)

    def _wrong(self, node: Node, value: Any, go_path: str, struct: str) -> WrongType:
        name = _JSON_NAMES.get(type(value), "value")
        if name == "number" and node.kind == "integer":
            name = f"number {value}"
        return WrongType(
            f"json: cannot unmarshal {name} into Go struct field {struct}.{go_path} of type {node.go_name}"
        )

    def _struct(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if not isinstance(value, dict):
            raise self._wrong(node, value, go_path, struct)
        if isinstance(value, _Doubled):
            self.problems.extend(f'duplicate field "{_join(path, key)}"' for key in value.doubled)
        inner_struct = node.struct or struct
        out: Json = {}
        fields = node.fields
        for key, inner in value.items():
            below = fields.get(key)
            if below is None:
                if node.preserve:
                    out[key] = inner
                    continue
                self.problems.append(f'unknown field "{_join(path, key)}"')
                continue
            if inner is None:
                if self._custom and below.schema.get("nullable"):
                    out[key] = None
                continue
            taken = self.object(below, inner, path=_join(path, key), go_path=_join(go_path, key), struct=inner_struct)
            free = self._custom and not path.startswith("metadata")
            if not free and _absent(below, taken, key in node.required):
                continue
            out[key] = taken
        return out

    def _map(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if not isinstance(value, dict):
            raise self._wrong(node, value, go_path, struct)
        if isinstance(value, _Doubled):
            self.problems.extend(f'duplicate field "{_join(path, key)}"' for key in value.doubled)
        item = node.item
        out: Json = {}
        for key, inner in value.items():
            if inner is None:
                if item.kind in ("string", "bytes"):
                    out[key] = ""
                continue
            if item.kind in ("string", "bytes") and not isinstance(inner, str):
                raise self._wrong(item, inner, go_path, struct)
            out[key] = self.object(item, inner, path=f"{path}.{key}", go_path=go_path, struct=struct)
        return out

    def _list(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if not isinstance(value, list):
            raise self._wrong(node, value, go_path, struct)
        item = node.item
        return [
            self.object(item, {} if inner is None else inner, path=f"{path}[{index}]", go_path=go_path, struct=struct)
            for index, inner in enumerate(value)
        ]

    def _string(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if not isinstance(value, str):
            raise self._wrong(node, value, go_path, struct)
        return value

    def _bytes(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        text = self._string(node, value, path, go_path, struct)
        try:
            return base64_text(text)
        except ValueError as exc:
            raise WrongType(str(exc)) from exc

    def _time(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        text = self._string(node, value, path, go_path, struct)
        try:
            return time_text(text, micro=node.definition.endswith(".MicroTime"))
        except ValueError as exc:
            raise WrongType(str(exc)) from exc

    def _integer(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._wrong(node, value, go_path, struct)
        bits = 31 if node.schema.get("format") == "int32" else 63
        if not -(2**bits) <= value < 2**bits:
            raise self._wrong(node, value, go_path, struct)
        return value

    def _number(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._wrong(node, value, go_path, struct)
        return value

    def _boolean(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if not isinstance(value, bool):
            raise self._wrong(node, value, go_path, struct)
        return value

    def _quantity(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        try:
            return canonical(value)
        except ValueError as exc:
            raise WrongType(str(exc)) from exc

    def _int_or_string(self, node: Node, value: Any, path: str, go_path: str, struct: str) -> Any:
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise self._wrong(node, value, go_path, struct)
        return value


_HANDLERS: dict[str, Callable[[Decoder, Node, Any, str, str, str], Any]] = {
    "object": Decoder._struct,
    "map": Decoder._map,
    "list": Decoder._list,
    "string": Decoder._string,
    "bytes": Decoder._bytes,
    "time": Decoder._time,
    "integer": Decoder._integer,
    "number": Decoder._number,
    "boolean": Decoder._boolean,
    "quantity": Decoder._quantity,
    "int-or-string": Decoder._int_or_string,
}


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _absent(node: Node, value: Any, is_required: bool) -> bool:
    if is_required:
        return False
    if node.kind in ("list", "map"):
        return not value
    if node.kind == "string":
        return value == ""
    return bool(node.zero_is_absent and value in (0, False))


def as_bad_request(kind: str, version: str, text: str) -> ApiError:
    return bad_request(f'{kind} in version "{version}" cannot be handled as a {kind}: {text}')
