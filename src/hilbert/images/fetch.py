"""Brings one image from a source into the store: documents, layers side by side, unpacking, the whole tree."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from hilbert.images.depot import Depot, digest_of
from hilbert.images.documents import (
    MANIFESTS,
    MOST_DOCUMENT,
    Descriptor,
    Document,
    Index,
    Manifest,
    NoImage,
    Platform,
    WrongPlatform,
    check_platform,
    choose,
    read_config,
    read_manifest,
    this_platform,
)
from hilbert.images.model import Step
from hilbert.images.records import ImageRecord
from hilbert.images.source import Failed, Source
from hilbert.images.tree import Hostile
from hilbert.images.unpack import Budget
from hilbert.kit.staging import locked

_AT_ONCE: Final = 3
"""Layers that are fetched side by side."""
_TELL_EVERY: Final = 0.1
"""Seconds."""


class Fetched(msgspec.Struct, frozen=True):
    """What a name turned out to be."""

    record: ImageRecord
    asked: str
    """The digest that the source gave for the name: of the index, where there is one."""
    here: bool
    """All of it was here, and had come from this source before."""


class Fetcher:
    """Brings images from one source."""

    def __init__(
        self,
        depot: Depot,
        source: Source,
        *,
        most: int,
        tell: Callable[[Step], None],
        platform: Platform | None = None,
    ) -> None:
        """`most`: bytes of an unpacked image."""
        self._depot = depot
        self._source = source
        self._most = most
        self._tell = tell
        self._platform = platform or this_platform()
        self._done = self._total = self._layers = self._all_layers = 0
        self._told_at = 0.0
        self._unpacking = asyncio.Lock()

    async def bring(self, reference: str) -> Fetched:
        """The image that a tag or digest means. Raises `Failed`."""
        self._say("resolving", now=True)
        asked = await self._source.look_up(reference)
        if asked and (record := self._here(asked)) is not None:
            return Fetched(record, asked, here=True)
        try:
            return await self._bring(asked or reference)
        except Hostile as exc:
            raise Failed("checking the image", str(exc), hint="it is damaged or malicious; build it again") from exc
        except (NoImage, WrongPlatform) as exc:
            raise Failed(
                "choosing the platform" if isinstance(exc, WrongPlatform) else "reading the manifest", str(exc)
            ) from exc

    async def _bring(self, reference: str) -> Fetched:
        data, found = await self._read(reference)
        asked = digest_of(data)
        if isinstance(found, Index):
            chosen = choose(found, self._platform)
            self._depot.keep_document(data)
            data, found = await self._read(chosen.digest, size=chosen.size)
            if isinstance(found, Index):
                raise NoImage("its index names another index")
        digest = digest_of(data)
        record = self._here(digest)
        if record is None:
            config = await self._source.document(found.config)
            _check(config, found.config, "its configuration")
            document = read_config(config)
            check_platform(document.config, self._platform)
            if len(document.layers) != len(found.layers):
                raise Hostile("its manifest and its configuration name different layers")
            if sum(layer.size for layer in found.layers) > self._most:
                raise Hostile("it is larger than images.max_size allows")
            self._depot.keep_document(config)
            await self._get_layers(found, document)
            self._say("unpacking", now=True)
            self._depot.keep_document(data)
            record = await asyncio.to_thread(self._depot.put_together, found, document, digest, _media_type(data))
            here = False
        else:
            here = True
        place = self._source.place
        for blob in (*record.blobs, record.config_digest):
            self._depot.note(blob, place)
        for one in {asked, digest}:
            self._depot.note(one, place, digest)
        self._say("done", now=True)
        return Fetched(record, asked, here=here)

    def _here(self, digest: str) -> ImageRecord | None:
        """The image, if it is whole here and the source has shown all of it before."""
        meant = self._depot.source_of(digest, self._source.place) if self._source.place else digest
        return self._depot.image(meant) if meant else None

    async def _read(self, reference: str, *, size: int | None = None) -> tuple[bytes, Index | Manifest]:
        data = await self._source.manifest(reference)
        if len(data) > MOST_DOCUMENT or (size is not None and len(data) != size):
            raise Hostile("its manifest's size differs from the one in its index")
        if reference.startswith("sha256:") and digest_of(data) != reference:
            raise Hostile("its manifest does not have the requested digest")
        return data, read_manifest(data)

    async def _get_layers(self, manifest: Manifest, document: Document) -> None:
        expected: dict[str, tuple[Descriptor, str]] = {}
        for descriptor, digest in zip(manifest.layers, document.layers, strict=True):
            if expected.setdefault(descriptor.digest, (descriptor, digest))[1] != digest:
                raise Hostile("it lists one layer with two different contents")
        self._total = sum(descriptor.size for descriptor, _ in expected.values())
        self._all_layers = len(expected)
        budget = Budget(size=self._most)
        slots = asyncio.Semaphore(_AT_ONCE)
        try:
            async with asyncio.TaskGroup() as group:
                for descriptor, digest in expected.values():
                    group.create_task(self._get_layer(descriptor, digest, budget, slots))
        except BaseExceptionGroup as exc:
            raise exc.exceptions[0] from exc

    async def _get_layer(self, descriptor: Descriptor, digest: str, budget: Budget, slots: asyncio.Semaphore) -> None:
        async with slots:
            if self._depot.source_of(descriptor.digest, self._source.place) is None:
                await self._download(descriptor)
            elif self._depot.layout.blob(descriptor.digest).stat().st_size != descriptor.size:
                raise Hostile("its manifest says a wrong size of a layer")
            else:
                self._advance(descriptor.size)
        async with self._unpacking:
            await asyncio.to_thread(self._unpack, descriptor, digest, budget)
        self._layers += 1
        self._say(self._phase, now=True)

    async def _download(self, descriptor: Descriptor) -> None:
        partial = self._depot.layout.partial(descriptor.digest, self._source.place)
        # Another process that fetches the same waits, and then has it.
        with contextlib.ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, locked(partial.with_suffix(".lock"), fcntl.LOCK_EX))
            if self._depot.source_of(descriptor.digest, self._source.place) is not None:
                self._advance(descriptor.size)
                return
            try:
                await self._source.fetch(descriptor, partial, self._advance)
            except OSError:
                partial.unlink(missing_ok=True)  # What is on a full disk keeps it full.
                raise
            size, digest = await asyncio.to_thread(_measure, partial)
            if (size, digest) != (descriptor.size, descriptor.digest):
                partial.unlink(missing_ok=True)
                raise Failed(
                    "checking a layer",
                    f"{descriptor.digest} came with {size} bytes and the digest {digest}, and should have {descriptor.size}",
                    hint="it was damaged in transit or in the registry; try again",
                )
            await asyncio.to_thread(self._depot.keep_blob, partial, descriptor.digest)
            self._depot.note(descriptor.digest, self._source.place)

    def _unpack(self, descriptor: Descriptor, digest: str, budget: Budget) -> None:
        layer = self._depot.layer_of(descriptor.digest)
        if layer is not None:
            budget.size -= layer.size
            budget.entries -= layer.entries
            if budget.size < 0 or budget.entries < 0:
                raise Hostile("it is larger than images.max_size allows")
        else:
            with self._depot.unpacker(budget) as (unpacker, folder):
                # Told from this thread: whoever waits wants to know that it goes on.
                layer = unpacker.unpack(
                    self._depot.layout.blob(descriptor.digest), told=lambda _: self._say(self._phase)
                )
                if layer.digest == digest:
                    self._depot.keep_layer(descriptor.digest, layer, folder)
        if layer.digest != digest:
            raise Hostile("one of its layers does not match its configuration")

    def _advance(self, size: int) -> None:
        self._done += size
        self._say(self._phase)

    @property
    def _phase(self) -> str:
        return "downloading" if self._done < self._total else "unpacking"

    def _say(self, phase: str, *, now: bool = False) -> None:
        moment = time.monotonic()
        if now or moment - self._told_at >= _TELL_EVERY:
            self._told_at = moment
            step = Step(
                phase=phase, done=self._done, total=self._total, layers=self._layers, all_layers=self._all_layers
            )
            self._tell(step)


def _check(data: bytes, descriptor: Descriptor, what: str) -> None:
    if (len(data), digest_of(data)) != (descriptor.size, descriptor.digest):
        raise Hostile(f"{what} is not what its manifest says, by size or digest")


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), f"sha256:{digest}"


def _media_type(data: bytes) -> str:
    """As the manifest says itself; the older ones of OCI do not."""
    return msgspec.json.decode(data, type=_Said).media_type or MANIFESTS[0]


class _Said(msgspec.Struct, frozen=True, rename="camel"):
    media_type: str = ""
