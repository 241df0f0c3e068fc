"""What is read of the queue: functions on a connection, each in a snapshot of its own."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from hilbert.core.errors import CallNotFound
from hilbert.core.ports.queue import CallRecord, CallState, QueueCounts
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.queues.bounds import not_found
from hilbert.queues.sqlite.schema import STATES

_COLUMNS: Final = "number, id, namespace, function, state, put_at, due, attempts, size, finished_at, reason, caller"


def look_up(connection: sqlite3.Connection, namespace: str | None, call: str, now: float) -> CallRecord:
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE id = ? AND namespace = ifnull(?, namespace)",  # noqa: S608 - fixed columns
        (call, namespace),
    ).fetchone()
    if row is None:
        raise not_found(namespace, call)
    answer = connection.execute(
        "SELECT answer FROM answers WHERE number = ? AND (until = 0 OR until > ?)", (row[0], now)
    ).fetchone()
    return _record(row, answer[0] if answer else b"")


def list_calls(
    connection: sqlite3.Connection, namespace: str, function: str, state: CallState | None, after: int, limit: int
) -> list[CallRecord]:
    wanted = -1 if state is None else STATES.index(state)
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM calls WHERE namespace = ? AND number > ? "  # noqa: S608 - fixed columns
        "AND ? IN ('', function) AND ? IN (-1, state) ORDER BY number LIMIT ?",
        (namespace, after, function, wanted, limit),
    )
    return [_record(row, b"") for row in rows]


def body(connection: sqlite3.Connection, namespace: str, call: str) -> bytes:
    row = connection.execute(
        "SELECT body FROM calls LEFT JOIN bodies USING (number) WHERE id = ? AND namespace = ?", (call, namespace)
    ).fetchone()
    if row is None:
        raise not_found(namespace, call)
    if row[0] is None:
        raise CallNotFound(f"the request of call {call} is no longer kept")
    return bytes(row[0])


def counts(connection: sqlite3.Connection, *, open_only: bool) -> list[QueueCounts]:
    rows = connection.execute(
        "SELECT namespace, function, queued, running, finished, dead, forgotten, accepted, size, "
        "CASE WHEN queued + running > 0 THEN (SELECT min(wake) FROM calls WHERE state < 2 "
        "AND calls.namespace = counts.namespace AND calls.function = counts.function) END "
        "FROM counts WHERE function <> '' AND (queued + running > 0 OR NOT ?)",
        (open_only,),
    )
    return [
        QueueCounts(
            ref=FunctionRef(NamespaceName(row[0]), FunctionName(row[1])),
            queued=row[2],
            running=row[3],
            finished=row[4],
            dead=row[5],
            forgotten=row[6],
            accepted=row[7],
            size=row[8],
            next_due=row[9] or 0.0,
        )
        for row in rows
    ]


def _record(row: tuple[Any, ...], answer: bytes) -> CallRecord:
    number, name, namespace, function, state, put_at, due, attempts, size, finished_at, reason, by = row
    return CallRecord(
        number=number,
        id=name,
        ref=FunctionRef(namespace, function),
        state=STATES[state],
        put_at=put_at,
        due=due,
        attempts=attempts,
        size=size,
        finished_at=finished_at,
        reason=reason,
        answer=answer,
        by=by,
    )
