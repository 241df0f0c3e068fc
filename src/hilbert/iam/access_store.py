"""Issuers, policies and roles on a shelf: what an administrator applies, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
import structlog

from hilbert.core.access import Document, Issuer, Policy, RoleBinding, kind_of, parse_document, to_manifest
from hilbert.core.errors import Invalid, NotFound, QuotaExceeded
from hilbert.core.ports import Shelf
from hilbert.iam.access import Access

_log = structlog.get_logger("hilbert.iam")

MOST: Final[Mapping[type[Document], int]] = {Issuer: 100, Policy: 2000, RoleBinding: 2000}
"""Objects of each kind."""


class Change(msgspec.Struct, frozen=True):
    """What applying an object does, or would do."""

    kind: str
    name: str
    change: str
    """`created`, `changed` or `unchanged`."""


class AccessStore:
    """The objects of one installation. `access` is always what is kept."""

    def __init__(self, shelf: Shelf, access: Access) -> None:
        self._shelf = shelf
        self.access = access

    async def load(self) -> None:
        """Read all objects. Comes first. Raises `BackendError`."""
        self._take(await self._shelf.load())
        self._shelf.watch(self._take)

    def preview(self, documents: Sequence[Document]) -> list[Change]:
        """What `apply` would do. Raises `Invalid` and `QuotaExceeded`."""
        changes: list[Change] = []
        for one in documents:
            kind = kind_of(one)
            if any((change.kind, change.name) == (kind, one.name) for change in changes):
                raise Invalid(f"{kind} {one.name} comes more than once")
            known = self.access.find(kind, one.name)
            change = "created" if known is None else "unchanged" if known == one else "changed"
            changes.append(Change(kind, one.name, change))
        self._check(documents)
        return changes

    async def apply(self, documents: Sequence[Document]) -> list[Change]:
        """Keep these, each in place of what has its kind and name. Raises as `preview`, and `StorageFull`."""
        changes = self.preview(documents)
        await self._shelf.change({_key(one): msgspec.json.encode(to_manifest(one)) for one in documents})
        merged = {_key(one): one for one in (*self.access.all(), *documents)}
        self.access.replace(merged.values())
        return changes

    async def remove(self, kind: str, name: str) -> None:
        """Raises `NotFound` and `StorageFull`."""
        if self.access.find(kind, name) is None:
            raise NotFound(f"{kind} {name[:64]} not found")
        await self._shelf.change({}, remove=frozenset({f"{kind}/{name}"}))
        self.access.replace(one for one in self.access.all() if (kind_of(one), one.name) != (kind, name))

    def _check(self, documents: Sequence[Document]) -> None:
        merged = {_key(one): one for one in (*self.access.all(), *documents)}
        for kind, most in MOST.items():
            if sum(isinstance(one, kind) for one in merged.values()) > most:
                raise QuotaExceeded(f"there can be at most {most} objects of the kind {kind.__name__}")
        issuers: dict[str, str] = {}
        for one in merged.values():
            if isinstance(one, Issuer) and issuers.setdefault(one.iss, one.name) != one.name:
                raise Invalid(f"JwtIssuer {one.name}: {issuers[one.iss]} has the same iss")

    def _take(self, kept: Mapping[str, bytes]) -> None:
        found: list[Document] = []
        for key, document in kept.items():
            try:
                found.append(parse_document(msgspec.json.decode(document)))
            except (msgspec.MsgspecError, Invalid) as exc:
                _log.warning("an invalid object is ignored", object=key[:300], reason=str(exc))
        self.access.replace(found)


def _key(document: Document) -> str:
    return f"{kind_of(document)}/{document.name}"
