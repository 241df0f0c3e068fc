"""The few objects that kubectl and Helm send as protobuf, brought into JSON.

The envelope is `k8s\\0` and a `runtime.Unknown`; the numbers of the fields are those of the published .proto files
(k8s.io/api/core/v1 and k8s.io/apimachinery/pkg/apis/meta/v1).
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any, Final

from kubernetes_double.serving.status import Json

_MAGIC: Final = b"k8s\x00"
_META: Final = {1: "name", 2: "generateName", 3: "namespace", 11: "labels", 12: "annotations", 14: "finalizers"}
_ATTRIBUTES: Final = {
    1: (
        "resourceAttributes",
        {1: "namespace", 2: "verb", 3: "group", 4: "version", 5: "resource", 6: "subresource", 7: "name"},
    ),
    2: ("nonResourceAttributes", {1: "path", 2: "verb"}),
}
_KINDS: Final[dict[str, dict[int, str]]] = {
    "Namespace": {2: "spec:skip", 3: "status:skip"},
    "ServiceAccount": {},
    "ConfigMap": {2: "data"},
    "Secret": {2: "data:bytes", 3: "type", 4: "stringData"},
}


def decode(body: bytes) -> Json:
    """Raises `ValueError` for a kind or a field that is not known here."""
    if not body.startswith(_MAGIC):
        raise ValueError("no protobuf envelope")
    envelope = dict(_fields(body[len(_MAGIC) :]))
    kind_of = dict(_fields(envelope[1]))
    api_version, kind = kind_of[1].decode(), kind_of[2].decode()
    if (api_version, kind) == ("authorization.k8s.io/v1", "SelfSubjectAccessReview"):
        return {"apiVersion": api_version, "kind": kind, "spec": _review(dict(_fields(envelope[2])).get(2, b""))}
    if kind == "DeleteOptions":
        return {"apiVersion": api_version, "kind": kind, **_delete_options(envelope.get(2, b""))}
    if api_version != "v1" or kind not in _KINDS:
        raise ValueError(f"{api_version} {kind} is not read as protobuf here")
    obj: Json = {"apiVersion": api_version, "kind": kind, "metadata": {}}
    for number, value in _fields(envelope[2]):
        if number == 1:
            obj["metadata"] = _metadata(value)
        elif number in _KINDS[kind]:
            name, _, form = _KINDS[kind][number].partition(":")
            if form == "skip":  # set by the server
                continue
            if name == "type":
                obj[name] = value.decode()
                continue
            key, inner = _entry(value)
            obj.setdefault(name, {})[key] = base64.b64encode(inner).decode() if form else inner.decode()
        elif value not in (b"", 0):
            raise ValueError(f"field {number} of {kind} is not read as protobuf here")
    return obj


def _delete_options(raw: bytes) -> Json:
    out: Json = {}
    for number, value in _fields(raw):
        if number == 1:
            out["gracePeriodSeconds"] = value
        elif number == 2:
            words = {1: "uid", 2: "resourceVersion"}
            out["preconditions"] = {words[n]: inner.decode() for n, inner in _fields(value)}
        elif number == 3:
            out["orphanDependents"] = bool(value)
        elif number == 4:
            out["propagationPolicy"] = value.decode()
        elif number == 5:
            out.setdefault("dryRun", []).append(value.decode())
    return out


def _review(raw: bytes) -> Json:
    spec: Json = {}
    for number, value in _fields(raw):
        name, words = _ATTRIBUTES[number]
        spec[name] = {words[n]: inner.decode() for n, inner in _fields(value) if n in words and inner}
    return spec


def _metadata(raw: bytes) -> Json:
    out: Json = {}
    for number, value in _fields(raw):
        name = _META.get(number, "")
        if name in ("labels", "annotations"):
            key, inner = _entry(value)
            out.setdefault(name, {})[key] = inner.decode()
        elif name == "finalizers":
            out.setdefault(name, []).append(value.decode())
        elif name and value:
            out[name] = value.decode()
    return out


def _entry(raw: bytes) -> tuple[str, bytes]:
    found = dict(_fields(raw))
    return found.get(1, b"").decode(), found.get(2, b"")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(raw: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(raw, at)
            yield number, raw[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire}")
