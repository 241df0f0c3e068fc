"""The function store: the catalogue that ships with Hilbert, or another."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import hilbert
from hilbert.cli.frame.failures import Failed
from hilbert.core.errors import Invalid
from hilbert.stack.function_store import StoreFunction, find, parse_store

SHIPPED: Final = Path(hilbert.__file__).parent / "functions" / "store.json"


def load_catalogue(flag: str, environ: Mapping[str, str]) -> Sequence[StoreFunction]:
    """The catalogue at `flag`, else `OPENFAAS_STORE`, else the one that ships. Raises `Failed`."""
    source = flag or environ.get("OPENFAAS_STORE") or str(SHIPPED)
    if source.startswith(("http://", "https://")):
        from hilbert.cli.frame.download import fetch

        data = fetch(source, environ)
    else:
        try:
            data = Path(source.removeprefix("file://")).read_bytes()
        except OSError as exc:
            raise Failed(f"cannot read {source}: {exc.strerror}") from exc
    try:
        return parse_store(data)
    except Invalid as exc:
        raise Failed(f"{source} is not a function store: {exc.message}") from exc


def platform_name(flag: str) -> str:
    """The store's name of a platform; this machine's by default."""
    given = flag or platform.machine()
    return {"amd64": "x86_64", "aarch64": "arm64", "armv7l": "armhf", "armv6l": "armhf"}.get(given.lower(), given)


def on_platform(functions: Sequence[StoreFunction], name: str) -> list[StoreFunction]:
    """Those with an image for a platform."""
    return [function for function in functions if function.images.get(name)]


def pick(functions: Sequence[StoreFunction], wanted: str, *, on: str) -> StoreFunction:
    """The function with this name or title. Raises `Failed`."""
    import difflib

    there = tuple(on_platform(functions, on))
    if (function := find(there, wanted)) is not None:
        return function
    close = difflib.get_close_matches(wanted, [function.name for function in there], n=1)
    raise Failed(
        f"function '{wanted}' not found for platform '{on}'",
        hint=f"did you mean {close[0]}?" if close else "see all functions with 'hilbert store list'",
    )


def to_json(function: StoreFunction) -> dict[str, object]:
    """As the catalogue's own format has it; what is empty is left out."""
    document: dict[str, object] = {
        "title": function.title,
        "name": function.name,
        "author": function.author,
        "description": function.description,
        "images": dict(function.images),
        "repo_url": function.repo_url,
        "fprocess": function.process,
        "environment": dict(function.env),
        "labels": dict(function.labels),
        "annotations": dict(function.annotations),
        "readOnlyRootFilesystem": function.read_only_root,
    }
    return {key: value for key, value in document.items() if value}
