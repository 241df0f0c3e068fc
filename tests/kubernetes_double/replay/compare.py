"""Where a recorded answer and ours differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from kubernetes_double.replay.names import Names, plain
from kubernetes_double.serving.status import Json

_TIMES: Final = re.compile(r"(Time|Timestamp|time|startedAt|finishedAt|At)$")
_FREE: Final = frozenset(
    {
        *(
            "uid",
            "resourceVersion",
            "continue",
            "clusterIP",
            "clusterIPs",
            "podIP",
            "podIPs",
            "hostIP",
            "hostIPs",
            "ip",
        ),
        *("containerID", "imageID", "token", "gitCommit", "serverAddress", "storageVersionHash", "pod-template-hash"),
        *("hash", "generateName", "etag", "last-modified"),
    }
)
"""Present on both sides, of any value."""


@dataclass
class Rules:
    """What one transcript does not say, or what is none of the double's business; each with the reason."""

    without_managed_fields: bool = True
    cut_pods: bool = False
    """Specs and annotations of Pods are only in part in the transcript."""
    ignored: Mapping[str, str] = field(default_factory=dict)
    """Regular expressions of paths that are not compared."""
    ignored_at: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """The same for single steps."""
    subset_at: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Lists of which the transcript shows only a part, by step."""
    skipped: Mapping[int, str] = field(default_factory=dict)
    """Steps that are sent but whose answer is not compared."""


class Comparison:
    """Compares under one set of rules."""

    def __init__(self, rules: Rules, names: Names, *, subsets: tuple[str, ...] = ()) -> None:
        self._rules = rules
        self._subsets = [re.compile(pattern) for pattern in subsets]
        self._names = names
        self._ignored = [re.compile(pattern) for pattern in rules.ignored]

    def under(self, names: Names) -> Comparison:
        """The same with other names."""
        return Comparison(self._rules, names)

    def at(self, step: int) -> Comparison:
        """With the rules of one step on top."""
        more, parts = self._rules.ignored_at.get(step, {}), self._rules.subset_at.get(step, {})
        if not more and not parts:
            return self
        rules = replace(self._rules, ignored={**self._rules.ignored, **more}, ignored_at={}, subset_at={})
        return Comparison(rules, self._names, subsets=tuple(parts))

    def differences(self, recorded: Any, actual: Any, path: str = "") -> Iterator[str]:
        if any(pattern.search(path) for pattern in self._ignored):
            return
        key = path.rpartition(".")[2].partition("[")[0]
        if isinstance(recorded, dict):
            if not isinstance(actual, dict):
                yield f"{path}: {_short(recorded)} != {_short(actual)}"
                return
            yield from self._objects(recorded, actual, path)
        elif isinstance(recorded, list):
            if not isinstance(actual, list):
                yield f"{path}: {_short(recorded)} != {_short(actual)}"
                return
            yield from self._lists(recorded, actual, path, key)
        elif key in _FREE or _TIMES.search(key):
            if (recorded is None) != (actual is None):
                yield f"{path}: {_short(recorded)} != {_short(actual)}"
        elif isinstance(recorded, str) and isinstance(actual, str):
            if plain(self._names.text(recorded)) != plain(actual):
                yield f"{path}: {_short(recorded)} != {_short(actual)}"
        elif recorded != actual:
            yield f"{path}: {_short(recorded)} != {_short(actual)}"

    def projected(self, value: Any, path: str = "", *, theirs: bool) -> Any:
        """A value without what is not compared, its texts made plain: equal projections are equal states."""
        key = path.rpartition(".")[2].partition("[")[0]
        if isinstance(value, dict):
            out: Json = {}
            for name, inner in value.items():
                here = f"{path}.{name}" if path else name
                skipped = any(pattern.search(here) for pattern in self._ignored)
                if skipped or (name == "managedFields" and self._rules.without_managed_fields):
                    continue
                if self._rules.cut_pods and name != "nodeName" and _is_cut(path, value, name):
                    continue
                out[self._names.text(name) if theirs else name] = self.projected(inner, here, theirs=theirs)
            return out
        if isinstance(value, list):
            if key == "managedFields":
                value = sorted((e for e in value if e["manager"] != "kube-controller-manager"), key=_owner)
            return [self.projected(inner, f"{path}[{at}]", theirs=theirs) for at, inner in enumerate(value)]
        if key in _FREE or _TIMES.search(key):
            return value is None
        if isinstance(value, str):
            return plain(self._names.text(value) if theirs else value)
        return value

    def _objects(self, recorded: Json, actual: Json, path: str) -> Iterator[str]:
        known = {self._names.text(key) if len(key) > 4 else key: key for key in recorded}
        for ours, theirs in known.items():
            here = f"{path}.{theirs}" if path else theirs
            if ours not in actual:
                if not any(pattern.search(here) for pattern in self._ignored):
                    yield f"{here}: missing, should be {_short(recorded[theirs])}"
                continue
            yield from self.differences(recorded[theirs], actual[ours], here)
        for key in actual:
            if key in known:
                continue
            here = f"{path}.{key}" if path else key
            if key == "managedFields" and self._rules.without_managed_fields:
                continue
            if self._rules.cut_pods and _is_cut(path, recorded, key):
                continue
            if any(pattern.search(here) for pattern in self._ignored):
                continue
            yield f"{here}: should not be there, is {_short(actual[key])}"

    def _in_their_order(self, recorded: list[Any], actual: list[Any]) -> list[Any]:
        """A list is ordered by names, and generated names are others now."""
        try:
            ours = {item["metadata"]["name"]: item for item in actual}
            wanted = [self._names.text(item["metadata"]["name"]) for item in recorded]
        except (KeyError, TypeError):
            return actual
        return [ours[name] for name in wanted] if sorted(wanted) == sorted(ours) else actual

    def _lists(self, recorded: list[Any], actual: list[Any], path: str, key: str) -> Iterator[str]:
        if key in ("clusterIPs", "podIPs", "hostIPs"):
            return
        if key == "managedFields":
            recorded = [entry for entry in recorded if entry["manager"] != "kube-controller-manager"]
            actual = [entry for entry in actual if entry["manager"] != "kube-controller-manager"]
            recorded, actual = sorted(recorded, key=_owner), sorted(actual, key=_owner)
        if any(pattern.search(path) for pattern in self._subsets):
            known = {_called(item): item for item in actual}
            actual = [known.get(_called(item)) for item in recorded]
        if key == "items":
            actual = self._in_their_order(recorded, actual)
        if key in ("nonResourceRules", "resourceRules"):
            recorded, actual = sorted(recorded, key=repr), sorted(actual, key=repr)
        if len(recorded) != len(actual):
            yield f"{path}: {len(recorded)} items != {len(actual)}: {_short(recorded)} != {_short(actual)}"
            return
        for index, (left, right) in enumerate(zip(recorded, actual, strict=True)):
            yield from self.differences(left, right, f"{path}[{index}]")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 260 else f"{text[:257]}..."


def _is_cut(path: str, recorded: Json, key: str) -> bool:
    if "template" in path:
        return False
    in_spec = path.endswith("spec") and "containers" in recorded
    in_container = bool(re.search(r"spec\.(initContainers|containers)\[\d+\]$", path))
    return in_spec or in_container or key == "annotations"


def _owner(entry: Json) -> tuple[str, str, str]:
    return entry["manager"], entry["operation"], entry.get("subresource", "")


def _called(item: Json) -> str:
    return str(item.get("name") or item.get("resource") or item.get("metadata", {}).get("name"))
