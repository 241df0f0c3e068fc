"""Tokens that exist: all of them in memory, for the door, and on a shelf that a crash leaves whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import structlog

from hilbert.core.errors import HilbertError, NotFound, QuotaExceeded
from hilbert.core.ports import Shelf
from hilbert.core.values import NamespaceName
from hilbert.iam.tokens import Minted, Token, proves, take_apart
from hilbert.kit.aio import spawn

_log = structlog.get_logger("hilbert.iam")

MOST_PER_NAMESPACE: Final = 100
MOST: Final = 10_000
USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)


class TokenStore:
    """Every token. A change is in force, here and after a restart, when its method returns."""

    def __init__(
        self,
        shelf: Shelf,
        *,
        note_every: timedelta = USE_IS_NOTED_EVERY,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._note_every = note_every
        self._shelf = shelf
        self._now = now
        self._tokens: dict[str, Token] = {}
        self.on_change: list[Callable[[], None]] = []
        """Called when tokens have come or gone."""

    async def load(self) -> None:
        """Read all tokens, and hear of what other gateways change. Comes first. Raises `BackendError`."""
        self._take(await self._shelf.load())
        self._shelf.watch(self._take)

    def prove(self, text: str, *, name: str | None = None) -> Token | None:
        """The live token with this text; with `name`, only if it is the token's. Notes that it was used."""
        parts = take_apart(text)
        token = self._tokens.get(parts[0]) if parts is not None else None
        if parts is None or token is None or not proves(parts[1], token):
            return None
        now = self._now()
        if not token.is_live(now) or (name is not None and name != token.name):
            return None
        if token.last_used is None or now - token.last_used >= self._note_every:
            self._tokens[token.id] = msgspec.structs.replace(token, last_used=now)
            spawn(self._note_use(token.id), name="note the use of a token")
        return token

    def get(self, number: str) -> Token:
        """Raises `NotFound`."""
        if (token := self._tokens.get(number)) is None:
            raise self.absent(number)
        return token

    def absent(self, number: str) -> NotFound:
        """What to raise for a token that does not exist, and for one that the caller may not see."""
        return NotFound(f"token {number[:64]} not found")

    def all(self) -> list[Token]:
        return sorted(self._tokens.values(), key=lambda token: (token.created_at, token.id))

    async def add(self, minted: Minted) -> None:
        """Raises `QuotaExceeded`, and `StorageFull` when nothing was kept."""
        self._check_room(minted.token.namespaces)
        await self._save(minted.token)
        self._tokens[minted.token.id] = minted.token
        self._changed()

    async def remove(self, number: str) -> None:
        """Revoke a token: nobody gets in with it any more. Raises `NotFound` and `StorageFull`."""
        self.get(number)
        await self._shelf.change({}, remove=frozenset({number}))
        self._tokens.pop(number, None)
        self._changed()

    async def forget_namespace(self, namespace: NamespaceName) -> None:
        """Take a namespace out of every token, so that one made later under its name has no tokens of the old one."""
        for number in [token.id for token in self.all() if namespace in token.namespaces]:
            token = self._tokens[number]
            left = tuple(name for name in token.namespaces if name != namespace)
            if left:
                # Here first: whatever notes a use of it meanwhile writes what is here.
                changed = self._tokens[number] = msgspec.structs.replace(token, namespaces=left)
                await self._save(changed)
            else:
                await self.remove(number)

    async def keep_only(self, namespaces: Collection[NamespaceName]) -> None:
        """Forget every other namespace: one that was deleted just before a crash must not leave its tokens behind."""
        named = {namespace for token in self._tokens.values() for namespace in token.namespaces}
        for namespace in sorted(named.difference(namespaces)):
            await self.forget_namespace(namespace)

    def _check_room(self, namespaces: Iterable[NamespaceName]) -> None:
        if len(self._tokens) >= MOST:
            raise QuotaExceeded(f"the gateway has {MOST} tokens, which is the most; revoke some that are not used")
        for namespace in namespaces:
            count = sum(namespace in token.namespaces for token in self._tokens.values())
            if count >= MOST_PER_NAMESPACE:
                raise QuotaExceeded(
                    f"namespace {namespace} has {MOST_PER_NAMESPACE} tokens, which is the most",
                    hint="revoke some that are not used any more",
                )

    def _take(self, documents: Mapping[str, bytes]) -> None:
        """What is kept now. A document that makes no sense is nobody's token."""
        found: dict[str, Token] = {}
        for number, document in documents.items():
            try:
                token = msgspec.msgpack.decode(document, type=Token)
            except msgspec.MsgspecError as exc:
                _log.warning("a stored token cannot be read and is ignored", token=number[:64], reason=str(exc))
                continue
            if token.id != number:
                continue
            known = self._tokens.get(number)
            if known is not None and known.last_used and (token.last_used is None or token.last_used < known.last_used):
                token = msgspec.structs.replace(token, last_used=known.last_used)
            found[number] = token
        self._tokens = found
        self._changed()

    def _changed(self) -> None:
        for told in self.on_change:
            told()

    async def _note_use(self, number: str) -> None:
        """Only if it is still there: a revoked token does not come back."""
        token = self._tokens.get(number)
        if token is None:
            return
        try:
            await self._shelf.renew(number, msgspec.msgpack.encode(token))
        except (HilbertError, RuntimeError):
            return  # A full disk, or the end of the process: its use is noted another time.

    async def _save(self, token: Token) -> None:
        await self._shelf.put(token.id, msgspec.msgpack.encode(token))
