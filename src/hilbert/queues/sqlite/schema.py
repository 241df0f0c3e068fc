"""How the file of a queue looks.

Requests and answers stand beside the rows, so that rows stay small and lending touches few pages. `wake` is when a call
can be leased: it is due then, or its lease ends. `counts` has a line for each function and one, with an empty function,
for each namespace; each transaction keeps them in step with the rows.
`marks` says how far schedules have come.
"""

from __future__ import annotations

from typing import Final

from hilbert.core.ports.queue import CallState

STATES: Final = tuple(CallState)
"""A state's number in the file is its place here. Never change the order."""

QUEUED: Final = STATES.index(CallState.QUEUED)
RUNNING: Final = STATES.index(CallState.RUNNING)
SUCCEEDED: Final = STATES.index(CallState.SUCCEEDED)
FAILED: Final = STATES.index(CallState.FAILED)
CANCELLED: Final = STATES.index(CallState.CANCELLED)
DEAD: Final = STATES.index(CallState.DEAD)

MIGRATIONS: Final = (
    """
    CREATE TABLE calls (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        namespace TEXT NOT NULL,
        function TEXT NOT NULL,
        state INTEGER NOT NULL,
        epoch INTEGER NOT NULL DEFAULT 0,
        attempts INTEGER NOT NULL DEFAULT 0,
        put_at REAL NOT NULL,
        due REAL NOT NULL,
        wake REAL NOT NULL,
        finished_at REAL NOT NULL DEFAULT 0,
        size INTEGER NOT NULL,
        digest BLOB NOT NULL,
        fingerprint BLOB NOT NULL,
        key TEXT NOT NULL DEFAULT '',
        reason TEXT NOT NULL DEFAULT ''
    );
    CREATE UNIQUE INDEX keys ON calls (namespace, key) WHERE key <> '';
    CREATE INDEX open ON calls (namespace, function, wake, number) WHERE state < 2;
    CREATE INDEX finished ON calls (namespace, finished_at, number) WHERE state BETWEEN 2 AND 4;
    CREATE INDEX listed ON calls (namespace, number);
    CREATE INDEX dead ON calls (namespace, number) WHERE state = 5;
    CREATE TABLE bodies (number INTEGER PRIMARY KEY, body BLOB NOT NULL);
    CREATE TABLE answers (number INTEGER PRIMARY KEY, answer BLOB NOT NULL, until REAL NOT NULL);
    CREATE INDEX aging ON answers (until) WHERE until > 0;
    CREATE TABLE counts (
        namespace TEXT NOT NULL,
        function TEXT NOT NULL,
        accepted INTEGER NOT NULL DEFAULT 0,
        forgotten INTEGER NOT NULL DEFAULT 0,
        queued INTEGER NOT NULL DEFAULT 0,
        running INTEGER NOT NULL DEFAULT 0,
        finished INTEGER NOT NULL DEFAULT 0,
        dead INTEGER NOT NULL DEFAULT 0,
        size INTEGER NOT NULL DEFAULT 0,
        PRIMARY KEY (namespace, function)
    ) WITHOUT ROWID;
    """,
    """
    CREATE TABLE marks (
        namespace TEXT NOT NULL,
        function TEXT NOT NULL,
        place INTEGER NOT NULL,
        version INTEGER NOT NULL,
        rule TEXT NOT NULL,
        tick REAL NOT NULL,
        call TEXT NOT NULL,
        waiting REAL NOT NULL,
        paused INTEGER NOT NULL,
        PRIMARY KEY (namespace, function, place)
    ) WITHOUT ROWID;
    """,
    "ALTER TABLE calls ADD COLUMN caller TEXT NOT NULL DEFAULT ''",
)
