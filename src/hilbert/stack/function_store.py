"""The function store's JSON (`functions.json` of OpenFaaS's store)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from hilbert.core.errors import Invalid
from hilbert.wire.reading import decode

Platform = Literal["x86_64", "arm64", "armhf"]

MAX_STORE_BYTES: Final = 8 * 1024 * 1024


class _Entry(msgspec.Struct, frozen=True):
    title: str | None = None
    name: str | None = None
    author: str | None = None
    description: str | None = None
    icon: str | None = None
    images: Mapping[str, str] = {}
    repo_url: str | None = None
    fprocess: str | None = None
    environment: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    read_only_root_filesystem: bool | None = msgspec.field(name="readOnlyRootFilesystem", default=None)


class _Store(msgspec.Struct, frozen=True):
    version: str | None = None
    functions: tuple[_Entry, ...] | None = None


class StoreFunction(msgspec.Struct, frozen=True, kw_only=True):
    """One function of the store."""

    name: str
    title: str
    author: str = ""
    description: str = ""
    repo_url: str = ""
    images: Mapping[str, str] = {}
    """By platform: `x86_64`, `arm64`, `armhf`."""
    process: str = ""
    env: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    read_only_root: bool = False


def parse_store(document: bytes) -> tuple[StoreFunction, ...]:
    """All functions of a store, in its order. Raises `Invalid`."""
    if len(document) > MAX_STORE_BYTES:
        raise Invalid(f"the store is larger than {MAX_STORE_BYTES} bytes")
    store = decode(document, _Store)
    return tuple(_function(entry) for entry in store.functions or ())


def find(functions: tuple[StoreFunction, ...], wanted: str) -> StoreFunction | None:
    """By exact name, else by exact title, as faas-cli looks them up."""
    for function in functions:
        if wanted in (function.name, function.title):
            return function
    return None


def _function(entry: _Entry) -> StoreFunction:
    if not entry.name:
        raise Invalid("the store has a function without a name")
    return StoreFunction(
        name=entry.name,
        title=entry.title or entry.name,
        author=entry.author or "",
        description=entry.description or "",
        repo_url=entry.repo_url or "",
        images=entry.images,
        process=entry.fprocess or "",
        env=entry.environment,
        labels=entry.labels,
        annotations=entry.annotations,
        read_only_root=bool(entry.read_only_root_filesystem),
    )
