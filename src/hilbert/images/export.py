"""An image as one file: an OCI layout in a tar file, with the `manifest.json` that older versions of Docker want."""

from __future__ import annotations

import io
import os
import secrets
import tarfile
from pathlib import Path

import msgspec

from hilbert.images.documents import Descriptor
from hilbert.images.records import ImageRecord, Layout, hex_of
from hilbert.images.reference import Reference
from hilbert.kit.files import sync


def export(layout: Layout, image: ImageRecord, reference: Reference, target: Path) -> None:
    """Write the image to `target`, whole or not at all. Raises `OSError`."""
    draft = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    try:
        with tarfile.open(draft, "x:") as archive:
            for name, data in _documents(layout, image, reference).items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
            for digest in dict.fromkeys((image.digest, image.config_digest, *image.blobs)):
                member = tarfile.TarInfo(_place(digest))
                with layout.blob(digest).open("rb") as file:
                    member.size = os.fstat(file.fileno()).st_size
                    archive.addfile(member, file)
        sync(draft)
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _documents(layout: Layout, image: ImageRecord, reference: Reference) -> dict[str, bytes]:
    size = layout.blob(image.digest).stat().st_size
    notes = {"io.containerd.image.name": reference.full, "org.opencontainers.image.ref.name": reference.full}
    manifest = Descriptor(image.media_type, image.digest, size, annotations=notes)
    saved = {
        "Config": _place(image.config_digest),
        "RepoTags": [] if reference.digest else [reference.full],
        "Layers": [_place(blob) for blob in image.blobs],
    }
    return {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": msgspec.json.encode({"schemaVersion": 2, "manifests": [manifest]}),
        "manifest.json": msgspec.json.encode([saved]),
    }


def _place(digest: str) -> str:
    return f"blobs/sha256/{hex_of(digest)}"
