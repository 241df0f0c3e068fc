"""What happens inside one transaction of the queue: functions on a connection, each whole or without a trace."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from hilbert.core.errors import KeyReused, LeaseLost
from hilbert.core.ports.queue import KEPT_FOR, Again, Bounds, Finished, Lease, Outcome, QueueBounds, QueuedCall
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef
from hilbert.queues.bounds import check_bounds, digest_of, fingerprint_of, not_found
from hilbert.queues.sqlite import marks
from hilbert.queues.sqlite.schema import CANCELLED, DEAD, FAILED, QUEUED, RUNNING, SUCCEEDED

_NAMES: Final = ("queued", "running", "finished", "finished", "finished", "dead")
"""The column of `counts` in which a call of each state is counted."""
_FORGET_AT_ONCE: Final = 2_000


class Change(msgspec.Struct):
    """What a transaction adds to the counts of one function."""

    accepted: int = 0
    forgotten: int = 0
    queued: int = 0
    running: int = 0
    finished: int = 0
    dead: int = 0
    size: int = 0

    def add(self, state: int, by: int, size: int) -> None:
        """`by` calls of `size` bytes more (or, negative, fewer) in a state. Requests of finished ones are not kept."""
        column = _NAMES[state]
        setattr(self, column, getattr(self, column) + by)
        if column != "finished":
            self.size += by * size

    def move(self, before: int, after: int, size: int) -> None:
        """A call of `size` bytes goes from one state to another."""
        self.add(before, -1, size)
        self.add(after, 1, size)


def put(
    connection: sqlite3.Connection, calls: Sequence[QueuedCall], now: float, default: QueueBounds, bounds: Bounds
) -> list[str]:
    ids: list[str] = []
    changes: dict[FunctionRef, Change] = {}
    for call in calls:
        fingerprint = fingerprint_of(call)
        known = connection.execute(
            "SELECT id, fingerprint, namespace FROM calls WHERE id = ? UNION ALL "
            "SELECT id, fingerprint, namespace FROM calls WHERE namespace = ? AND key = ? AND key <> '' LIMIT 1",
            (call.id, call.ref.namespace, call.key),
        ).fetchone()
        if known is not None:
            if known[1:] != (fingerprint, call.ref.namespace):
                raise KeyReused("the idempotency key was used before with another request")
            ids.append(known[0])
            continue
        size = len(call.body)
        cursor = connection.execute(
            "INSERT INTO calls (id, namespace, function, state, put_at, due, wake, size, digest, fingerprint, key, caller) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                call.id,
                *_pair(call.ref),
                QUEUED,
                now,
                call.due,
                call.due,
                size,
                digest_of(call),
                fingerprint,
                call.key,
                call.by,
            ),
        )
        connection.execute("INSERT INTO bodies VALUES (?, ?)", (cursor.lastrowid, call.body))
        change = changes.setdefault(call.ref, Change())
        change.accepted += 1
        change.add(QUEUED, 1, size)
        ids.append(call.id)
    for ref, change in changes.items():
        count(connection, ref, change)
    for ref in changes:
        most = bounds.get(ref, default)
        check_bounds(most, ref, function=_load(connection, ref, ref.name), namespace=_load(connection, ref, ""))
    return ids


def advance(
    connection: sqlite3.Connection,
    mark: Mark,
    call: QueuedCall | None,
    now: float,
    default: QueueBounds,
    bounds: Bounds,
) -> bool:
    if not marks.is_next(connection, mark):
        return False
    if call is not None:
        (accepted,) = put(connection, [call], now, default, bounds)
        mark = msgspec.structs.replace(mark, call=accepted)
    marks.write(connection, mark)
    return True


def lease(connection: sqlite3.Connection, ref: FunctionRef, limit: int, now: float, until: float) -> list[Lease]:
    rows = connection.execute(
        "SELECT number, id, state, epoch, attempts, put_at, due, size, digest, key, caller, body "
        "FROM calls LEFT JOIN bodies USING (number) "
        "WHERE namespace = ? AND function = ? AND state < 2 AND wake <= ? ORDER BY wake, number LIMIT ?",
        (*_pair(ref), now, max(limit, 0)),
    ).fetchall()
    change = Change()
    leases = []
    for number, name, state, epoch, attempts, put_at, due, size, digest, key, by, body in rows:
        call = QueuedCall(id=name, ref=ref, due=due, body=body or b"", key=key, by=by)
        if digest_of(call) != digest:
            change.move(state, DEAD, size)
            connection.execute(
                "UPDATE calls SET state = ?, epoch = epoch + 1, finished_at = ?, reason = ? WHERE number = ?",
                (DEAD, now, "its stored request is damaged", number),
            )
            continue
        change.move(state, RUNNING, size)
        connection.execute(
            "UPDATE calls SET state = ?, epoch = epoch + 1, attempts = attempts + 1, wake = ? WHERE number = ?",
            (RUNNING, until, number),
        )
        leases.append(Lease(call=call, epoch=epoch + 1, attempt=attempts + 1, put_at=put_at))
    if rows:
        count(connection, ref, change)
    return leases


def extend(connection: sqlite3.Connection, leases: Sequence[tuple[str, int]], until: float) -> set[str]:
    return {
        call
        for call, epoch in leases
        if not connection.execute(
            "UPDATE calls SET wake = max(wake, ?) WHERE id = ? AND epoch = ? AND state = ?",
            (until, call, epoch, RUNNING),
        ).rowcount
    }


def settle(connection: sqlite3.Connection, call: str, epoch: int, outcome: Outcome, now: float) -> None:
    row = connection.execute(
        "SELECT number, namespace, function, size FROM calls WHERE id = ? AND epoch = ? AND state = ?",
        (call, epoch, RUNNING),
    ).fetchone()
    if row is None:
        raise LeaseLost("the call was cancelled, or another gateway has it now")
    number, namespace, function, size = row
    change = Change()
    if isinstance(outcome, Again):
        state = QUEUED
        connection.execute(
            "UPDATE calls SET state = ?, due = ?, wake = ?, attempts = attempts - ?, reason = ? WHERE number = ?",
            (state, outcome.due, outcome.due, 0 if outcome.counts else 1, outcome.reason, number),
        )
    else:
        done = isinstance(outcome, Finished)
        state = DEAD if not isinstance(outcome, Finished) else SUCCEEDED if outcome.succeeded else FAILED
        connection.execute(
            "UPDATE calls SET state = ?, finished_at = ?, reason = ? WHERE number = ?",
            (state, now, outcome.reason, number),
        )
        if done:
            connection.execute("DELETE FROM bodies WHERE number = ?", (number,))
        until = outcome.answer_until if isinstance(outcome, Finished) else 0.0
        if outcome.answer and (until > now or not done):
            connection.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", (number, outcome.answer, until))
    change.move(RUNNING, state, size)
    count(connection, FunctionRef(namespace, function), change)


def cancel(connection: sqlite3.Connection, namespace: str, call: str, now: float, reason: str) -> None:
    row = connection.execute(
        "SELECT number, function, state, size FROM calls WHERE id = ? AND namespace = ?", (call, namespace)
    ).fetchone()
    if row is None:
        raise not_found(namespace, call)
    if row[2] in (QUEUED, RUNNING):
        _cancel(connection, namespace, [row], now, reason)


def cancel_function(connection: sqlite3.Connection, ref: FunctionRef, reason: str, now: float) -> int:
    rows = connection.execute(
        "SELECT number, function, state, size FROM calls WHERE namespace = ? AND function = ? AND state < 2", _pair(ref)
    ).fetchall()
    _cancel(connection, ref.namespace, rows, now, reason)
    marks.forget(connection, ref)
    return len(rows)


def redrive(connection: sqlite3.Connection, namespace: str, calls: Sequence[str], function: str, now: float) -> int:
    rows = _dead(connection, namespace, calls, function)
    for number, name, size in rows:
        connection.execute(
            "UPDATE calls SET state = ?, due = ?, wake = ?, attempts = 0, finished_at = 0, reason = '' WHERE number = ?",
            (QUEUED, now, now, number),
        )
        connection.execute("DELETE FROM answers WHERE number = ?", (number,))
        change = Change()
        change.move(DEAD, QUEUED, size)
        count(connection, FunctionRef(namespace, name), change)  # type: ignore[arg-type]  # both come from the file
    return len(rows)


def purge(connection: sqlite3.Connection, namespace: str, calls: Sequence[str], function: str) -> int:
    rows = _dead(connection, namespace, calls, function)
    _forget(connection, namespace, DEAD, rows)
    return len(rows)


def forget_namespace(connection: sqlite3.Connection, namespace: str) -> None:
    for table in ("bodies", "answers"):
        connection.execute(
            f"DELETE FROM {table} WHERE number IN (SELECT number FROM calls WHERE namespace = ?)",  # noqa: S608 - fixed
            (namespace,),
        )
    connection.execute("DELETE FROM calls WHERE namespace = ?", (namespace,))
    connection.execute("DELETE FROM counts WHERE namespace = ?", (namespace,))
    connection.execute("DELETE FROM marks WHERE namespace = ?", (namespace,))


def expire(connection: sqlite3.Connection, now: float, most: int) -> int:
    """One bounded step; the number of calls forgotten, 0 once there is nothing left to forget."""
    connection.execute("DELETE FROM answers WHERE until > 0 AND until <= ?", (now,))
    total = 0
    spaces = connection.execute(
        "SELECT namespace, finished FROM counts WHERE function = '' AND finished > 0"
    ).fetchall()
    for namespace, finished in spaces:
        rows = connection.execute(
            "SELECT number, function, size, finished_at FROM calls WHERE namespace = ? AND state BETWEEN 2 AND 4 "
            "ORDER BY finished_at, number LIMIT ?",
            (namespace, _FORGET_AT_ONCE - total),
        ).fetchall()
        gone = [row[:3] for place, row in enumerate(rows) if row[3] + KEPT_FOR <= now or place < finished - most]
        _forget(connection, namespace, SUCCEEDED, gone)
        total += len(gone)
    return total


def recover(connection: sqlite3.Connection) -> int:
    """Give back what the process before this one had on lease, and count again. The number of counts that were wrong."""
    connection.execute("UPDATE calls SET wake = due WHERE state = ?", (RUNNING,))
    wrong = 0
    rows = connection.execute(
        "SELECT namespace, function, sum(state = 0), sum(state = 1), sum(state BETWEEN 2 AND 4), sum(state = 5), "
        "sum(CASE WHEN state BETWEEN 2 AND 4 THEN 0 ELSE size END) FROM calls GROUP BY namespace, function"
    ).fetchall()
    found = {(row[0], row[1]): row[2:] for row in rows}
    for namespace in {row[0] for row in rows}:
        mine = [row[2:] for row in rows if row[0] == namespace]
        found[namespace, ""] = tuple(sum(column) for column in zip(*mine, strict=True))
    kept = connection.execute(
        "SELECT namespace, function, queued, running, finished, dead, size FROM counts"
    ).fetchall()
    for row in kept:
        numbers = found.pop((row[0], row[1]), (0, 0, 0, 0, 0))
        if numbers != row[2:]:
            wrong += 1
            _recount(connection, row[0], row[1], numbers)
    for (namespace, function), numbers in found.items():
        wrong += 1
        connection.execute("INSERT INTO counts (namespace, function) VALUES (?, ?)", (namespace, function))
        _recount(connection, namespace, function, numbers)
    return wrong


def count(connection: sqlite3.Connection, ref: FunctionRef, change: Change) -> None:
    """Add to the counts of the function and of its namespace."""
    values = msgspec.structs.astuple(change)
    for function in (ref.name, ""):
        connection.execute(
            "INSERT INTO counts (namespace, function, accepted, forgotten, queued, running, finished, dead, size) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET accepted = accepted + excluded.accepted, "
            "forgotten = forgotten + excluded.forgotten, queued = queued + excluded.queued, "
            "running = running + excluded.running, finished = finished + excluded.finished, "
            "dead = dead + excluded.dead, size = size + excluded.size",
            (ref.namespace, function, *values),
        )


def _recount(connection: sqlite3.Connection, namespace: str, function: str, numbers: Sequence[int]) -> None:
    connection.execute(
        "UPDATE counts SET queued = ?, running = ?, finished = ?, dead = ?, size = ? "
        "WHERE namespace = ? AND function = ?",
        (*numbers, namespace, function),
    )
    connection.execute(
        "UPDATE counts SET accepted = queued + running + finished + dead + forgotten "
        "WHERE namespace = ? AND function = ?",
        (namespace, function),
    )


def _cancel(
    connection: sqlite3.Connection, namespace: str, rows: Iterable[tuple[int, str, int, int]], now: float, reason: str
) -> None:
    for number, function, state, size in rows:
        connection.execute(
            "UPDATE calls SET state = ?, finished_at = ?, reason = ? WHERE number = ?",
            (CANCELLED, now, reason, number),
        )
        connection.execute("DELETE FROM bodies WHERE number = ?", (number,))
        change = Change()
        change.move(state, CANCELLED, size)
        count(connection, FunctionRef(namespace, function), change)  # type: ignore[arg-type]  # both come from the file


def _dead(
    connection: sqlite3.Connection, namespace: str, calls: Sequence[str], function: str
) -> list[tuple[int, str, int]]:
    return connection.execute(
        "SELECT number, function, size FROM calls WHERE namespace = ? AND state = 5 AND ? IN ('', function) "
        "AND (? OR id IN (SELECT value FROM json_each(?))) ORDER BY number",
        (namespace, function, not calls, json.dumps(list(calls))),
    ).fetchall()


def _forget(connection: sqlite3.Connection, namespace: str, state: int, rows: Iterable[tuple[int, str, int]]) -> None:
    for number, function, size in rows:
        for table in ("calls", "bodies", "answers"):
            connection.execute(f"DELETE FROM {table} WHERE number = ?", (number,))  # noqa: S608 - fixed names
        change = Change(forgotten=1)
        change.add(state, -1, size)
        count(connection, FunctionRef(namespace, function), change)  # type: ignore[arg-type]  # both come from the file


def _load(connection: sqlite3.Connection, ref: FunctionRef, function: str) -> tuple[int, int]:
    found: tuple[int, int] = connection.execute(
        "SELECT queued + running + dead, size FROM counts WHERE namespace = ? AND function = ?",
        (ref.namespace, function),
    ).fetchone()
    return found


def _pair(ref: FunctionRef) -> tuple[str, str]:
    return ref.namespace, ref.name
