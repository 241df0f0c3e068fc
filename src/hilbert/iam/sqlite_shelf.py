"""Shelves of one machine's gateway: tables of one SQLite file that a crash leaves whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from hilbert.core.errors import BackendError, StorageFull
from hilbert.core.ports.shelf import Changed, Topic
from hilbert.kit.sqlite import Database, open_whole

_MIGRATIONS: Final = (
    "CREATE TABLE tokens (id TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT;",
    """
    CREATE TABLE issuing_keys (id TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT;
    CREATE TABLE access (id TEXT PRIMARY KEY, document BLOB NOT NULL) STRICT;
    """,
)


class SqliteShelves:
    """The file, with mode 0600."""

    def __init__(self, path: Path) -> None:
        """Open or make it. Raises `sqlite3.Error`, `OSError` and `RuntimeError`."""
        self._database = open_whole(path, _MIGRATIONS, readers=1)

    def shelf(self, topic: Topic) -> SqliteShelf:
        return SqliteShelf(self._database, topic)

    def close(self) -> None:
        self._database.close()


class SqliteShelf:
    """One table. This process alone writes to it, so there is nothing to watch."""

    def __init__(self, database: Database, topic: Topic) -> None:
        self._database = database
        self._topic = topic

    async def load(self) -> Mapping[str, bytes]:
        query = f"SELECT id, document FROM {self._topic}"  # noqa: S608 - one of ours
        return dict(await self._database.read(lambda db: db.execute(query).fetchall()))

    async def put(self, name: str, document: bytes) -> None:
        await self.change({name: document})

    async def renew(self, name: str, document: bytes) -> None:
        update = f"UPDATE {self._topic} SET document = ? WHERE id = ?"  # noqa: S608 - one of ours
        await self._write(lambda db: db.execute(update, (document, name)))

    async def change(self, put: Mapping[str, bytes], remove: frozenset[str] = frozenset()) -> None:
        upsert = f"INSERT INTO {self._topic} VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET document = excluded.document"  # noqa: S608
        delete = f"DELETE FROM {self._topic} WHERE id = ?"  # noqa: S608 - one of ours

        def work(db: sqlite3.Connection) -> None:
            db.executemany(delete, [(name,) for name in remove])
            db.executemany(upsert, list(put.items()))

        await self._write(work)

    def watch(self, changed: Changed) -> None:
        pass

    async def _write(self, work: Callable[[sqlite3.Connection], object]) -> None:
        what = {"tokens": "tokens", "issuing_keys": "signing keys", "access": "issuers, policies and roles"}[
            self._topic
        ]
        try:
            await self._database.write(work)
        except sqlite3.OperationalError as exc:
            raise StorageFull(f"the {what} cannot be saved; nothing was changed", detail=str(exc)) from exc
        except sqlite3.Error as exc:
            raise BackendError(f"the {what} cannot be saved", detail=str(exc)) from exc
