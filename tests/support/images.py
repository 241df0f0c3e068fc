"""Container images made by hand, honest and hostile ones, as OCI layouts; and a registry to serve them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hilbert.images.assemble import MOUNT_POINTS, MOUNTED_FILES, assemble
from hilbert.images.documents import this_platform
from hilbert.images.model import LocalImage
from hilbert.images.packing import zstd
from hilbert.images.store import OciStore
from hilbert.images.unpack import MOST_ENTRIES, Budget, Unpacker, highest_owner

ARCHITECTURE = this_platform().architecture
Member = tuple[tarfile.TarInfo, bytes]
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {
    "+gzip": lambda data: gzip.compress(data, 1, mtime=0),
    "+zstd": zstd.compress,
    "": lambda data: data,
}


def file(name: str, data: bytes = b"", *, mode: int = 0o644, uid: int = 0, gid: int = 0, mtime: int = 1) -> Member:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uid, member.gid, member.mtime = len(data), mode, uid, gid, mtime
    return member, data


def entry(name: str, kind: bytes, *, link: str = "", mode: int = 0o755, uid: int = 0) -> Member:
    """Anything but a file, by its type of `tarfile`."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode, member.uid, member.gid = kind, link, mode, uid, uid
    return member, b""


def folder(name: str, *, mode: int = 0o755, uid: int = 0) -> Member:
    return entry(name, tarfile.DIRTYPE, mode=mode, uid=uid)


def symlink(name: str, to: str) -> Member:
    return entry(name, tarfile.SYMTYPE, link=to)


def hardlink(name: str, to: str) -> Member:
    return entry(name, tarfile.LNKTYPE, link=to)


def layer(*members: Member) -> bytes:
    """A tar file."""
    room = io.BytesIO()
    with tarfile.open(fileobj=room, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data) if member.isreg() else None)
    return room.getvalue()


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Image:
    """An image: its documents and blobs, which may lie where a test says so."""

    def __init__(
        self,
        *layers: bytes,
        packing: str = "+gzip",
        config: Mapping[str, Any] | None = None,
        architecture: str = ARCHITECTURE,
        os: str = "linux",
        docker: bool = False,
        diff_ids: Sequence[str] | None = None,
        packed: Sequence[bytes] | None = None,
    ) -> None:
        """`docker`: media types of Docker's own. `packed`: layers as they are stored, in place of packing `layers`."""
        blobs = list(packed) if packed is not None else [PACKERS[packing](one) for one in layers]
        self.diff_ids = list(diff_ids) if diff_ids is not None else [digest_of(one) for one in layers]
        rootfs = {"type": "layers", "diff_ids": self.diff_ids}
        document = {"architecture": architecture, "os": os, "config": dict(config or {}), "rootfs": rootfs}
        self.config = json.dumps(document).encode()
        kind = "application/vnd.oci.image.layer.v1.tar" + packing
        kinds = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.config.v1+json")
        if docker:
            kind = f"application/vnd.docker.image.rootfs.diff.tar{packing.replace('+', '.')}"
            kinds = (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
            )
        self.media_type = kinds[0]
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": kinds[0],
            "config": {"mediaType": kinds[1], "digest": digest_of(self.config), "size": len(self.config)},
            "layers": [{"mediaType": kind, "digest": digest_of(blob), "size": len(blob)} for blob in blobs],
        }
        self.blobs = {digest_of(blob): blob for blob in (*blobs, self.config)}

    @property
    def document(self) -> bytes:
        return json.dumps(self.manifest).encode()

    @property
    def digest(self) -> str:
        return digest_of(self.document)

    def describe(self, **more: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.document), **more}

    def write_layout(self, path: Path, name: str = "") -> Path:
        """As a folder in OCI's layout."""
        blobs = path / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for digest, blob in {**self.blobs, self.digest: self.document}.items():
            (blobs / digest.removeprefix("sha256:")).write_bytes(blob)
        notes = {"annotations": {"org.opencontainers.image.ref.name": name}} if name else {}
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        (path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [self.describe(**notes)]}))
        return path

    def push(self, url: str, repository: str, tag: str, *, headers: Mapping[str, str] | None = None) -> None:
        """To a registry, by its HTTP API."""
        for digest, blob in self.blobs.items():
            push_blob(url, repository, digest, blob, headers or {})
        put(
            f"{url}/v2/{repository}/manifests/{tag}",
            self.document,
            {**(headers or {}), "Content-Type": self.media_type},
        )


def index_of(*parts: tuple[Image, Mapping[str, str]], docker: bool = False) -> tuple[bytes, str]:
    """An index of images for platforms, and its media type."""
    kind = (
        "application/vnd.docker.distribution.manifest.list.v2+json"
        if docker
        else "application/vnd.oci.image.index.v1+json"
    )
    manifests = [image.describe(platform=dict(platform)) for image, platform in parts]
    return json.dumps({"schemaVersion": 2, "mediaType": kind, "manifests": manifests}).encode(), kind


def push_blob(url: str, repository: str, digest: str, blob: bytes, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(
        f"{url}/v2/{repository}/blobs/uploads/", method="POST", headers=dict(headers), data=b""
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        place = answer.headers["Location"]
    place = place if place.startswith("http") else f"{url}{place}"
    put(
        f"{place}{'&' if '?' in place else '?'}digest={digest}",
        blob,
        {**headers, "Content-Type": "application/octet-stream"},
    )


def put(url: str, data: bytes, headers: Mapping[str, str]) -> None:
    request = urllib.request.Request(url, method="PUT", data=data, headers=dict(headers))
    with urllib.request.urlopen(request, timeout=30):
        pass


def tree_of(
    folder: Path, *layers: bytes, most: int = 1 << 30, entries: int = MOST_ENTRIES, owners: bool = True
) -> Path:
    """The tree that layers unpack to, without a store. Raises what unpacking raises."""
    folder.mkdir(exist_ok=True)
    budget = Budget(size=most, entries=entries)
    unpacked = []
    for number, data in enumerate(layers):
        place = folder / f"layer{number}"
        place.mkdir()
        packed = folder / f"layer{number}.tar"
        packed.write_bytes(data)
        unpacker = Unpacker(place, budget, owners=highest_owner() if owners else None)
        unpacked.append((unpacker.unpack(packed), place))
    target = folder / "tree"
    target.mkdir()
    assemble(unpacked, target)
    return target


async def load(store: OciStore, folder: Path, image: Image, name: str = "fn:1", namespace: str = "dev") -> LocalImage:
    """An image as it is once it has been loaded. Raises what loading raises."""
    layout = image.write_layout(folder / f"layout-{time.monotonic_ns()}", name)
    await store.load(layout, namespace)
    found = store.find(name, namespace)
    assert found is not None
    return found


def paths(tree: Path) -> set[str]:
    """Everything in a tree but its mount points."""
    points = {*MOUNT_POINTS, *MOUNTED_FILES, "etc", "var", "var/openfaas"}
    found = {str(path.relative_to(tree)) for path in tree.rglob("*")}
    return found - points
