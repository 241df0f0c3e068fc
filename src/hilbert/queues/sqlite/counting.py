"""How many calls of each function and namespace there are: kept in step with the rows, inside their transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from hilbert.core.values import FunctionRef

_NAMES: Final = ("queued", "running", "finished", "finished", "finished", "dead")
"""The column of `counts` in which a call of each state is counted."""


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


def count(connection: sqlite3.Connection, ref: FunctionRef, change: Change) -> None:
    """Add to the counts of the function and of its namespace."""
    count_all(connection, {ref: change})


def count_all(connection: sqlite3.Connection, changes: Mapping[FunctionRef, Change]) -> None:
    """Add to the counts of several functions, and of their namespaces."""
    spaces: dict[str, Change] = {}
    for ref, change in changes.items():
        _add(spaces.setdefault(ref.namespace, Change()), change)
    rows = [
        *((ref.namespace, ref.name, *msgspec.structs.astuple(change)) for ref, change in changes.items()),
        *((space, "", *msgspec.structs.astuple(change)) for space, change in spaces.items()),
    ]
    connection.executemany(
        "INSERT INTO counts (namespace, function, accepted, forgotten, queued, running, finished, dead, size) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET accepted = accepted + excluded.accepted, "
        "forgotten = forgotten + excluded.forgotten, queued = queued + excluded.queued, "
        "running = running + excluded.running, finished = finished + excluded.finished, "
        "dead = dead + excluded.dead, size = size + excluded.size",
        rows,
    )


def load_of(connection: sqlite3.Connection, refs: Iterable[FunctionRef]) -> dict[tuple[str, str], tuple[int, int]]:
    """Calls and bytes that count against bounds: of functions, and with an empty name of their namespaces."""
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for ref in refs:
        for key in ((ref.namespace, ref.name), (ref.namespace, "")):
            if key not in found:
                found[key] = connection.execute(
                    "SELECT queued + running + dead, size FROM counts WHERE namespace = ? AND function = ?", key
                ).fetchone()
    return found


def _add(total: Change, more: Change) -> None:
    for name in Change.__struct_fields__:
        setattr(total, name, getattr(total, name) + getattr(more, name))
