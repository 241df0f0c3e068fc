"""Images in files: OCI layouts, as a folder or a tar file, and what `docker save` writes.

Layouts: https://github.com/opencontainers/image-spec/blob/main/image-layout.md. `docker save` has a `manifest.json` with, for each
image, its configuration, its unpacked layers and its names; a manifest is made of them here.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

import msgspec

from hilbert.images.depot import digest_of
from hilbert.images.documents import (
    MOST_DOCUMENT,
    MOST_LAYERS,
    OCI_CONFIG,
    OCI_LAYER,
    Descriptor,
    Index,
    NoImage,
    read_manifest,
)
from hilbert.images.source import Failed
from hilbert.images.tree import Hostile, shown

MOST_IMAGES: Final = 1000
"""In one file."""
MOST_MEMBERS: Final = 100_000
_PIECE: Final = 1 << 20
_NAME: Final = "org.opencontainers.image.ref.name"
_FULL_NAME: Final = "io.containerd.image.name"
_READING: Final = "reading the file"


class Held(msgspec.Struct, frozen=True):
    """An image in a file."""

    reference: str
    """The digest under which the source gives its manifest."""
    names: tuple[str, ...]
    """As the file has them; none where it names no image."""


class _Saved(msgspec.Struct, frozen=True, rename="pascal"):
    """An entry of `manifest.json`."""

    config: str
    layers: tuple[str, ...]
    repo_tags: tuple[str, ...] | None = None


class _Files(Protocol):
    """Files by name."""

    def size(self, name: str) -> int | None:
        """Bytes; None where there is no such file."""
        ...

    def open(self, name: str) -> BinaryIO: ...


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def size(self, name: str) -> int | None:
        path = self._path / name
        return path.stat().st_size if path.is_file() else None

    def open(self, name: str) -> BinaryIO:
        return (self._path / name).open("rb")


class _Part(io.RawIOBase):
    """A stretch of a file, read without moving the file's own position: layers are copied by several threads at once."""

    def __init__(self, file: int, start: int, size: int) -> None:
        self._file = file
        self._at = start
        self._end = start + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        """Raises `EOFError` where the file ends too soon."""
        room = memoryview(buffer)[: self._end - self._at]
        count = os.preadv(self._file, [room], self._at) if room else 0
        if room and not count:
            raise EOFError("it ends in the middle of a file")
        self._at += count
        return count


class _Tar:
    def __init__(self, archive: tarfile.TarFile, file: BinaryIO) -> None:
        self._file = file
        self._members: dict[str, tarfile.TarInfo] = {}
        for number, member in enumerate(archive):
            if number >= MOST_MEMBERS:
                raise Failed(_READING, f"it holds more than {MOST_MEMBERS} files")
            if member.isreg() or member.islnk() or member.issym():
                self._members[os.path.normpath(member.name)] = member

    def size(self, name: str) -> int | None:
        member = self._find(name)
        return None if member is None else member.size

    def open(self, name: str) -> BinaryIO:
        member = self._find(name)
        if member is None:
            raise Failed(_READING, f"it lacks {shown(name)}")
        if member.issparse():
            raise Failed(_READING, f"{shown(name)} in it is a sparse file")
        return cast("BinaryIO", io.BufferedReader(_Part(self._file.fileno(), member.offset_data, member.size), _PIECE))

    def _find(self, name: str) -> tarfile.TarInfo | None:
        """Layers that several images have are written once, the others as links."""
        for _ in range(8):
            member = self._members.get(os.path.normpath(name))
            if member is None or member.isreg():
                return member
            name = member.linkname if member.islnk() else os.path.join(os.path.dirname(name), member.linkname)  # noqa: PTH118, PTH120
        return None


