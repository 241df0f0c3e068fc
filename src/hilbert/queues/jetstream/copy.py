"""One gateway's copy of what the log amounts to: a SQLite file that is made anew at each start."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from hilbert.kit.sqlite import Work, attempt
from hilbert.queues.jetstream.changes import AnyChange
from hilbert.queues.sqlite.schema import MIGRATIONS

T = TypeVar("T")

_OURS: Final = "CREATE TABLE IF NOT EXISTS applied (sequence INTEGER NOT NULL)"


class Copy:
    """Not for two threads at once."""

    def __init__(self, path: Path) -> None:
        """Open a snapshot, or begin with nothing where there is no file. Raises `sqlite3.Error`, and `RuntimeError` for a newer version's."""
        self.path = path
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # The log is what survives; of this file nothing has to.
        for pragma in ("journal_mode = MEMORY", "synchronous = OFF", "locking_mode = EXCLUSIVE"):
            self._connection.execute(f"PRAGMA {pragma}")
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise RuntimeError(f"a newer version of Hilbert (schema {version}) has written the queue")
        for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
            self._connection.executescript(f"BEGIN;\n{script}\n;PRAGMA user_version = {number};\nCOMMIT;")
        self._connection.execute(_OURS)
        row = self._connection.execute("SELECT sequence FROM applied").fetchone()
        if row is None:
            self._connection.execute("INSERT INTO applied VALUES (0)")
        self.applied: int = row[0] if row else 0
        """The entry of the log that this copy has come to."""

    def apply(self, sequence: int, changes: Sequence[AnyChange]) -> list[tuple[Any, BaseException | None]]:
        """Make the changes of the next entry; what came of each."""
        self._connection.execute("BEGIN")
        try:
            results = [attempt(self._connection, change.make) for change in changes]
            self._connection.execute("UPDATE applied SET sequence = ?", (sequence,))
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
            raise
        self.applied = sequence
        return results

    def read(self, work: Work[T]) -> T:
        return work(self._connection)

    def snapshot(self, path: Path) -> int:
        """Write all of it into a new file; the entry of the log that it stands for."""
        path.unlink(missing_ok=True)
        self._connection.execute("VACUUM INTO ?", (str(path),))
        return self.applied

    def close(self) -> None:
        """Remove it. Idempotent."""
        self._connection.close()
        self.path.unlink(missing_ok=True)
