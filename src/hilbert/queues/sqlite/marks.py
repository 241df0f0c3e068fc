"""Marks of schedules, inside one transaction."""

from __future__ import annotations

import sqlite3

from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName


def read(connection: sqlite3.Connection, namespace: str | None) -> list[Mark]:
    rows = connection.execute(
        "SELECT namespace, function, place, version, rule, tick, call, waiting, paused FROM marks "
        "WHERE namespace = ifnull(?, namespace) ORDER BY namespace, function, place",
        (namespace,),
    )
    return [
        Mark(
            ref=FunctionRef(NamespaceName(row[0]), FunctionName(row[1])),
            index=row[2],
            version=row[3],
            rule=row[4],
            tick=row[5],
            call=row[6],
            waiting=row[7],
            paused=bool(row[8]),
        )
        for row in rows
    ]


def is_next(connection: sqlite3.Connection, mark: Mark) -> bool:
    """Whether the mark that is kept has the version before this one's."""
    row = connection.execute(
        "SELECT version FROM marks WHERE namespace = ? AND function = ? AND place = ?",
        (mark.ref.namespace, mark.ref.name, mark.index),
    ).fetchone()
    return mark.version == (row[0] if row else 0) + 1


def write(connection: sqlite3.Connection, mark: Mark) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            mark.ref.namespace,
            mark.ref.name,
            mark.index,
            mark.version,
            mark.rule,
            mark.tick,
            mark.call,
            mark.waiting,
            mark.paused,
        ),
    )


def forget(connection: sqlite3.Connection, ref: FunctionRef, start: int = 0) -> None:
    connection.execute(
        "DELETE FROM marks WHERE namespace = ? AND function = ? AND place >= ?", (ref.namespace, ref.name, start)
    )