class ArchiveSource:
    """The images of a file."""

    place = ""

    def __init__(self, files: _Files) -> None:
        """Raises `Failed`."""
        self._files = files
        self._documents: dict[str, bytes] = {}
        """Made here, by digest."""
        self._blobs: dict[str, str] = {}
        """Names of files, by digest."""
        self.images: list[Held] = []
        if files.size("index.json") is not None and files.size("oci-layout") is not None:
            self._read_layout()
        elif files.size("manifest.json") is not None:
            self._read_saved()
        else:
            raise Failed(
                _READING,
                "it holds no images",
                hint="make it with 'docker save', 'podman save', 'skopeo copy' or 'hilbert images export'",
            )

    async def look_up(self, reference: str) -> str:
        return reference

    async def manifest(self, reference: str) -> bytes:
        if (made := self._documents.get(reference)) is not None:
            return made
        return self._read(self._name(reference), MOST_DOCUMENT)

    async def document(self, descriptor: Descriptor) -> bytes:
        return self._read(self._name(descriptor.digest), MOST_DOCUMENT)

    async def fetch(self, descriptor: Descriptor, target: Path, told: Callable[[int], None]) -> None:
        import asyncio

        await asyncio.to_thread(self._copy, self._name(descriptor.digest), target, told)

    def _copy(self, name: str, target: Path, told: Callable[[int], None]) -> None:
        with self._reading(), self._files.open(name) as source, target.open("wb") as file:
            while data := source.read(_PIECE):
                file.write(data)
                told(len(data))

    def _read_layout(self) -> None:
        try:
            index = read_manifest(self._read("index.json", MOST_DOCUMENT))
        except (Hostile, NoImage) as exc:
            raise Failed(_READING, f"its index.json cannot be used: {exc}") from exc
        if not isinstance(index, Index) or len(index.manifests) > MOST_IMAGES:
            raise Failed(_READING, f"its index.json is not a list of at most {MOST_IMAGES} images")
        for one in index.manifests:
            notes = one.annotations or {}
            name = notes.get(_FULL_NAME) or notes.get(_NAME) or ""
            self.images.append(Held(one.digest, (name,) if name else ()))

    def _read_saved(self) -> None:
        try:
            saved = msgspec.json.decode(self._read("manifest.json", MOST_DOCUMENT), type=list[_Saved])
        except msgspec.MsgspecError as exc:
            raise Failed(_READING, f"its manifest.json cannot be read: {exc}") from exc
        if len(saved) > MOST_IMAGES:
            raise Failed(_READING, f"it holds more than {MOST_IMAGES} images")
        for image in saved:
            if len(image.layers) > MOST_LAYERS:
                raise Failed(_READING, f"an image in it has more than {MOST_LAYERS} layers")
            config = self._read(image.config, MOST_DOCUMENT)
            self._blobs[digest_of(config)] = image.config
            layers = [self._describe(OCI_LAYER, name) for name in image.layers]
            manifest = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": Descriptor(OCI_CONFIG, digest_of(config), len(config)),
                "layers": layers,
            }
            data = msgspec.json.encode(manifest, order="deterministic")
            self._documents[digest_of(data)] = data
            self.images.append(Held(digest_of(data), image.repo_tags or ()))

    def _describe(self, media_type: str, name: str) -> Descriptor:
        with self._reading(), self._files.open(name) as file:
            digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"  # type: ignore[arg-type]
            size = self._files.size(name) or 0
        self._blobs[digest] = name
        return Descriptor(media_type, digest, size)

    def _name(self, digest: str) -> str:
        return self._blobs.get(digest) or f"blobs/{digest.replace(':', '/', 1)}"

    def _read(self, name: str, most: int) -> bytes:
        with self._reading(), self._files.open(name) as file:
            data = file.read(most + 1)
        if len(data) > most:
            raise Failed(_READING, f"{shown(name)} in it has more than {most} bytes")
        return data

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as exc:
            raise Failed(_READING, "a part of it is missing") from exc
        except (tarfile.TarError, EOFError, gzip.BadGzipFile) as exc:
            raise Failed(_READING, f"it is damaged: {exc}") from exc


@contextlib.contextmanager
def opened(path: Path, room: Path) -> Iterator[ArchiveSource]:
    """The images in a file or folder. `room` is an empty folder, for what must be written out first. Raises `Failed`."""
    try:
        if path.is_dir():
            yield ArchiveSource(_Folder(path))
            return
        with contextlib.ExitStack() as stack:
            file: BinaryIO = stack.enter_context(path.open("rb"))
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                plain = stack.enter_context((room / "plain.tar").open("w+b"))
                with gzip.GzipFile(fileobj=file) as packed:
                    shutil.copyfileobj(packed, plain, _PIECE)
                file = plain
            file.seek(0)
            archive = stack.enter_context(tarfile.open(fileobj=file, mode="r:"))
            yield ArchiveSource(_Tar(archive, file))
    except (tarfile.TarError, EOFError, gzip.BadGzipFile) as exc:
        raise Failed(_READING, f"{path} is not an archive of images: {exc}") from exc
    except FileNotFoundError as exc:
        raise Failed(_READING, "there is no such file") from exc
