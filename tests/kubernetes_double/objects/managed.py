"""Server-side apply and the ownership of fields: what `metadata.managedFields` says, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from kubernetes_double.objects import fields
from kubernetes_double.objects.fields import Fields
from kubernetes_double.objects.schema import Node
from kubernetes_double.serving.status import ApiError, Json


@dataclass
class Entry:
    """What one manager owns by one operation."""

    manager: str
    operation: str
    api_version: str
    owned: Fields = field(default_factory=set)
    time: str | None = None
    subresource: str = ""

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.manager, self.operation, self.api_version, self.subresource


def read(obj: Json) -> list[Entry]:
    return [
        Entry(
            item.get("manager", ""),
            item.get("operation", ""),
            item.get("apiVersion", ""),
            fields.from_tree(item.get("fieldsV1") or {}),
            item.get("time"),
            item.get("subresource", ""),
        )
        for item in obj["metadata"].get("managedFields") or ()
    ]


def _order(entry: Entry) -> tuple[str, str, str, str, str]:
    return entry.operation, entry.time or "", entry.manager, entry.api_version, entry.subresource


def write(obj: Json, entries: list[Entry]) -> None:
    out = []
    for entry in sorted((entry for entry in entries if entry.owned), key=_order):
        item: Json = {"manager": entry.manager, "operation": entry.operation, "apiVersion": entry.api_version}
        if entry.time:
            item["time"] = entry.time
        item["fieldsType"] = "FieldsV1"
        item["fieldsV1"] = fields.to_tree(entry.owned)
        if entry.subresource:
            item["subresource"] = entry.subresource
        out.append(item)
    if out:
        obj["metadata"]["managedFields"] = out
    else:
        obj["metadata"].pop("managedFields", None)


def reset(owned: Fields, node: Node, *, has_status: bool, subresource: str) -> Fields:
    """Without the fields that this path does not write."""
    if subresource == "status":
        return {path for path in owned if path[0] == "f:status" or (path[0] == "f:metadata" and not has_status)}
    if has_status:
        return {path for path in owned if path[0] != "f:status"}
    return owned


def _bare(obj: Json) -> Json:
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def after_update(
    node: Node, old: Json | None, new: Json, *, manager: str, api_version: str, now: str, subresource: str = ""
) -> None:
    """Write into `new` who owns what after a create, a PUT or a patch by `manager`."""
    before = _bare(old) if old is not None else fields.blank(node)
    entries = read(new if old is None else old)
    if old is not None and new["metadata"].get("managedFields") == [{}]:
        entries = []
    try:
        difference = fields.compare(node, before, _bare(new))
    except fields.DuplicateKey:
        # Such an object has no fields that could be told apart; its validation will have a word.
        write(new, entries)
        return
    taken = difference.added | difference.changed
    if not taken and not difference.removed:
        write(new, entries)
        return
    for entry in entries:
        entry.owned -= taken | difference.removed
    if taken:
        mine = Entry(manager, "Update", api_version, set(), None, subresource)
        for entry in entries:
            if entry.key == mine.key:
                mine = entry
                break
        else:
            entries.append(mine)
        mine.owned |= taken
        # The time of a change through the scale subresource is not kept.
        mine.time = now if subresource != "scale" else None
    write(new, entries)


class Applied:
    """The outcome of an apply: the new object, and whether more than ownership changed."""

    def __init__(self, obj: Json, *, changed: bool) -> None:
        self.obj = obj
        self.changed = changed


def apply(
    node: Node,
    live: Json,
    config: Json,
    *,
    manager: str,
    api_version: str,
    force: bool,
    now: str,
    has_status: bool,
    subresource: str = "",
    is_new: bool = False,
) -> Applied:
    """Merge `config` into `live` for `manager`. Raises `ApiError` 409 on conflicts, `fields.DuplicateKey`."""
    entries = [] if is_new else read(live)
    bare = _bare(live)
    wanted = reset(fields.present(node, config), node, has_status=has_status, subresource=subresource)
    mine = Entry(manager, "Apply", api_version, set(), None, subresource)
    others = []
    for entry in entries:
        if entry.key == mine.key:
            mine = entry
        else:
            others.append(entry)
    last = mine.owned
    result = fields.merged(node, bare, _only(config, has_status=has_status, subresource=subresource))
    owned = set(wanted)
    for entry in others:
        owned |= entry.owned
    kept = {path[:depth] for path in owned for depth in range(1, len(path) + 1)}
    gone = fields.named_too(node, last) - kept
    if gone:
        result = fields.without(node, result, gone)
    difference = fields.compare(node, bare, result)
    touched = difference.added | difference.changed
    conflicts = {entry.key: (entry, entry.owned & touched) for entry in others if entry.owned & touched}
    if conflicts and not force:
        raise _conflict(list(conflicts.values()))
    for entry in others:
        entry.owned -= touched | difference.removed
    changed = bool(touched or difference.removed)
    mine.owned = wanted
    if changed or is_new:
        mine.time = now
    result["metadata"] = dict(result["metadata"])
    write(result, [*others, mine])
    return Applied(result, changed=changed)


def _only(config: Json, *, has_status: bool, subresource: str) -> Json:
    identity: Json = {key: config[key] for key in ("apiVersion", "kind") if key in config}
    metadata = {
        key: value
        for key, value in (config.get("metadata") or {}).items()
        if key not in ("managedFields", "resourceVersion", "uid", "creationTimestamp")
    }
    if subresource == "status":
        rest = {"status": config["status"]} if "status" in config else {}
        metadata = {key: value for key, value in metadata.items() if key in ("name", "namespace")}
    else:
        rest = {
            key: value
            for key, value in config.items()
            if key not in ("apiVersion", "kind", "metadata") and not (has_status and key == "status")
        }
    return {**identity, "metadata": metadata, **rest}


def _conflict(found: list[tuple[Entry, Fields]]) -> ApiError:
    found.sort(key=lambda pair: pair[0].key)
    causes: list[Json] = []
    lines: list[str] = []
    for entry, paths in found:
        shown = sorted(fields.shown_path(path) for path in paths)
        using = f'"{entry.manager}"'
        if entry.subresource:
            using += f' with subresource "{entry.subresource}"'
        if entry.operation == "Update":
            using += f" using {entry.api_version}"
            if entry.time:
                using += f" at {entry.time}"
        causes.extend(
            {"reason": "FieldManagerConflict", "message": f"conflict with {using}", "field": path} for path in shown
        )
        lines.append((f"conflict with {using}: " + shown[0]) if len(shown) == 1 else "")
        if len(shown) > 1:
            lines[-1] = f"conflicts with {using}:\n" + "\n".join(f"- {path}" for path in shown)
    total = len(causes)
    noun = "conflict" if total == 1 else "conflicts"
    if len(lines) == 1:
        text = f"Apply failed with {total} {noun}: {lines[0]}"
    else:
        text = f"Apply failed with {total} {noun}: " + "\n".join(lines)
    return ApiError(409, text, reason="Conflict", details={"causes": causes})
