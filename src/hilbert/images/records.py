"""The files of the store of images, and what is written in them.

    OCI/names/<`name_key`>.json         `NameRecord`: what a name means in a namespace
    OCI/images/<hex>.json               `ImageRecord`, by the digest of the manifest
    OCI/roots/<hex>/                    the merged tree of an image, by the chain of its layers
    OCI/layers/<hex>/files/             one unpacked layer, by the digest of its tar file; beside it layer.json
    OCI/unpacked/<hex>                  by the digest of a packed layer: the digest of its tar file
    OCI/blobs/<hex>                     manifests, configurations and packed layers, by their digests
    OCI/sources/<hex>/<place>           a blob came from this registry and repository; see `depot`
    OCI/partial/<name>                  a blob that has come in part
    OCI/pins/<hex>/<replica>            an empty file: this replica uses the image with this digest
    OCI/lock                            held shared by whoever adds or pins, alone by whoever removes
    OCI/tmp/                            what is not whole yet

`<hex>` are the 64 digits of a sha256. Nothing is changed in place: what is new is made in `tmp`, brought to the disk, and
renamed.
"""

from __future__ import annotations

import enum
import hashlib
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from hilbert.images.model import ImageConfig

_FOLDERS: Final = ("names", "images", "roots", "layers", "unpacked", "blobs", "sources", "partial", "pins", "tmp")


class Origin(enum.StrEnum):
    """Why a namespace may use an image."""

    PULLED = "pulled"
    """It was fetched for this namespace."""
    GRANTED = "granted"
    """It was here, and the registry said that this namespace may fetch it."""
    LOADED = "loaded"
    """An administrator read it from a file."""
    BUILT = "built"
    """It was built on this machine."""


class NameRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What a name means in a namespace."""

    name: str
    """In full: registry, repository, and tag or digest."""
    namespace: str = ""
    """Whose it is: no other finds it. Empty: an administrator shares it with all."""
    digest: str
    origin: Origin
    checked_at: datetime
    """When the registry last said that this namespace may have it; else when the record was made."""
    implied: bool = False
    """Made beside a name with a tag, for those who name the digest; does not keep the image from being pruned."""


class ImageRecord(msgspec.Struct, frozen=True, kw_only=True):
    """An image that is whole on this machine."""

    digest: str
    """Of the manifest."""
    media_type: str
    """Of the manifest."""
    chain: str
    """Names the merged tree: the digest over the digests of its layers."""
    config_digest: str
    blobs: tuple[str, ...]
    """Digests of the packed layers, the lowest first."""
    layers: tuple[str, ...]
    """Digests of the unpacked tar files, in the same order."""
    size: int
    """Bytes on the disk: packed and unpacked layers."""
    config: ImageConfig
    created_at: datetime


def name_key(name: str, namespace: str) -> str:
    """The file's name for a record: the same image name means something of its own in each namespace."""
    return hashlib.sha256(f"{namespace}\0{name}".encode()).hexdigest()


def hex_of(digest: str) -> str:
    """The digits of a digest."""
    return digest.removeprefix("sha256:")


class Layout(msgspec.Struct, frozen=True):
    """Where things are."""

    path: Path

    def name(self, name: str, namespace: str) -> Path:
        return self.path / "names" / f"{name_key(name, namespace)}.json"

    def image(self, digest: str) -> Path:
        return self.path / "images" / f"{hex_of(digest)}.json"

    def root(self, chain: str) -> Path:
        return self.path / "roots" / hex_of(chain)

    def layer(self, digest: str) -> Path:
        return self.path / "layers" / hex_of(digest)

    def blob(self, digest: str) -> Path:
        return self.path / "blobs" / hex_of(digest)

    def unpacked(self, digest: str) -> Path:
        return self.path / "unpacked" / hex_of(digest)

    def partial(self, digest: str, place: str) -> Path:
        """One for each place: what another has sent so far is not shown to whoever can finish it."""
        return self.path / "partial" / f"{hex_of(digest)}-{hashlib.sha256(place.encode()).hexdigest()[:32]}"

    def pins(self, digest: str) -> Path:
        return self.path / "pins" / hex_of(digest)

    @property
    def tmp(self) -> Path:
        return self.path / "tmp"

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    def prepare(self) -> None:
        """Make the folders. Raises `OSError`."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in _FOLDERS:
            (self.path / name).mkdir(mode=0o700, exist_ok=True)
