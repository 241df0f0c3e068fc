"""Which fields an object has, and who owns them: field sets as `managedFields` carries them.

A set is a Python set of paths; a path is a tuple of elements as FieldsV1 writes them: `f:name` for a field or a key,
`k:{"name":"x"}` for an item of a list by its keys, `v:"x"` for a member of a set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from kubernetes_double.objects.schema import Node
from kubernetes_double.serving.status import Json

Path = tuple[str, ...]
Fields = set[Path]

_STRIPPED: Final[frozenset[Path]] = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            *("name", "namespace", "creationTimestamp", "selfLink", "uid"),
            *("clusterName", "generation", "managedFields", "resourceVersion"),
        )
    }
)


class DuplicateKey(Exception):
    """Two items of one list have the same keys."""

    def __init__(self, path: Path, element: str) -> None:
        super().__init__(element)
        self.path = path
        self.element = element


def from_tree(tree: Json) -> Fields:
    found: Fields = set()
    _walk_tree(tree, (), found)
    return found


def _walk_tree(tree: Json, path: Path, found: Fields) -> None:
    for element, below in tree.items():
        if element == ".":
            found.add(path)
            continue
        here = (*path, element)
        if below:
            _walk_tree(below, here, found)
        else:
            found.add(here)


def to_tree(fields: Iterable[Path]) -> Json:
    root: Json = {}
    members = set(fields)
    for path in sorted(members):
        here = root
        for depth, element in enumerate(path, 1):
            if element not in here:
                # A member that has more below it says so first.
                here[element] = {".": {}} if path[:depth] in members and depth < len(path) else {}
            elif depth < len(path) and not here[element] and path[:depth] in members:
                here[element]["."] = {}
            here = here[element]
    return root


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def item_key(node: Node, item: Any) -> str | None:
    """The path element of an item of a list that is a map or a set; None for one without its keys."""
    if node.list_type == "set":
        return f"v:{compact(item)}"
    if not isinstance(item, dict):
        return None
    keys: Json = {}
    for key in sorted(node.keys):
        value = item.get(key)
        if value is None:
            below = node.item.fields.get(key)
            value = below.default if below is not None and below.has_default else None
        if value is not None:
            keys[key] = value
    return f"k:{compact(keys)}"


def _is_leaf(node: Node, value: Any) -> bool:
    if node.atomic:
        return True
    if node.kind in ("object", "map"):
        return not isinstance(value, dict)
    if node.kind == "list":
        return node.list_type not in ("map", "set") or not isinstance(value, list)
    if node.kind == "any" and isinstance(value, dict):
        return not node.preserve
    return True


_FREE: Final = Node({"x-kubernetes-preserve-unknown-fields": True}, {})


def below(node: Node, key: str) -> Node:
    """The type of the field or key `key`; anything goes below a part without a schema."""
    if node.kind == "map":
        return node.item
    found = node.fields.get(key)
    return found if found is not None else _FREE


def indexed(node: Node, items: list[Any], path: Path) -> dict[str, Any]:
    """Items by their path elements. Raises `DuplicateKey`."""
    found: dict[str, Any] = {}
    for item in items:
        element = item_key(node, item)
        if element is None:
            continue
        if element in found:
            raise DuplicateKey(path, element)
        found[element] = item
    return found


def present(node: Node, value: Any, path: Path = ()) -> Fields:
    """The fields that `value` sets, as an apply owns them."""
    found: Fields = set()
    _present(node, value, path, found)
    return found - _STRIPPED


def _present(node: Node, value: Any, path: Path, found: Fields) -> None:
    if _is_leaf(node, value):
        found.add(path)
        return
    if isinstance(value, list):
        for element, item in indexed(node, value, path).items():
            here = (*path, element)
            found.add(here)
            if node.list_type == "map":
                _present(node.item, item, here, found)
        return
    named = node.kind == "object"
    for key, inner in value.items():
        here = (*path, f"f:{key}")
        known = named and key in node.fields
        _present(below(node, key), inner, here, found)
        if inner is None or inner == {} or not known:
            found.add(here)


class Comparison:
    """What differs between two states."""

    def __init__(self) -> None:
        self.added: Fields = set()
        self.changed: Fields = set()
        self.removed: Fields = set()


_MISSING: Final = object()


def compare(node: Node, old: Any, new: Any) -> Comparison:
    result = Comparison()
    _compare(node, old, new, (), result)
    result.added -= _STRIPPED
    result.changed -= _STRIPPED
    result.removed -= _STRIPPED
    return result


def _compare(node: Node, old: Any, new: Any, path: Path, result: Comparison) -> None:
    if old is new:
        return
    leaf = _is_leaf(node, new if old is _MISSING else old) or _is_leaf(node, old if new is _MISSING else new)
    empty = (old is _MISSING or not old) and (new is _MISSING or not new)
    if leaf or empty:
        if old is _MISSING:
            result.added.add(path)
        elif new is _MISSING:
            result.removed.add(path)
        elif old != new:
            result.changed.add(path)
        return
    if node.kind == "list":
        left = indexed(node, [] if old is _MISSING else old, path)
        right = indexed(node, [] if new is _MISSING else new, path)
        for element in {**left, **right}:
            if node.list_type == "set":
                if element not in left:
                    result.added.add((*path, element))
                elif element not in right:
                    result.removed.add((*path, element))
                continue
            _compare(node.item, left.get(element, _MISSING), right.get(element, _MISSING), (*path, element), result)
    else:
        left = {} if old is _MISSING else old
        right = {} if new is _MISSING else new
        for key in {**left, **right}:
            _compare(below(node, key), left.get(key, _MISSING), right.get(key, _MISSING), (*path, f"f:{key}"), result)
    if old is _MISSING:
        result.added.add(path)
    elif new is _MISSING:
        result.removed.add(path)


def blank(node: Node) -> Json:
    """The object before its creation: the parts that are always there."""
    out: Json = {}
    for name, field in node.fields.items():
        if field.kind == "object" and field.has_default and field.default == {}:
            out[name] = blank(field)
        elif field.kind == "list" and name in node.required:
            out[name] = []
    if node.kind == "object" and "metadata" in node.fields:
        out.setdefault("metadata", {})
    return out


def merged(node: Node, live: Any, config: Any) -> Any:
    """`live` with what `config` sets."""
    if live is _MISSING or live is None or _is_leaf(node, config) or _is_leaf(node, live):
        return config
    if isinstance(config, list):
        return _merged_list(node, live, config)
    out = dict(live)
    for key, value in config.items():
        out[key] = merged(below(node, key), live.get(key, _MISSING), value)
    return out


def _merged_list(node: Node, live: list[Any], config: list[Any]) -> list[Any]:
    left = [(item_key(node, item), item) for item in live]
    by_key = dict(left)
    wanted = {item_key(node, item) for item in config}
    out: list[Any] = []
    at = 0
    for item in config:
        while at < len(left) and left[at][0] not in wanted:
            out.append(left[at][1])
            at += 1
        key = item_key(node, item)
        out.append(item if key not in by_key or node.list_type == "set" else merged(node.item, by_key[key], item))
        if at < len(left) and left[at][0] == key:
            at += 1
    while at < len(left):
        if left[at][0] not in wanted:
            out.append(left[at][1])
        at += 1
    return out


def named_too(node: Node, fields: Fields) -> Fields:
    """With the named fields above each member."""
    out = set(fields)
    for path in fields:
        here: Node | None = node
        for depth, element in enumerate(path[:-1]):
            if element.startswith("f:"):
                if here is not None and here.kind == "object" and element[2:] in here.fields:
                    out.add(path[: depth + 1])
                here = below(here, element[2:]) if here is not None and here.kind in ("object", "map") else None
            else:
                here = here.item if here is not None and here.kind == "list" else None
    return out - {(), ("f:metadata",)}


def without(node: Node, value: Any, gone: Fields, path: Path = ()) -> Any:
    """`value` without the paths in `gone` and all below them."""
    if _is_leaf(node, value):
        return value
    if isinstance(value, list):
        kept: list[Any] = []
        for item in value:
            here = (*path, item_key(node, item) or "")
            if here not in gone:
                kept.append(without(node.item, item, gone, here) if node.list_type == "map" else item)
        return kept
    out: Json = {}
    for key, inner in value.items():
        here = (*path, f"f:{key}")
        if here not in gone:
            out[key] = without(below(node, key), inner, gone, here)
    return out


def shown_path(path: Path) -> str:
    """As conflicts name it: `.spec.template.spec.containers[name="f"].image`."""
    out: list[str] = []
    for element in path:
        if element.startswith("f:"):
            out.append(f".{element[2:]}")
        elif element.startswith("k:"):
            keys = json.loads(element[2:])
            out.append("[" + ",".join(f"{key}={compact(value)}" for key, value in sorted(keys.items())) + "]")
        else:
            out.append(f"[={element[2:]}]")
    return "".join(out)
