"""What an image name means on this machine: a bundle that was built here, or a function that ships with Hilbert.

- A bundle built here is found by the name that it was built under, in the namespace that it was built for, or in all if an
  administrator shares it; no tag means `latest`.
- A shipped function is found by the names in its manifest, whatever the tag: there is one version of it, ours. A name
  that is pinned to a digest (`@sha256:`) asks for particular bytes, so it never finds one.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

import hilbert
from hilbert.core.bundle import ImageRecord, Manifest, index_name
from hilbert.core.errors import ImageUnavailable

_DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_MANIFEST_MOST: Final = 1 << 20
_SETTLED: Final = 2 * 10**9
"""Nanoseconds after which a folder's time of change tells of every later one: the kernel's clock for it has coarse steps."""
ABSENT_MOST: Final = 4096
"""Names that are known not to be in the index."""


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle on this machine."""

    path: Path
    manifest: Manifest
    layers: tuple[Path, ...]
    pin: str
    """Changes with the content."""


class ImageStore:
    """Reads the image store, written by `hilbert build`, and the functions shipped in the package."""

    def __init__(self, path: Path, *, shipped: Path | None = None) -> None:
        """`path` need not exist. `shipped` is a folder of bundles; by default the package's own."""
        self.path = path
        self.shipped = shipped or Path(hilbert.__file__).parent / "functions"
        self._by_name: Mapping[str, Bundle] | None = None
        self._index = str(path / "index")
        self._absent: dict[str, int] = {}
        """Names that the index does not have, with the folder's time of change when it did not: a deployment asks for the same few
        again and again."""

    def find(self, image: str, namespace: str) -> Bundle:
        """What the name means in this namespace. Raises `ImageUnavailable`, for one of another namespace's as for none."""
        bundle = self.get(image, namespace)
        if bundle is None:
            raise ImageUnavailable(
                f"image {image} was neither built on this machine for namespace {namespace} nor ships with Hilbert; "
                "the process runtime cannot run container images",
                hint=f"build it with 'hilbert build --namespace {namespace}', or deploy it to a gateway with the "
                "kubernetes provider, which runs container images",
            )
        return bundle

    def get(self, image: str, namespace: str) -> Bundle | None:
        """The same, or None. Raises `ImageUnavailable` for one that is damaged."""
        changed = self._changed()
        if changed:
            found = self._built(image, namespace, changed) or self._built(image, "", changed)
            if found is not None:
                return found
        return self._shipped_bundles().get(_repository(image))

    def forget(self, namespace: str) -> None:
        """Remove the names that belong to this namespace, for good: a namesake made later finds none. Raises `OSError`."""
        for index in (self.path / "index").glob("*.json"):
            try:
                record = msgspec.json.decode(index.read_bytes(), type=ImageRecord)
            except (FileNotFoundError, msgspec.DecodeError):
                continue
            if namespace and record.namespace == namespace:
                index.unlink(missing_ok=True)

    def _changed(self) -> int:
        """When a name was last put into the index, replaced or removed, in nanoseconds; 0: there is no index."""
        try:
            return os.stat(self._index).st_mtime_ns  # noqa: PTH116 - a Path costs as much again
        except OSError:
            return 0

    def _built(self, image: str, namespace: str, changed: int) -> Bundle | None:
        for spelling in _spellings(image):
            name = index_name(spelling, namespace)
            if self._absent.get(name) == changed:
                continue
            try:
                record = msgspec.json.decode(Path(self._index, f"{name}.json").read_bytes(), type=ImageRecord)
            except FileNotFoundError:
                if time.time_ns() - changed > _SETTLED:
                    if len(self._absent) >= ABSENT_MOST:
                        self._absent.clear()
                    self._absent[name] = changed
                continue
            except (OSError, msgspec.DecodeError) as exc:
                raise _broken(image, str(exc)) from exc
            return self._read(image, _stored(self.path / "bundles", record.digest, image), pin=record.digest)
        return None

    def _shipped_bundles(self) -> Mapping[str, Bundle]:
        if self._by_name is None:
            found: dict[str, Bundle] = {}
            for manifest in sorted(self.shipped.glob("*/bundle.json")):
                pin = f"hilbert {hilbert.__version__} {manifest.parent.name}"
                bundle = self._read(manifest.parent.name, manifest.parent, pin=pin)
                found.update(dict.fromkeys(bundle.manifest.images, bundle))
            self._by_name = found
        return self._by_name

    def _read(self, image: str, path: Path, *, pin: str) -> Bundle:
        try:
            with (path / "bundle.json").open("rb") as file:
                manifest = msgspec.json.decode(file.read(_MANIFEST_MOST), type=Manifest)
        except (OSError, msgspec.DecodeError) as exc:
            raise _broken(image, str(exc)) from exc
        layers = tuple(_stored(self.path / "layers", digest, image) for digest in manifest.layers)
        return Bundle(path=path, manifest=manifest, layers=layers, pin=pin)


def open_to_others(path: Path) -> None:
    """Let every user read what is in `path`: replicas may run as users of their own. Blocks; does nothing twice."""
    if path.stat().st_mode & 0o005 == 0o005:
        return
    for folder, names, files in os.walk(path, topdown=False):
        for inner in (Path(folder, name) for name in (*names, *files)):
            if not inner.is_symlink():
                inner.chmod(inner.stat().st_mode | (0o055 if inner.is_dir() else 0o044))
    path.chmod(path.stat().st_mode | 0o055)  # Last: it says that the rest is done.


def open_way(path: Path, *, top: Path) -> None:
    """Let every user pass through, not look into, the folders above `path` up to `top`. Blocks; does nothing twice."""
    for folder in path.parents:
        if not folder.is_relative_to(top):
            return
        mode = folder.stat().st_mode
        if mode & 0o011 != 0o011:
            folder.chmod(mode | 0o011)


def _stored(folder: Path, digest: str, image: str) -> Path:
    """The folder of content-addressed `digest`, named with or without the algorithm."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise _broken(image, f"{digest!r} is not a digest")
    for name in (match[1], f"sha256:{match[1]}"):
        if (folder / name).is_dir():
            return folder / name
    raise _broken(image, f"{folder / match[1]} is missing")


def _broken(image: str, detail: str) -> ImageUnavailable:
    return ImageUnavailable(f"image {image} is damaged in the image store", detail=detail, hint="build it again")


def _spellings(image: str) -> tuple[str, ...]:
    """Names that an image may be stored under: as given, and with the tag `latest` where none or that is given."""
    repository = _repository(image)
    if image == repository:
        return image, f"{image}:latest"
    if image == f"{repository}:latest":
        return image, repository
    return (image,)


def _repository(image: str) -> str:
    """The name without its tag and the implied registry. One with a digest is given back whole."""
    if "@" in image:
        return image
    head, slash, last = image.rpartition("/")
    repository = head + slash + last.partition(":")[0]
    return repository.removeprefix("docker.io/")
