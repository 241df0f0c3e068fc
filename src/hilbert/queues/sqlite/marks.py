"""Marks of schedules, inside one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

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


def versions(connection: sqlite3.Connection, asked: Sequence[Mark]) -> list[int]:
    """The versions of these marks that are kept; 0 of one that is not."""
    found = []
    for mark in asked:
        row = connection.execute(
            "SELECT version FROM marks WHERE namespace = ? AND function = ? AND place = ?",
            (mark.ref.namespace, mark.ref.name, mark.index),
        ).fetchone()
        found.append(row[0] if row else 0)
    return found


def write(connection: sqlite3.Connection, changed: Sequence[Mark]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
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
            )
            for mark in changed
        ],
    )


def forget(connection: sqlite3.Connection, ref: FunctionRef, start: int = 0) -> None:
    connection.execute(
        "DELETE FROM marks WHERE namespace = ? AND function = ? AND place >= ?", (ref.namespace, ref.name, start)
    )
