"""The patch kinds that carry changes: JSON patch, JSON merge patch, strategic merge patch."""

from __future__ import annotations

from typing import Any

from kubernetes_double.objects.schema import Node
from kubernetes_double.serving.status import ApiError, Json, bad_request
from kubernetes_double.storage.store import copied

_OPERATIONS = frozenset({"add", "remove", "replace", "move", "copy", "test"})


def _rejected() -> ApiError:
    return ApiError(422, "the server rejected our request due to an error in our request", reason="Invalid", details={})


def json_patch(value: Any, operations: Any) -> Any:
    """RFC 6902. Raises `ApiError` 400 for what is no patch, 422 for one that does not fit."""
    if not isinstance(operations, list):
        name = {dict: "object", str: "string", bool: "bool"}.get(type(operations), "number")
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {name} into Go value of type []handlers.jsonPatchOp"
        )
    result = copied(value)
    for operation in operations:
        if not isinstance(operation, dict) or operation.get("op") not in _OPERATIONS:
            raise _rejected()
        try:
            result = _one(result, operation)
        except (KeyError, IndexError, ValueError, TypeError) as exc:
            raise _rejected() from exc
    return result


def _parts(pointer: str) -> list[str]:
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise ValueError(pointer)
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]


def _at(value: Any, parts: list[str]) -> Any:
    for part in parts:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def _one(root: Any, operation: Json) -> Any:
    kind = operation["op"]
    parts = _parts(operation["path"])
    if kind in ("move", "copy"):
        source = _parts(operation["from"])
        moved = copied(_at(root, source))
        if kind == "move":
            root = _remove(root, source)
        return _add(root, parts, moved)
    if kind == "test":
        if _at(root, parts) != operation.get("value"):
            raise ValueError(operation["path"])
        return root
    if kind == "remove":
        return _remove(root, parts)
    if kind == "replace":
        if not parts:
            return operation["value"]
        holder, last = _at(root, parts[:-1]), parts[-1]
        if isinstance(holder, list):
            holder[int(last)] = operation["value"]
        else:
            holder[last]
            holder[last] = operation["value"]
        return root
    return _add(root, parts, operation["value"])


def _add(root: Any, parts: list[str], value: Any) -> Any:
    if not parts:
        return value
    holder, last = _at(root, parts[:-1]), parts[-1]
    if isinstance(holder, list):
        index = len(holder) if last == "-" else int(last)
        if not 0 <= index <= len(holder):
            raise IndexError(last)
        holder.insert(index, value)
    else:
        holder[last] = value
    return root


def _remove(root: Any, parts: list[str]) -> Any:
    holder, last = _at(root, parts[:-1]), parts[-1]
    if isinstance(holder, list):
        del holder[int(last)]
    else:
        del holder[last]
    return root


def merge_patch(value: Any, change: Any) -> Any:
    """RFC 7386."""
    if not isinstance(change, dict):
        return change
    out = dict(value) if isinstance(value, dict) else {}
    for key, inner in change.items():
        if inner is None:
            out.pop(key, None)
        else:
            out[key] = merge_patch(out.get(key), inner)
    return out


def strategic(node: Node, value: Any, change: Any) -> Any:
    """Strategic merge: lists with a merge key are merged by it; `$patch`, `$setElementOrder` and the like are obeyed."""
    if not isinstance(change, dict):
        return change
    directive = change.get("$patch")
    if directive == "replace":
        return {key: inner for key, inner in change.items() if key != "$patch"}
    if directive == "delete":
        return {}
    out = dict(value) if isinstance(value, dict) else {}
    if "retainKeys" in node.strategies and "$retainKeys" in change:
        out = {key: inner for key, inner in out.items() if key in change["$retainKeys"]}
    for key, inner in change.items():
        if key.startswith("$setElementOrder/") or key in ("$retainKeys", "$patch"):
            continue
        if key.startswith("$deleteFromPrimitiveList/"):
            field = key.partition("/")[2]
            out[field] = [item for item in out.get(field) or [] if item not in inner]
            continue
        if inner is None:
            out.pop(key, None)
            continue
        below = node.item if node.kind == "map" else node.fields.get(key)
        if below is None:
            out[key] = merge_patch(out.get(key), inner)
        elif below.kind == "list" and "merge" in below.strategies and isinstance(inner, list):
            out[key] = _strategic_list(below, out.get(key) or [], inner, change.get(f"$setElementOrder/{key}"))
        elif below.kind in ("object", "map") and isinstance(inner, dict) and "replace" not in below.strategies:
            out[key] = strategic(below, out.get(key), inner)
        else:
            out[key] = inner
    for key, order in change.items():
        if key.startswith("$setElementOrder/"):
            field = key.partition("/")[2]
            below = node.fields.get(field)
            if below is not None and isinstance(out.get(field), list):
                out[field] = _ordered(below, out[field], order)
    return out


def _strategic_list(node: Node, live: list[Any], change: list[Any], order: Any) -> list[Any]:
    if not node.merge_key:
        return live + [item for item in change if item not in live]
    if any(isinstance(item, dict) and item.get("$patch") == "replace" for item in change):
        return [item for item in change if not (isinstance(item, dict) and "$patch" in item)]
    key = node.merge_key
    out = list(live)
    for item in change:
        if not isinstance(item, dict) or key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        at = next((index for index, known in enumerate(out) if known.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            if at is not None:
                del out[at]
        elif at is None:
            out.append({name: inner for name, inner in item.items() if inner is not None})
        else:
            out[at] = strategic(node.item, out[at], item)
    return out


def _ordered(node: Node, items: list[Any], order: list[Any]) -> list[Any]:
    key = node.merge_key
    if not key:
        ranks = {str(item): rank for rank, item in enumerate(order)}
        return sorted(items, key=lambda item: ranks.get(str(item), len(ranks)))
    places = {item.get(key): rank for rank, item in enumerate(order) if isinstance(item, dict)}
    return sorted(items, key=lambda item: places.get(item.get(key), len(places)))
