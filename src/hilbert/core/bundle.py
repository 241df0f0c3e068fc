"""A bundle: a function as files on this machine, and the manifest that says how to run it.

Bundles are what `hilbert build` makes and what the functions shipped with Hilbert are. On disk:

    BUNDLE/bundle.json            `Manifest`
    BUNDLE/...                    the function's files; read-only in a sandbox, at `/home/app`
    LAYERS/<digest>/...           dependencies, shared between bundles; at `/opt/layers/<digest>`

The image store (in the state directory) maps image names to bundles:

    images/index/<`index_name`>.json                 `ImageRecord`
    images/bundles/<digest>/                         a bundle
    images/layers/<digest>/                          a layer
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec


class Mode(enum.StrEnum):
    """How the watchdog runs a function; `mode` in OpenFaaS's of-watchdog, and two of ours."""

    PYTHON = "python"
    """A `handle(event, context)` inside the watchdog's own process."""
    HTTP = "http"
    """A long-running child that speaks HTTP."""
    STREAMING = "streaming"
    """One process per request, output streamed."""
    SERIALIZING = "serializing"
    """One process per request, input and output whole."""
    CLASSIC = "classic"
    """As OpenFaaS's classic watchdog: serializing, with its own statuses, log lines and content types."""
    STATIC = "static"
    """A directory of files."""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """`bundle.json`."""

    mode: Mode
    process: str = ""
    """Default of `fprocess`."""
    handler: str = ""
    """Mode `python`: the handler's file, relative to the bundle; its folder is put on `sys.path`."""
    env: Mapping[str, str] = {}
    """Defaults under the function's own environment."""
    layers: tuple[str, ...] = ()
    """Digests of dependency layers, in search order."""
    title: str = ""
    description: str = ""
    images: tuple[str, ...] = ()
    """Shipped functions only: the image names, without tag, that resolve to this bundle."""


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the image store's index."""

    image: str
    namespace: str = ""
    """Whose it is: no other finds it. Empty: an administrator shares it with all."""
    digest: str
    """`sha256:` and 64 hex digits, of the bundle's content."""
    created_at: datetime


def index_name(image: str, namespace: str) -> str:
    """What a record is stored under: the same image name means something of its own in each namespace."""
    return hashlib.sha256((f"{namespace}\0{image}" if namespace else image).encode()).hexdigest()
