"""The query parameters of requests, checked as the API server checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kubernetes_double.serving.status import (
    Cause,
    Json,
    bad_request,
    forbidden_field,
    invalid,
    invalid_object,
    required,
    too_long,
    unsupported,
)


@dataclass
class WriteOptions:
    """Of a create, an update, a patch or an apply."""

    manager: str = "unknown"
    dry_run: bool = False
    force: bool = False
    validation: str = "Warn"
    user: str = "admin"
    groups: tuple[str, ...] = ("system:masters", "system:authenticated")
    warnings: list[str] = field(default_factory=list)


@dataclass
class ListOptions:
    """Of a list or a watch."""

    label_selector: str = ""
    field_selector: str = ""
    limit: int = 0
    more: str = ""
    version: str = ""
    match: str = ""
    timeout: float | None = None
    bookmarks: bool = False
    initial_events: bool | None = None


def integer(query: Mapping[str, str], name: str, default: int = 0) -> int:
    text = query.get(name, "")
    if not text:
        return default
    try:
        return int(text)
    except ValueError as exc:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from exc


def truth(text: str) -> bool:
    return text.lower() not in ("", "0", "false")


def write_options(
    query: Mapping[str, str], kind: str, *, user: str, groups: Sequence[str], agent: str, is_apply: bool = False
) -> WriteOptions:
    """`kind` is CreateOptions, UpdateOptions or PatchOptions. Raises `ApiError` 422."""
    causes: list[Cause] = []
    manager = query.get("fieldManager", "")
    if kind == "PatchOptions":
        if is_apply:
            if not manager:
                causes.append(required("fieldManager", "is required for apply patch"))
        elif truth(query.get("force", "")):
            causes.append(forbidden_field("force", "may not be specified for non-apply patch"))
    if len(manager.encode()) > 128:
        causes.append(too_long("fieldManager", 128))
    dry = query.get("dryRun", "")
    if dry not in ("", "All"):
        causes.append(
            Cause("FieldValueNotSupported", "dryRun", f'Unsupported value: ["{dry}"]: supported values: "All"')
        )
    validation = query.get("fieldValidation", "")
    if validation not in ("", "Ignore", "Warn", "Strict"):
        causes.append(unsupported("fieldValidation", validation, ("", "Ignore", "Strict", "Warn")))
    if causes:
        raise invalid_object("meta.k8s.io", kind, "", causes)
    return WriteOptions(
        manager=manager or agent.split("/")[0][:128] or "unknown",
        dry_run=dry == "All",
        force=truth(query.get("force", "")),
        validation=validation or "Warn",
        user=user,
        groups=tuple(groups),
    )


def list_options(query: Mapping[str, str], *, watching: bool) -> ListOptions:
    """Raises `ApiError` 400 and 422."""
    options = ListOptions(
        label_selector=query.get("labelSelector", ""),
        field_selector=query.get("fieldSelector", ""),
        limit=integer(query, "limit"),
        more=query.get("continue", ""),
        version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        bookmarks=truth(query.get("allowWatchBookmarks", "")),
    )
    if "sendInitialEvents" in query:
        options.initial_events = truth(query["sendInitialEvents"])
    if query.get("timeoutSeconds"):
        options.timeout = float(integer(query, "timeoutSeconds"))
    causes = _watch_causes(options) if watching else _list_causes(options)
    if causes:
        raise invalid_object("meta.k8s.io", "ListOptions", "", causes)
    return options


def _watch_causes(options: ListOptions) -> list[Cause]:
    causes: list[Cause] = []
    name = "resourceVersionMatch"
    if options.initial_events is not None:
        if options.match != "NotOlderThan":
            causes.append(
                forbidden_field(name, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
            )
    elif options.match:
        causes.append(
            forbidden_field(name, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        )
        if options.match != "NotOlderThan":
            causes.append(unsupported(name, options.match, ("NotOlderThan",)))
    if options.more:
        causes.append(forbidden_field(name, "resourceVersionMatch is forbidden when continue is provided"))
    return causes


def _list_causes(options: ListOptions) -> list[Cause]:
    causes: list[Cause] = []
    name = "resourceVersionMatch"
    if options.initial_events is not None:
        causes.append(forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if not options.match:
        return causes
    if not options.version:
        causes.append(forbidden_field(name, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if options.more:
        causes.append(forbidden_field(name, "resourceVersionMatch is forbidden when continue is provided"))
    if options.match not in ("Exact", "NotOlderThan"):
        causes.append(unsupported(name, options.match, ("Exact", "NotOlderThan", "")))
    if options.match == "Exact" and options.version == "0":
        causes.append(forbidden_field(name, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    return causes


@dataclass
class DeleteOptions:
    """The body of a DELETE."""

    grace: int | None = None
    policy: str = ""
    uid: str = ""
    version: str = ""
    dry_run: bool = False


def delete_options(body: Json, query: Mapping[str, str]) -> DeleteOptions:
    """Raises `ApiError` 422."""
    preconditions = body.get("preconditions") or {}
    policy = body.get("propagationPolicy") or query.get("propagationPolicy", "")
    grace = body.get("gracePeriodSeconds")
    if grace is None and query.get("gracePeriodSeconds"):
        grace = integer(query, "gracePeriodSeconds")
    dry = body.get("dryRun") or ([query["dryRun"]] if query.get("dryRun") else [])
    causes: list[Cause] = []
    orphan = body.get("orphanDependents")
    if orphan is None and query.get("orphanDependents"):
        orphan = truth(query["orphanDependents"])
    if orphan is not None and policy:
        causes.append(
            invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
        )
    if policy not in ("", "Foreground", "Background", "Orphan"):
        causes.append(unsupported("propagationPolicy", policy, ("Foreground", "Background", "Orphan", "nil")))
    if dry and dry != ["All"]:
        causes.append(Cause("FieldValueNotSupported", "dryRun", f'Unsupported value: {dry}: supported values: "All"'))
    if causes:
        raise invalid_object("meta.k8s.io", "DeleteOptions", "", causes)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    return DeleteOptions(
        grace=grace,
        policy=policy,
        uid=preconditions.get("uid", ""),
        version=preconditions.get("resourceVersion", ""),
        dry_run=bool(dry),
    )
