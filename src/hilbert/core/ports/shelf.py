"""The seam to where an installation keeps a few small things for itself: tokens, keys, policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

Topic = Literal["tokens", "issuing_keys", "access"]
Changed = Callable[[Mapping[str, bytes]], None]


class Shelf(Protocol):
    """Small documents under names, seen by every gateway of an installation.

    What a method did is kept, also through a crash, when it returns. Methods raise `StorageFull` and
    `QuotaExceeded` when nothing was changed for want of room, and `BackendError`.
    """

    async def load(self) -> Mapping[str, bytes]:
        """All documents."""
        ...

    async def put(self, name: str, document: bytes) -> None:
        """Keep a document, in place of what had its name."""
        ...

    async def renew(self, name: str, document: bytes) -> None:
        """As `put`, but only if there is one of that name: what was removed does not come back."""
        ...

    async def change(self, put: Mapping[str, bytes], remove: frozenset[str] = frozenset()) -> None:
        """Keep some and remove others, all at once or not at all. Those that are not there are passed over."""
        ...

    def watch(self, changed: Changed) -> None:
        """Call `changed` with all documents whenever another gateway has changed some, within a second."""
        ...


@runtime_checkable
class SharedShelves(Protocol):
    """Capability of a provider: several gateways of one installation have a place in common."""

    def shelf(self, topic: Topic) -> Shelf: ...

    def watch_access(self, changed: Callable[[Sequence[Mapping[str, Any]]], None]) -> None:
        """Call `changed` with all issuers, policies and roles, as they are written, whenever some have changed."""
        ...
