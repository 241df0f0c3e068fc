"""Label and field selectors: parsed as the API server does, with its error texts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kubernetes_double.serving.status import Json, bad_request

_TOKEN = re.compile(r"\s*(!=|==|=|!|,|\(|\)|<|>|[^\s!=,()<>]+)")
_QUALIFIED = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)$")


@dataclass(frozen=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.key in labels
        if self.operator == "exists":
            return present
        if self.operator == "absent":
            return not present
        if self.operator == "in":
            return present and labels[self.key] in self.values
        if self.operator == "notin":
            return not present or labels[self.key] not in self.values
        if not present:
            return False
        try:
            left, right = int(labels[self.key]), int(next(iter(self.values)))
        except ValueError:
            return False
        return left > right if self.operator == "gt" else left < right


Selector = Callable[[Mapping[str, str]], bool]
"""Says whether labels match."""


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens: list[str] = []
        position = 0
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                break
            self._tokens.append(match.group(1))
            position = match.end()
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        if not self._tokens:
            return found
        while True:
            found.append(self._requirement())
            token = self._next()
            if not token:
                return found
            if token != ",":
                raise bad_request(f"found '{token}', expected: ',' or 'end of string'")
            if not self._peek():
                raise bad_request("found '', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        token = self._next()
        if token == "!":
            key = self._key(self._next())
            return Requirement(key, "absent")
        key = self._key(token)
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        if operator in ("=", "==", "!="):
            value = self._peek()
            if value in ("", ","):
                value = ""
            elif value in ("=", "==", "!=", "!", "(", ")", "<", ">"):
                raise bad_request(f"found '{value}', expected: identifier")
            else:
                self._next()
            return Requirement(key, "notin" if operator == "!=" else "in", frozenset({value}))
        if operator in ("<", ">"):
            return Requirement(key, "gt" if operator == ">" else "lt", frozenset({self._next()}))
        if operator in ("in", "notin"):
            return Requirement(key, operator, self._values())
        raise bad_request(f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt")

    def _key(self, token: str) -> str:
        name = token.rpartition("/")[2]
        if not token or token in ("=", "==", "!=", "!", "(", ")", "<", ">", ","):
            raise bad_request(f"unable to parse requirement: found '{token}', expected: identifier")
        if not _QUALIFIED.match(name):
            raise bad_request(
                f'unable to parse requirement: <nil>: Invalid value: "{token}": name part must consist of alphanumeric '
                "characters, '-', '_' or '.', and must start and end with an alphanumeric character (e.g. 'MyName',  or "
                "'my.name',  or '123-abc', regex used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            )
        return token

    def _values(self) -> frozenset[str]:
        if (token := self._next()) != "(":
            raise bad_request(f"found '{token}', expected: '('")
        values: set[str] = set()
        value = ""
        while True:
            token = self._next()
            if token == "":
                raise bad_request("found '', expected: ',', ')' or identifier")
            if token in (",", ")"):
                values.add(value)
                value = ""
                if token == ")":
                    return frozenset(values)
            else:
                value = token


def label_selector(text: str) -> Sequence[Requirement]:
    """Parse a `labelSelector` parameter. Raises `ApiError` 400."""
    return _Parser(text).parse()


def object_selector(selector: Mapping[str, Any] | None) -> Selector:
    """The LabelSelector inside an object, such as a Deployment's."""
    if selector is None:
        return lambda labels: False
    found = [Requirement(key, "in", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    found.extend(
        Requirement(item["key"], operators[item["operator"]], frozenset(item.get("values") or ()))
        for item in selector.get("matchExpressions") or ()
    )
    return lambda labels: all(requirement.matches(labels) for requirement in found)


_COMMON = ("metadata.name", "metadata.namespace")
_MORE_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "services": ("spec.clusterIP", "spec.type"),
    "nodes": ("spec.unschedulable",),
    "replicationcontrollers": ("status.replicas",),
    "replicasets": ("status.replicas",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


def field_selector(
    text: str, resource: str, *, extra: Sequence[str] = (), custom: bool = False
) -> Callable[[Json], bool]:
    """Parse a `fieldSelector` parameter. Raises `ApiError` 400."""
    terms: list[tuple[str, str, str]] = []
    for part in text.split(","):
        if not part:
            continue
        match = re.match(r"^(.*?)(!=|==|=)(.*)$", part)
        if match is None:
            raise bad_request(f"invalid selector: '{part}'; can't understand '{part}'")
        terms.append((match.group(1), match.group(2), match.group(3)))
    known = (*_COMMON, *_MORE_FIELDS.get(resource, ()), *extra)
    for label, _, _ in terms:
        if label not in known:
            if resource in _MORE_FIELDS or custom:
                raise bad_request(f"field label not supported: {label}")
            raise bad_request(f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"')

    def matches(item: Json) -> bool:
        return all((_field(item, label) == value) == (operator != "!=") for label, operator, value in terms)

    return matches


def _field(item: Any, path: str) -> str:
    for part in path.split("."):
        item = item.get(part) if isinstance(item, dict) else None
    if item is None:
        return ""
    if isinstance(item, bool):
        return "true" if item else "false"
    return str(item)
