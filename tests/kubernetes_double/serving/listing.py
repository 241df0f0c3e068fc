"""Lists: versions, pages, selectors."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from kubernetes_double.objects.resources import Resource
from kubernetes_double.objects.selectors import field_selector, label_selector
from kubernetes_double.serving.decode import parse_json
from kubernetes_double.serving.options import ListOptions
from kubernetes_double.serving.status import ApiError, Json, bad_request, expired
from kubernetes_double.storage.store import Collection, Item, Key, Store, place

_TOO_OLD = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without the "
    "continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing "
    "with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the "
    "time the first chunk was returned and now may show up in the list."
)


@dataclass
class Page:
    """What a list answers."""

    items: list[Item]
    metadata: Json


Match = Callable[[Item], bool]


def matcher(options: ListOptions, resource: Resource) -> Match | None:
    """None: everything matches. Raises `ApiError` 400."""
    labels = label_selector(options.label_selector) if options.label_selector else ()
    extra = resource.custom.selectable if resource.custom is not None else ()
    fields = (
        field_selector(options.field_selector, resource.plural, extra=extra, custom=resource.custom is not None)
        if options.field_selector
        else None
    )
    if not labels and fields is None:
        return None

    def matches(item: Item) -> bool:
        if any(not requirement.matches(item.labels) for requirement in labels):
            return False
        return fields is None or fields(item.obj)

    return matches


async def wait_for(store: Store, version: str, *, patience: float = 3.0) -> None:
    """Wait until the store has reached `version`, as a server does whose cache lags. Raises `ApiError` 400 and 504."""
    if version in ("", "0"):
        return
    if not version.isdigit():
        cause = f'resourceVersion: Invalid value: "{version}": strconv.ParseUint: parsing "{version}": invalid syntax'
        raise ApiError(400, cause, reason="BadRequest")
    if int(version) <= store.version:
        return
    ends = asyncio.get_running_loop().time() + patience
    while int(version) > store.version:
        if asyncio.get_running_loop().time() >= ends:
            raise ApiError(
                504,
                f"Timeout: Too large resource version: {version}, current: {store.version}",
                reason="Timeout",
                details={
                    "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
                    "retryAfterSeconds": 1,
                },
                headers={"Retry-After": "1"},
            )
        await asyncio.sleep(0.02)


def page(store: Store, collection: Collection, resource: Resource, namespace: str, options: ListOptions) -> Page:
    """One page. Raises `ApiError` 400 and 410."""
    matches = matcher(options, resource)
    version, after = store.version, None
    past = False
    if options.more:
        if options.version not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        version, after = _unpack(options.more)
        if version == -1:
            version = store.version
        elif version < collection.compacted:
            raise expired(_TOO_OLD, metadata={"continue": _pack(-1, after)})
        else:
            past = True
    elif options.match == "Exact" or (options.limit > 0 and options.version not in ("", "0") and not options.match):
        version, past = int(options.version), True
        if version < collection.compacted:
            raise expired("The resourceVersion for the provided list is too old.")
    limit = options.limit if options.limit > 0 and options.version != "0" else 0
    if past and not collection.is_unchanged_since(version):
        then = collection.at(version, namespace)
        if after is not None:
            then = [pair for pair in then if place(pair[0]) > place(after)]
        source: Iterable[tuple[Key, Item]] = then
        rest = len(then)
    else:
        source, rest = collection.items(namespace, after=after), -1
    return _cut(source, collection, namespace, version, limit=limit, matches=matches, rest=rest, past=past)


def _cut(
    source: Iterable[tuple[Key, Item]],
    collection: Collection,
    namespace: str,
    version: int,
    *,
    limit: int,
    matches: Match | None,
    rest: int,
    past: bool,
) -> Page:
    """The first `limit` (0: all) that match. `rest` is how many there are in `source`; -1: as many as are there now.

    `past`: read from the store, not the cache, which says that there is more without looking whether that matches.
    """
    metadata: Json = {"resourceVersion": str(version)}
    found: list[Item] = []
    last: Key = ("", "")
    for key, item in source:
        full = limit and len(found) == limit
        if matches is not None and not (full and past) and not matches(item):
            continue
        if full:
            metadata["continue"] = _pack(version, last)
            if matches is None:
                metadata["remainingItemCount"] = collection.left(namespace, last) if rest < 0 else rest - limit
            break
        found.append(item)
        last = key
    return Page(found, metadata)


def _pack(version: int, last: Key) -> str:
    token = {"v": "meta.k8s.io/v1", "rv": version, "start": f"{place(last)}\x00"}
    return base64.urlsafe_b64encode(msgspec.json.encode(token)).rstrip(b"=").decode()


def _unpack(token: str) -> tuple[int, Key]:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as exc:
        raise bad_request(f"invalid continue token: continue key is not valid: {exc}") from exc
    try:
        value: Any = parse_json(raw.decode("latin-1").encode())
        namespace, _, name = str(value["start"]).rstrip("\x00").partition("/")
        return int(value["rv"]), (namespace, name)
    except (ValueError, KeyError, TypeError) as exc:
        raise bad_request(f"invalid continue token: continue key is not valid: {exc}") from exc
