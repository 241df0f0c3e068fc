"""The images of this machine: found by name and namespace, fetched when they are missing, kept while they are used."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from hilbert.core.errors import ImageUnavailable, StorageFull
from hilbert.images.model import Credentials, LocalImage, Progress, PullPolicy
from hilbert.images.records import ImageRecord, Layout, NameRecord
from hilbert.images.reference import Reference

T = TypeVar("T")


class OciStore:
    """A store of container images. Any number of processes may use one at once."""

    def __init__(self, path: Path) -> None:
        """`path` is made when something is first stored."""
        self.layout = Layout(path)

    def find(self, image: str, namespace: str) -> LocalImage | None:
        """The image if it is here and this namespace may use it. Reads two small files.

        Raises `InvalidSpec` for what is no image's name, and `ImageUnavailable` when the store is damaged.
        """
        reference = Reference.parse(image)
        for whose in (namespace, ""):
            named = self._read(self.layout.name(reference.full, whose), NameRecord)
            if named is not None and (stored := self._read(self.layout.image(named.digest), ImageRecord)) is not None:
                return self._local(image, stored)
        return None

    async def ensure(
        self,
        image: str,
        namespace: str,
        *,
        policy: PullPolicy,
        credentials: Credentials | None = None,
        progress: Progress | None = None,
    ) -> LocalImage:
        """The image, fetched if `policy` says so. Calls for one image and namespace share one fetch.

        Raises `InvalidSpec`, and `ImageUnavailable` with the step that failed and what to do.
        """
        del policy, credentials, progress  # Nothing is fetched yet.
        found = self.find(image, namespace)
        if found is None:
            raise ImageUnavailable(f"image {image} is not on this machine")
        return found

    def pin(self, digest: str, replica: str) -> None:
        """Keep `prune` from removing the image while this replica uses it. Does nothing twice.

        Raises `ImageUnavailable` when it was removed since it was found, and `StorageFull`.
        """
        try:
            with self._locked(fcntl.LOCK_SH):
                if not self.layout.image(digest).exists():
                    raise ImageUnavailable(f"the image {digest} was removed", hint="start it again: it is fetched anew")
                folder = self.layout.pins(digest)
                folder.mkdir(mode=0o700, exist_ok=True)
                (folder / replica).touch(mode=0o600)
        except OSError as exc:
            raise StorageFull(f"cannot note that an image is used: {exc.strerror}") from exc

    def unpin(self, digest: str, replica: str) -> None:
        """The replica is gone. Absence is success. Raises `OSError`."""
        folder = self.layout.pins(digest)
        (folder / replica).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # Others are in it, or it is gone.
            folder.rmdir()

    def pins(self) -> Iterator[tuple[str, str]]:
        """Digests of images in use, each with a replica that uses it."""
        with contextlib.suppress(FileNotFoundError):
            for folder in (self.layout.path / "pins").iterdir():
                with contextlib.suppress(FileNotFoundError):
                    for pin in folder.iterdir():
                        yield f"sha256:{folder.name}", pin.name

    def _local(self, image: str, stored: ImageRecord) -> LocalImage:
        return LocalImage(
            name=image,
            digest=stored.digest,
            size=stored.size,
            config=stored.config,
            root=self.layout.root(stored.chain),
        )

    def _read(self, path: Path, kind: type[T]) -> T | None:
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as exc:
            raise ImageUnavailable(
                "the store of images is damaged", detail=f"{path}: {exc}", hint="pull the image again"
            ) from exc

    @contextlib.contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        """Hold the store's lock; it ends with the process, however that ends."""
        self.layout.prepare()
        descriptor = os.open(self.layout.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, kind)
            yield
        finally:
            os.close(descriptor)
