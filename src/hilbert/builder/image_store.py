"""The writing side of the image store: bundles and layers by content, names in an index.

The format is that of `hilbert.core.bundle`; beside it the store keeps

    images/keys/<sha256>          which layer a set of dependencies became: the layer's digest
    images/tmp/<random>/          builds under way, each locked by its process; unlocked ones are removed
    images/lock                   shared by builds, exclusive for `prune`
    images/locks/<sha256>         one set of dependencies at a time

Nothing is changed in place: what is new is made in `tmp`, brought to the disk, and renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from hilbert.builder.build_errors import ImageNotFound, storage_faults
from hilbert.builder.image_names import with_tag
from hilbert.builder.tree import digest_tree, remove_tree, size_of, sync_tree
from hilbert.core.bundle import ImageRecord, Manifest, index_name
from hilbert.kit.files import sync, write_file
from hilbert.kit.staging import locked, stage, sweep

_MANIFEST: Final = "bundle.json"


class StoredImage(msgspec.Struct, frozen=True, kw_only=True):
    """An image of the store, as it is listed."""

    image: str
    namespace: str
    """Empty: shared with all."""
    digest: str
    created_at: datetime
    size: int
    """Bytes of the bundle, without its layers."""
    layers: tuple[str, ...]
    mode: str


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """What `prune` removed."""

    bundles: int
    layers: int
    size: int
    """Bytes."""


class Store:
    """An image store. Any number of processes may use one at once."""

    def __init__(self, path: Path) -> None:
        """`path` is made when something is first stored."""
        self.path = path

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Hold off `prune` while the block runs: what it builds is not in the index yet."""
        with storage_faults("preparing the image store"):
            self._prepare()
        with locked(self.path / "lock", fcntl.LOCK_SH):
            yield

    @contextlib.contextmanager
    def stage(self) -> Iterator[Path]:
        """A new empty folder on the store's file system, removed at the end with what is still in it."""
        with contextlib.ExitStack() as stack:
            with storage_faults("preparing the image store"):
                self._prepare()
                folder = stack.enter_context(stage(self.path / "tmp"))
            yield folder

    def layer(self, key: str, make: Callable[[Path], None], *, fresh: bool = False) -> str:
        """The digest of the layer for `key` (any text), made by `make(folder)` if it is not there.

        Others that want the same layer wait. With `fresh`, it is made anew. `make` may raise; then nothing is stored.
        """
        name = hashlib.sha256(key.encode()).hexdigest()
        with storage_faults("preparing the image store"):
            self._prepare()
        record = self.path / "keys" / name
        with locked(self.path / "locks" / name, fcntl.LOCK_EX):
            if not fresh and (digest := self._recorded(record)):
                return digest
            with self.stage() as folder:
                content = folder / "layer"
                content.mkdir(mode=0o755)
                make(content)
                with storage_faults("storing dependencies"):
                    digest = self._keep(content, self.path / "layers")
                    write_file(record, digest.encode())
        return digest

    def put_bundle(self, folder: Path, manifest: Manifest, image: str, *, namespace: str) -> ImageRecord:
        """Store the files in `folder`, which is a part of a stage and is used up, under the name `image`.

        It is found in `namespace` alone; empty: in all.
        """
        with storage_faults("storing the bundle"):
            document = msgspec.json.format(msgspec.json.encode(manifest, order="deterministic"), indent=2)
            (folder / _MANIFEST).write_bytes(document + b"\n")
            (folder / _MANIFEST).chmod(0o644)
            digest = self._keep(folder, self.path / "bundles")
            record = ImageRecord(
                image=with_tag(image), namespace=namespace, digest=digest, created_at=datetime.now(UTC)
            )
            write_file(self._index(record.image, namespace), msgspec.json.encode(record))
        return record

    def find(self, image: str, *, namespace: str) -> ImageRecord | None:
        """What this namespace has stored under a name; no tag means `latest`."""
        return _read_record(self._index(with_tag(image), namespace))

    def bundle_path(self, digest: str) -> Path:
        """Where a bundle is."""
        return self.path / "bundles" / _hex(digest)

    def layer_path(self, digest: str) -> Path:
        """Where a layer is."""
        return self.path / "layers" / _hex(digest)

    def manifest(self, digest: str) -> Manifest:
        """Of a bundle. Raises `OSError` and `msgspec.MsgspecError` when it is damaged."""
        return msgspec.json.decode((self.bundle_path(digest) / _MANIFEST).read_bytes(), type=Manifest)

    def list(self) -> list[StoredImage]:
        """Every image, by name. Damaged ones are left out."""
        found = []
        for record in self._records():
            with contextlib.suppress(OSError, msgspec.MsgspecError):
                manifest = self.manifest(record.digest)
                found.append(
                    StoredImage(
                        image=record.image,
                        namespace=record.namespace,
                        digest=record.digest,
                        created_at=record.created_at,
                        size=size_of(self.bundle_path(record.digest)),
                        layers=manifest.layers,
                        mode=manifest.mode,
                    )
                )
        return sorted(found, key=lambda stored: (stored.image, stored.namespace))

    def give_up(self, image: str, *, namespace: str) -> None:
        """Let a name mean no bundle in this namespace. Absence is success. Raises `StorageFull`."""
        with storage_faults("removing the image"):
            self._index(with_tag(image), namespace).unlink(missing_ok=True)

    def remove(self, image: str) -> str:
        """Forget a name in every namespace, and return it whole; `prune` removes what no name needs.

        Raises `ImageNotFound`.
        """
        name = with_tag(image)
        paths = {self._index(name, record.namespace) for record in self._records() if record.image == name}
        if self._index(name, "").exists():  # Also one that is damaged.
            paths.add(self._index(name, ""))
        if not paths:
            raise ImageNotFound(
                f"no image {image} in the image store", hint="'hilbert images list' shows what there is"
            )
        with storage_faults("removing the image"):
            for path in paths:
                path.unlink(missing_ok=True)
        return name

    def prune(self, *, older_than: float) -> Freed:
        """Remove bundles and layers that no name needs and that are older than `older_than` seconds.

        What a running process uses is kept: a replica may still run a bundle that has lost its name. Waits for builds
        under way.
        """
        bundles = layers = size = 0
        with storage_faults("pruning the image store"):
            self._prepare()
            with locked(self.path / "lock", fcntl.LOCK_EX):
                used = _in_use()
                wanted = {_hex(record.digest) for record in self._records()} | used
                limit = time.time() - older_than
                kept: set[str] = set()
                for folder in _folders(self.path / "bundles"):
                    if folder.name in wanted or folder.stat().st_mtime > limit:
                        with contextlib.suppress(OSError, msgspec.MsgspecError):
                            kept |= {_hex(layer) for layer in self.manifest(folder.name).layers}
                        continue
                    size += self._discard(folder)
                    bundles += 1
                for folder in _folders(self.path / "layers"):
                    if folder.name not in kept | used and folder.stat().st_mtime <= limit:
                        size += self._discard(folder)
                        layers += 1
                self._forget_keys()
        return Freed(bundles=bundles, layers=layers, size=size)

    def _prepare(self) -> None:
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("index", "bundles", "layers", "keys", "tmp", "locks"):
            (self.path / name).mkdir(mode=0o700, exist_ok=True)
        sweep(self.path / "tmp")

    def _keep(self, folder: Path, home: Path) -> str:
        """Move a finished folder to where its content says; one that is there already is as good."""
        digest = digest_tree(folder)
        place = home / _hex(digest)
        if place.is_dir():
            os.utime(place)
            return digest
        folder.chmod(0o755)
        sync_tree(folder)
        os.utime(folder)
        try:
            folder.rename(place)
        except OSError:
            if not place.is_dir():  # Else another build of the same content was first.
                raise
        sync(home)
        return digest

    def _recorded(self, record: Path) -> str:
        with contextlib.suppress(OSError):
            digest = record.read_text(encoding="ascii").strip()
            if self.layer_path(digest).is_dir():
                os.utime(self.layer_path(digest))
                return digest
        return ""

    def _discard(self, folder: Path) -> int:
        """Remove a folder of the store so that a crash leaves no half of it under its name; bytes freed."""
        size = size_of(folder)
        gone = self.path / "tmp" / secrets.token_hex(8)
        folder.rename(gone)
        remove_tree(gone)
        return size

    def _forget_keys(self) -> None:
        for record in (self.path / "keys").iterdir():
            if not self._recorded(record):
                record.unlink(missing_ok=True)

    def _records(self) -> Iterator[ImageRecord]:
        if (self.path / "index").is_dir():
            for path in sorted((self.path / "index").glob("*.json")):
                if (record := _read_record(path)) is not None:
                    yield record

    def _index(self, image: str, namespace: str) -> Path:
        return self.path / "index" / f"{index_name(image, namespace)}.json"


def _in_use() -> set[str]:
    """Bundles and layers, of any store, that processes here name in their mounts, environment or working folder."""
    # A mount shows its source from the top of its file system, not from ours, so there is no more to compare.
    pattern = re.compile(rb"/(?:bundles|layers)/([0-9a-f]{64})")
    found: set[str] = set()
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        for name in ("environ", "mountinfo"):
            with contextlib.suppress(OSError):  # It has ended, or is somebody else's.
                found |= {match.decode() for match in pattern.findall((process / name).read_bytes())}
        with contextlib.suppress(OSError):
            found |= {match.decode() for match in pattern.findall(bytes((process / "cwd").readlink()))}
    return found


def _read_record(path: Path) -> ImageRecord | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=ImageRecord)
    except (OSError, msgspec.MsgspecError):
        return None


def _folders(path: Path) -> list[Path]:
    return [entry for entry in path.iterdir() if entry.is_dir()] if path.is_dir() else []


def _hex(digest: str) -> str:
    return digest.removeprefix("sha256:")
