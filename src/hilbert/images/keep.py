"""Names of images and what they keep: listed, given, taken away, and the space of what nobody names any more."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from hilbert.images.records import ImageRecord, Layout, NameRecord, Origin, hex_of
from hilbert.images.reference import Reference, familiar
from hilbert.images.source import Failed
from hilbert.kit.files import write_file
from hilbert.kit.staging import locked, stage, sweep

T = TypeVar("T")

MOST_NAMES: Final = 1000
"""Names of images in one namespace, those with a digest that come beside a tag not counted."""
_PARTIAL_AGE: Final = 86_400.0
"""Seconds for which a download may be continued."""


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A name and its image, as they are listed."""

    image: str
    namespace: str
    """Empty: shared with all."""
    digest: str
    origin: Origin
    platform: str
    size: int
    """Bytes on the disk; images may share them."""
    user: str
    created_at: datetime
    replicas: int
    """That use it."""


class Freed(msgspec.Struct, frozen=True, kw_only=True):
    """What was removed."""

    images: int = 0
    layers: int = 0
    size: int = 0
    """Bytes."""


def read(path: Path, kind: type[T]) -> T | None:
    """What is written there; None where there is nothing, or nothing whole."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return None


def names(layout: Layout) -> Iterator[NameRecord]:
    """All names, in no order. Damaged ones are left out."""
    for path in (layout.path / "names").glob("*.json"):
        if (record := read(path, NameRecord)) is not None:
            yield record


def pinned(layout: Layout) -> Iterator[tuple[str, str]]:
    """Digests of images in use, each with a replica that uses it."""
    with contextlib.suppress(FileNotFoundError):
        for folder in (layout.path / "pins").iterdir():
            with contextlib.suppress(FileNotFoundError):
                for pin in folder.iterdir():
                    yield f"sha256:{folder.name}", pin.name


def listed(layout: Layout) -> list[Stored]:
    """Every name that has an image, by name."""
    uses: dict[str, int] = {}
    for digest, _ in pinned(layout):
        uses[digest] = uses.get(digest, 0) + 1
    found = []
    for record in names(layout):
        image = None if record.implied else read(layout.image(record.digest), ImageRecord)
        if image is not None:
            found.append(
                Stored(
                    image=familiar(record.name),
                    namespace=record.namespace,
                    digest=record.digest,
                    origin=record.origin,
                    platform=f"{image.config.os or 'linux'}/{image.config.architecture}",
                    size=image.size,
                    user=image.config.user,
                    created_at=record.checked_at,
                    replicas=uses.get(record.digest, 0),
                )
            )
    return sorted(found, key=lambda stored: (stored.image, stored.namespace))


def give_name(
    layout: Layout, reference: Reference, namespace: str, digest: str, origin: Origin, *, also: Collection[str] = ()
) -> None:
    """Let the name mean this image in the namespace; `also` are digests that mean it as well. Raises `OSError`."""
    now = datetime.now(UTC)
    implied = {reference.at(one) for one in (digest, *also)} - {reference.full}
    for name in (reference.full, *sorted(implied)):
        path = layout.name(name, namespace)
        old = read(path, NameRecord)
        if name in implied and old is not None and not old.implied:
            continue
        # Who brought an image keeps it as its own, whatever the registry says later.
        kept = old is not None and old.digest == digest and origin is Origin.GRANTED
        record = NameRecord(
            name=name,
            namespace=namespace,
            digest=digest,
            origin=old.origin if kept and old is not None else origin,
            checked_at=now,
            implied=name in implied,
        )
        write_file(path, msgspec.json.encode(record))


def make_room(layout: Layout, namespace: str, image: ImageRecord, *, most: int) -> None:
    """See that the namespace's images and this one take no more than `most` bytes, and are no more than `MOST_NAMES`.

    Pulled ones that nobody uses are dropped, the least recently used first.

    Raises `Failed` when that is not enough.
    """
    sizes: dict[str, int] = {}
    droppable: list[tuple[float, NameRecord]] = []
    count = 1
    in_use = {digest for digest, _ in pinned(layout)}
    for record in names(layout):
        found = read(layout.image(record.digest), ImageRecord) if record.namespace == namespace else None
        if found is None:
            continue
        count += not record.implied
        if record.digest == image.digest:
            continue
        sizes[record.digest] = found.size
        if record.origin in (Origin.PULLED, Origin.GRANTED) and record.digest not in in_use:
            with contextlib.suppress(FileNotFoundError):
                droppable.append((layout.name(record.name, namespace).stat().st_mtime, record))
    taken = sum(sizes.values()) + image.size
    for _, record in sorted(droppable, key=lambda pair: pair[0]):
        if taken <= most and count <= MOST_NAMES:
            return
        taken -= sizes.pop(record.digest, 0)
        for other in [one for _, one in droppable if one.digest == record.digest]:
            count -= not other.implied
            layout.name(other.name, namespace).unlink(missing_ok=True)
        droppable = [pair for pair in droppable if pair[1].digest != record.digest]
    if taken > most or count > MOST_NAMES:
        raise Failed(
            "keeping the image",
            f"the images of namespace {namespace} would take {taken} bytes under {count} names; they may take {most} "
            f"(images.namespace_size) under {MOST_NAMES}",
            hint="remove images that are not needed with 'hilbert images remove', or have an administrator raise it",
        )


def remove_name(layout: Layout, reference: Reference, namespace: str | None) -> int:
    """Take a name away in one namespace, or in all for None. How many had it. Raises `OSError`."""
    gone = 0
    for record in list(names(layout)):
        if record.name == reference.full and namespace in (None, record.namespace):
            layout.name(record.name, record.namespace).unlink(missing_ok=True)
            gone += 1
    return gone


def forget(layout: Layout, namespace: str) -> None:
    """Take all names of a namespace away. Raises `OSError`."""
    for record in list(names(layout)):
        if namespace and record.namespace == namespace:
            layout.name(record.name, record.namespace).unlink(missing_ok=True)


def prune(layout: Layout, *, older_than: float, wait: bool = True, only: str = "") -> Freed:
    """Remove images that nobody names or uses and that are older than so many seconds, with what only they needed.

    `wait`: for fetches under way, which may still need what they found; otherwise nothing is done while there are any.
    `only`: the digest of an image; no other image is removed. Raises `OSError`.
    """
    layout.prepare()
    sweep(layout.tmp)
    with stage(layout.tmp) as trash:
        try:
            with locked(layout.lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)):
                images, layers = _drop(layout, trash, limit=time.time() - older_than, only=only)
        except BlockingIOError:
            return Freed()
        # Named by nobody any more; the lock is not held meanwhile, since starting a replica takes it too.
        size = _size_of(trash)
    return Freed(images=images, layers=layers, size=size)


def _drop(layout: Layout, trash: Path, *, limit: float, only: str) -> tuple[int, int]:
    used = {digest for digest, _ in pinned(layout)}
    used |= {record.digest for record in names(layout) if not record.implied}
    kept: dict[str, ImageRecord] = {}
    images = 0
    for path in list((layout.path / "images").iterdir()):
        digest = f"sha256:{path.stem}"
        record = read(path, ImageRecord)
        old = path.stat().st_mtime <= limit and (not only or digest == only)
        if digest not in used and old:
            path.unlink()
            images += 1
        elif record is not None:
            kept[digest] = record
    for name in list(names(layout)):
        if name.implied and name.digest not in kept:
            layout.name(name.name, name.namespace).unlink(missing_ok=True)
    roots = {hex_of(record.chain) for record in kept.values()}
    layers = {hex_of(layer) for record in kept.values() for layer in record.layers}
    blobs = {hex_of(blob) for one in kept.values() for blob in (*one.blobs, one.config_digest, one.digest)}
    blobs |= _indexes(layout, kept)
    before = 0
    for folder, wanted in (
        ("roots", roots),
        ("layers", layers),
        ("unpacked", blobs),
        ("blobs", blobs),
        ("sources", blobs),
    ):
        for path in list((layout.path / folder).iterdir()):
            if path.name not in wanted and path.stat().st_mtime <= limit:
                path.rename(trash / f"{folder}-{path.name}")
                before += folder == "layers"
    for path in list((layout.path / "partial").iterdir()):
        if path.stat().st_mtime <= time.time() - _PARTIAL_AGE:
            path.rename(trash / f"partial-{path.name}")
    return images, before


def _indexes(layout: Layout, kept: Collection[str]) -> set[str]:
    """Indexes that mean an image which is kept."""
    found = set()
    for folder in (layout.path / "sources").iterdir():
        for place in folder.iterdir():
            if place.read_text() in kept:
                found.add(folder.name)
    return found


def _size_of(folder: Path) -> int:
    """Bytes on the disk that go with it: files that are linked from elsewhere stay."""
    size = 0
    counts: dict[tuple[int, int], int] = {}
    for here, _, files in os.walk(folder):
        for name in files:
            seen = os.lstat(f"{here}/{name}")
            key = seen.st_dev, seen.st_ino
            counts[key] = counts.get(key, 0) + 1
            if counts[key] == seen.st_nlink:
                size += seen.st_size
    return size
