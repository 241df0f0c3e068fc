"""What the store holds by content: blobs, unpacked layers, trees and images, and from where each was shown to whom.

A digest is no secret, and a manifest may name any. So that nobody gets another's layers by naming them, a blob that is here
counts as had only for the registry and repository that it came from: others send it again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from hilbert.images.assemble import assemble
from hilbert.images.documents import Document, Manifest
from hilbert.images.records import ImageRecord, Layout, hex_of
from hilbert.images.unpack import Budget, Layer, Unpacker, highest_owner
from hilbert.kit.files import sync, sync_file_system, write_file
from hilbert.kit.staging import stage


class Depot:
    """Adds to a store. Whoever uses it holds the store's lock."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._owners = highest_owner()

    def source_of(self, digest: str, place: str) -> str | None:
        """What was noted when the blob came from this place: see `note`. None: it is not here, or never came from there."""
        if not self.layout.blob(digest).exists():
            return None
        if not place:
            return ""
        with contextlib.suppress(FileNotFoundError):
            return self._source(digest, place).read_text()
        return None

    def note(self, digest: str, place: str, what: str = "") -> None:
        """Note that a blob came from a place; for a manifest or index, `what` is the digest of the image that it means."""
        if place:
            path = self._source(digest, place)
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_file(path, what.encode())

    def keep_document(self, data: bytes) -> str:
        """Store a manifest, an index or a configuration; its digest."""
        digest = digest_of(data)
        if not self.layout.blob(digest).exists():
            write_file(self.layout.blob(digest), data)
        return digest

    def keep_blob(self, path: Path, digest: str) -> None:
        """Store a packed layer whose digest was checked; the file is used up."""
        os.chmod(path, 0o600)  # noqa: PTH101
        sync(path)
        path.rename(self.layout.blob(digest))
        sync(self.layout.path / "blobs")

    def image(self, digest: str) -> ImageRecord | None:
        """The image of a manifest, if it is whole here."""
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            record = msgspec.json.decode(self.layout.image(digest).read_bytes(), type=ImageRecord)
            if self.layout.root(record.chain).is_dir():
                return record
        return None

    def layer_of(self, blob: str) -> Layer | None:
        """What the packed layer was unpacked to."""
        with contextlib.suppress(FileNotFoundError, msgspec.MsgspecError):
            digest = self.layout.unpacked(blob).read_text()
            return msgspec.json.decode((self.layout.layer(digest) / "layer.json").read_bytes(), type=Layer)
        return None

    @contextlib.contextmanager
    def unpacker(self, budget: Budget) -> Iterator[tuple[Unpacker, Path]]:
        """Something that unpacks into a folder of the store which is not whole yet: `keep_layer` takes it."""
        with stage(self.layout.tmp) as folder:
            files = folder / "layer" / "files"
            files.mkdir(parents=True)
            yield Unpacker(files, budget, owners=self._owners), files.parent

    def keep_layer(self, blob: str, layer: Layer, folder: Path) -> None:
        """Store an unpacked layer whose digest was checked."""
        (folder / "layer.json").write_bytes(msgspec.json.encode(layer))
        sync_file_system(folder)
        _move(folder, self.layout.layer(layer.digest))
        write_file(self.layout.unpacked(blob), layer.digest.encode())

    def put_together(self, manifest: Manifest, document: Document, digest: str, media_type: str) -> ImageRecord:
        """The image of layers that are all here. Raises `Hostile` and `OSError`."""
        layers = [layer for one in manifest.layers if (layer := self.layer_of(one.digest)) is not None]
        chain = chain_of(document.layers)
        if not self.layout.root(chain).is_dir():
            with stage(self.layout.tmp) as folder:
                tree = folder / "tree"
                tree.mkdir()
                assemble([(layer, self.layout.layer(layer.digest) / "files") for layer in layers], tree)
                sync_file_system(folder)
                _move(tree, self.layout.root(chain))
        record = ImageRecord(
            digest=digest,
            media_type=media_type,
            chain=chain,
            config_digest=manifest.config.digest,
            blobs=tuple(one.digest for one in manifest.layers),
            layers=document.layers,
            size=sum(layer.size for layer in layers) + sum(one.size for one in manifest.layers),
            config=document.config,
            created_at=datetime.now(UTC),
        )
        write_file(self.layout.image(digest), msgspec.json.encode(record))
        return record

    def _source(self, digest: str, place: str) -> Path:
        return self.layout.path / "sources" / hex_of(digest) / hashlib.sha256(place.encode()).hexdigest()


def digest_of(data: bytes) -> str:
    """As registries name it."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def chain_of(layers: Sequence[str]) -> str:
    """One name for a sequence of layers."""
    return digest_of("\n".join(layers).encode())


def _move(folder: Path, place: Path) -> None:
    """To where its content says; one that is there already is as good."""
    try:
        folder.rename(place)
    except OSError:
        if not place.is_dir():
            raise
    sync(place.parent)
