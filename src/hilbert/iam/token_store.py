"""Where tokens are kept: all of them in memory, for the door, and in a SQLite file that a crash leaves whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import BackendError, HilbertError, NotFound, QuotaExceeded, StorageFull
from hilbert.core.values import NamespaceName
from hilbert.iam.tokens import Minted, Token, proves, take_apart
from hilbert.kit.aio import spawn
from hilbert.kit.sqlite import Database

MOST_PER_NAMESPACE: Final = 100
MOST: Final = 10_000
USE_IS_NOTED_EVERY: Final = timedelta(minutes=1)

_MIGRATIONS: Final = ("CREATE TABLE tokens (id TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT;",)
_UPSERT: Final = "INSERT INTO tokens VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document"


class TokenStore:
    """Every token. A change is in force, here and after a restart, when its method returns."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Open or make the file, with mode 0600. Raises `sqlite3.Error`, `OSError` and `RuntimeError`."""
        self._database = Database(path, _MIGRATIONS, readers=1)
        self._now = now
        self._tokens: dict[str, Token] = {}

    async def load(self) -> None:
        """Read all tokens. Comes first."""
        rows = await self._database.read(lambda db: db.execute("SELECT document FROM tokens").fetchall())
        found = [msgspec.msgpack.decode(row[0], type=Token) for row in rows]
        self._tokens = {token.id: token for token in found}

    def close(self) -> None:
        self._database.close()

    def prove(self, text: str, *, name: str | None = None) -> Token | None:
        """The live token with this text; with `name`, only if it is the token's. Notes that it was used."""
        parts = take_apart(text)
        token = self._tokens.get(parts[0]) if parts is not None else None
        if parts is None or token is None or not proves(parts[1], token):
            return None
        now = self._now()
        if not token.is_live(now) or (name is not None and name != token.name):
            return None
        if token.last_used is None or now - token.last_used >= USE_IS_NOTED_EVERY:
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

    async def remove(self, number: str) -> None:
        """Revoke a token: nobody gets in with it any more. Raises `NotFound` and `StorageFull`."""
        self.get(number)

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM tokens WHERE id = ?", (number,))

        await self._write(delete)
        self._tokens.pop(number, None)

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

    async def _note_use(self, number: str) -> None:
        """Only if it is still there: a revoked token does not come back."""

        def update(db: sqlite3.Connection) -> None:
            if (token := self._tokens.get(number)) is not None:
                db.execute("UPDATE tokens SET document = ? WHERE id = ?", (msgspec.msgpack.encode(token), number))

        try:
            await self._write(update)
        except (HilbertError, RuntimeError):
            return  # A full disk, or the end of the process: its use is noted another time.

    async def _save(self, token: Token) -> None:
        row = (token.id, msgspec.msgpack.encode(token))

        def upsert(db: sqlite3.Connection) -> None:
            db.execute(_UPSERT, row)

        await self._write(upsert)

    async def _write(self, work: Callable[[sqlite3.Connection], None]) -> None:
        try:
            await self._database.write(work)
        except sqlite3.OperationalError as exc:
            raise StorageFull("the tokens cannot be saved; nothing was changed", detail=str(exc)) from exc
        except sqlite3.Error as exc:
            raise BackendError("the tokens cannot be saved", detail=str(exc)) from exc
