"""The function store: a JSON catalogue, shipped with Hilbert or fetched."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

import hilbert
from hilbert.cli.failures import Failed

SHIPPED: Final = Path(hilbert.__file__).parent / "functions" / "store.json"


class StoreFunction(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One entry, in the format of OpenFaaS's store."""

    name: str
    title: str = ""
    author: str = ""
    description: str = ""
    images: Mapping[str, str] = {}
    """By platform: `x86_64`, `arm64`, `armhf`."""
    repo_url: str = msgspec.field(default="", name="repo_url")
    fprocess: str = ""
    environment: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    read_only_root_filesystem: bool = False


class Catalogue(msgspec.Struct, frozen=True):
    """All entries."""

    functions: Sequence[StoreFunction]
    version: str = ""


def load_catalogue(flag: str, environ: Mapping[str, str]) -> Catalogue:
    """The catalogue at `flag`, else `OPENFAAS_STORE`, else the one that ships. Raises `Failed`."""
    source = flag or environ.get("OPENFAAS_STORE", "")
    if not source:
        data, name = _read(SHIPPED), str(SHIPPED)
    elif source.startswith(("http://", "https://")):
        from hilbert.cli.fetch import fetch

        data, name = fetch(source, environ), source
    else:
        data, name = _read(Path(source.removeprefix("file://"))), source
    try:
        return msgspec.json.decode(data, type=Catalogue)
    except msgspec.MsgspecError as exc:
        raise Failed(f"{name} is not a function store: {exc}") from exc


def platform_name(flag: str) -> str:
    """The store's name of a platform; this machine's by default."""
    given = flag or platform.machine()
    return {"amd64": "x86_64", "aarch64": "arm64", "armv7l": "armhf", "armv6l": "armhf"}.get(given.lower(), given)


def on_platform(catalogue: Catalogue, name: str) -> list[StoreFunction]:
    """The entries with an image for a platform."""
    return [function for function in catalogue.functions if function.images.get(name)]


def find_function(catalogue: Catalogue, wanted: str, *, on: str) -> StoreFunction:
    """The entry with this name or title. Raises `Failed`."""
    import difflib

    entries = on_platform(catalogue, on)
    for function in entries:
        if wanted in (function.name, function.title):
            return function
    close = difflib.get_close_matches(wanted, [function.name for function in entries], n=1)
    raise Failed(
        f"function '{wanted}' not found for platform '{on}'",
        hint=f"did you mean {close[0]}?" if close else "'hilbert store list' shows what there is",
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise Failed(f"cannot read {path}: {exc.strerror}") from exc
