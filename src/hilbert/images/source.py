"""Where an image comes from: a registry, or a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from hilbert.images.documents import Descriptor

Kind = Literal["denied", "unreachable", "other"]
"""Whether the registry said no, or nothing."""


class Failed(Exception):
    """A step failed. All is public, and the step is named by what it does: `downloading a layer`."""

    def __init__(self, step: str, reason: str, *, hint: str = "", kind: Kind = "other") -> None:
        super().__init__(f"{step}: {reason}")
        self.kind = kind
        self.step = step
        self.reason = reason
        self.hint = hint


class Source(Protocol):
    """Gives documents and layers. What it gives is checked by whoever asks."""

    place: str
    """Names what this source shows to whom it shows anything: registry and repository; empty: to whoever has the file."""

    async def look_up(self, reference: str) -> str:
        """The digest that a tag or a digest stands for now; empty where the source does not say. Raises `Failed`."""
        ...

    async def manifest(self, reference: str) -> bytes:
        """The manifest or index of a tag or a digest. Raises `Failed`."""
        ...

    async def document(self, descriptor: Descriptor) -> bytes:
        """A small blob. Raises `Failed`."""
        ...

    async def fetch(self, descriptor: Descriptor, target: Path, told: Callable[[int], None]) -> None:
        """Write a blob to `target`, where a part of it may be from before. `told` is told bytes as they come. Raises `Failed`."""
        ...
