"""What happens inside one transaction of the queue: functions on a connection, each whole or without a trace."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Final, NamedTuple

from hilbert.core.errors import LeaseLost
from hilbert.core.ports.queue import KEPT_FOR, Again, Finished, Lease, Outcome, QueuedCall
from hilbert.core.values import FunctionRef
from hilbert.kit import sqlite
from hilbert.queues.bounds import digest_of, not_found
from hilbert.queues.sqlite import marks
from hilbert.queues.sqlite.counting import Change, count, count_all
from hilbert.queues.sqlite.schema import CANCELLED, DEAD, FAILED, QUEUED, RUNNING, SUCCEEDED

_FORGET_AT_ONCE: Final = 2_000


class Settle(NamedTuple):
    """The end of an attempt, as one caller tells it."""

    call: str
    epoch: int
    outcome: Outcome
    now: float


def lease(connection: sqlite3.Connection, ref: FunctionRef, limit: int, now: float, until: float) -> list[Lease]:
    rows = connection.execute(
        "SELECT number, id, state, epoch, attempts, put_at, due, size, digest, key, caller, body "
        "FROM calls LEFT JOIN bodies USING (number) "
        "WHERE namespace = ? AND function = ? AND state < 2 AND wake <= ? ORDER BY wake, number LIMIT ?",
        (*_pair(ref), now, max(limit, 0)),
    ).fetchall()
    change = Change()
    leases, lent = [], []
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
        lent.append((RUNNING, until, number))
        leases.append(Lease(call=call, epoch=epoch + 1, attempt=attempts + 1, put_at=put_at))
    if rows:
        connection.executemany(
            "UPDATE calls SET state = ?, epoch = epoch + 1, attempts = attempts + 1, wake = ? WHERE number = ?", lent
        )
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
    ((_, error),) = settle_all(connection, [Settle(call, epoch, outcome, now)])
    if error is not None:
        raise error


def settle_all(connection: sqlite3.Connection, asked: Sequence[Settle]) -> list[sqlite.Outcome[None]]:
    """As `settle` for each, in order."""
    held = {
        row[:2]: row[2:]
        for row in connection.execute(
            "SELECT id, epoch, number, namespace, function, size FROM calls "
            "WHERE id IN (SELECT value FROM json_each(?)) AND state = ?",
            (json.dumps([one.call for one in asked]), RUNNING),
        )
    }
    results: list[sqlite.Outcome[None]] = []
    again, ended, unused, answers = [], [], [], []
    changes: dict[FunctionRef, Change] = {}
    for call, epoch, outcome, now in asked:
        row = held.pop((call, epoch), None)
        if row is None:
            results.append((None, LeaseLost("the call was cancelled, or another gateway has it now")))
            continue
        results.append((None, None))
        number, namespace, function, size = row
        kept = 0
        if isinstance(outcome, Again):
            state = QUEUED
            again.append((state, outcome.due, outcome.due, 0 if outcome.counts else 1, outcome.reason, number))
        else:
            until = 0.0
            if isinstance(outcome, Finished):
                state = SUCCEEDED if outcome.succeeded else FAILED
                until = outcome.answer_until
                unused.append((number,))
            else:
                state = DEAD
            ended.append((state, now, outcome.reason, number))
            if outcome.answer and (until > now or state == DEAD):
                answers.append((number, outcome.answer, until))
                kept = len(outcome.answer)
        change = changes.setdefault(FunctionRef(namespace, function), Change())
        change.move(RUNNING, state, size)
        change.size += kept
    connection.executemany(
        "UPDATE calls SET state = ?, due = ?, wake = ?, attempts = attempts - ?, reason = ? WHERE number = ?", again
    )
    connection.executemany("UPDATE calls SET state = ?, finished_at = ?, reason = ? WHERE number = ?", ended)
    connection.executemany("DELETE FROM bodies WHERE number = ?", unused)
    connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", answers)
    count_all(connection, changes)
    return results


def pull_in(connection: sqlite3.Connection, before: float, now: float) -> int:
    return connection.execute(
        "UPDATE calls SET wake = iif(late, :now, wake - :back), due = iif(late, :now, due - iif(state = 0, :back, 0)) FROM ("
        "SELECT number AS moved, state = 0 AND (wake <= :before OR (due <= put_at AND put_at > :now)) AS late "
        "FROM calls WHERE state < 2 AND wake > :now) "
        "WHERE number = moved AND (late OR (:back > 0 AND (state = 1 OR attempts > 0)))",
        {"before": before, "now": now, "back": before - now},
    ).rowcount


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
    connection.executemany(
        "UPDATE calls SET state = ?, due = ?, wake = ?, attempts = 0, finished_at = 0, reason = '' WHERE number = ?",
        [(QUEUED, now, now, row[0]) for row in rows],
    )
    connection.executemany("DELETE FROM answers WHERE number = ?", [row[:1] for row in rows])
    changes: dict[FunctionRef, Change] = {}
    for _, name, size, answer in rows:
        change = changes.setdefault(FunctionRef(namespace, name), Change())  # type: ignore[arg-type]  # both come from the file
        change.move(DEAD, QUEUED, size)
        change.size -= answer
    count_all(connection, changes)
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
    _forget_answers(connection, now)
    total = 0
    spaces = connection.execute(
        "SELECT namespace, finished FROM counts WHERE function = '' AND finished > 0"
    ).fetchall()
    for namespace, finished in spaces:
        rows = connection.execute(
            "SELECT number, function, size, ifnull(length(answer), 0), finished_at FROM calls "
            "LEFT JOIN answers USING (number) WHERE namespace = ? AND state BETWEEN 2 AND 4 "
            "ORDER BY finished_at, number LIMIT ?",
            (namespace, _FORGET_AT_ONCE - total),
        ).fetchall()
        gone = [row[:4] for place, row in enumerate(rows) if row[4] + KEPT_FOR <= now or place < finished - most]
        _forget(connection, namespace, SUCCEEDED, gone)
        total += len(gone)
    return total


def recover(connection: sqlite3.Connection) -> int:
    """Give back what the process before this one had on lease, and count again. The number of counts that were wrong."""
    connection.execute("UPDATE calls SET wake = due WHERE state = ?", (RUNNING,))
    wrong = 0
    rows = connection.execute(
        "SELECT namespace, function, sum(state = 0), sum(state = 1), sum(state BETWEEN 2 AND 4), sum(state = 5), "
        "sum(CASE WHEN state BETWEEN 2 AND 4 THEN 0 ELSE size END) + sum(ifnull(length(answer), 0)) "
        "FROM calls LEFT JOIN answers USING (number) GROUP BY namespace, function"
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
    connection: sqlite3.Connection, namespace: str, rows: Sequence[tuple[int, str, int, int]], now: float, reason: str
) -> None:
    connection.executemany(
        "UPDATE calls SET state = ?, finished_at = ?, reason = ? WHERE number = ?",
        [(CANCELLED, now, reason, row[0]) for row in rows],
    )
    connection.executemany("DELETE FROM bodies WHERE number = ?", [row[:1] for row in rows])
    changes: dict[FunctionRef, Change] = {}
    for _, function, state, size in rows:
        changes.setdefault(FunctionRef(namespace, function), Change()).move(state, CANCELLED, size)  # type: ignore[arg-type]  # both come from the file
    count_all(connection, changes)


def _dead(
    connection: sqlite3.Connection, namespace: str, calls: Sequence[str], function: str
) -> list[tuple[int, str, int, int]]:
    """Number, function, and the sizes of request and answer."""
    return connection.execute(
        "SELECT number, function, size, ifnull(length(answer), 0) FROM calls LEFT JOIN answers USING (number) "
        "WHERE namespace = ? AND state = 5 AND ? IN ('', function) "
        "AND (? OR id IN (SELECT value FROM json_each(?))) ORDER BY number",
        (namespace, function, not calls, json.dumps(list(calls))),
    ).fetchall()


def _forget(
    connection: sqlite3.Connection, namespace: str, state: int, rows: Sequence[tuple[int, str, int, int]]
) -> None:
    """Rows as from `_dead`."""
    for table in ("calls", "bodies", "answers"):
        connection.executemany(f"DELETE FROM {table} WHERE number = ?", [row[:1] for row in rows])  # noqa: S608 - fixed names
    changes: dict[FunctionRef, Change] = {}
    for _, function, size, answer in rows:
        change = changes.setdefault(FunctionRef(namespace, function), Change())  # type: ignore[arg-type]  # both come from the file
        change.forgotten += 1
        change.add(state, -1, size)
        change.size -= answer
    count_all(connection, changes)


def _forget_answers(connection: sqlite3.Connection, now: float) -> None:
    """Those whose time is over."""
    rows = connection.execute(
        "SELECT namespace, function, sum(length(answer)) FROM answers JOIN calls USING (number) "
        "WHERE until > 0 AND until <= ? GROUP BY namespace, function",
        (now,),
    ).fetchall()
    connection.execute("DELETE FROM answers WHERE until > 0 AND until <= ?", (now,))
    count_all(connection, {FunctionRef(space, function): Change(size=-size) for space, function, size in rows})


def _pair(ref: FunctionRef) -> tuple[str, str]:
    return ref.namespace, ref.name
