"""How calls are accepted inside one transaction: those of one caller, and those of many callers at once.

Many at once are written as one. If that is refused, each is tried by itself, so that nobody is refused for another's sake.
"""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from hilbert.core.errors import HilbertError, KeyReused
from hilbert.core.ports.queue import Bounds, QueueBounds, QueuedCall
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef
from hilbert.kit.sqlite import Outcome, attempt
from hilbert.queues.bounds import check_bounds, digest_of, fingerprint_of
from hilbert.queues.sqlite import marks
from hilbert.queues.sqlite.counting import Change, count_all, load_of
from hilbert.queues.sqlite.schema import QUEUED


class Put(NamedTuple):
    """What one caller has put: all of it is accepted, or none."""

    calls: Sequence[QueuedCall]
    now: float
    bounds: Bounds


class Tick(NamedTuple):
    """A mark that is to be advanced, with the call of its tick."""

    mark: Mark
    call: QueuedCall | None
    now: float
    bounds: Bounds


def put(
    connection: sqlite3.Connection, calls: Sequence[QueuedCall], now: float, default: QueueBounds, bounds: Bounds
) -> list[str]:
    (ids,) = _accept(connection, [Put(calls, now, bounds)], default)
    return ids


def put_all(connection: sqlite3.Connection, puts: Sequence[Put], default: QueueBounds) -> Sequence[Outcome[list[str]]]:
    """As `put` for each, in order."""
    if len(puts) > 1:
        together, error = attempt(connection, lambda connection: _accept(connection, puts, default))
        if together is not None:
            return [(ids, None) for ids in together]
        if not isinstance(error, HilbertError):
            return [(None, error)] * len(puts)
    return [
        attempt(connection, functools.partial(put, calls=one.calls, now=one.now, default=default, bounds=one.bounds))
        for one in puts
    ]


def advance(
    connection: sqlite3.Connection,
    mark: Mark,
    call: QueuedCall | None,
    now: float,
    default: QueueBounds,
    bounds: Bounds,
) -> bool:
    (done,) = _advance(connection, [Tick(mark, call, now, bounds)], default)
    return done


def advance_all(connection: sqlite3.Connection, ticks: Sequence[Tick], default: QueueBounds) -> Sequence[Outcome[bool]]:
    """As `advance` for each, in order."""
    apart = len({(tick.mark.ref, tick.mark.index) for tick in ticks}) == len(ticks)
    if len(ticks) > 1 and apart:
        together, error = attempt(connection, lambda connection: _advance(connection, ticks, default))
        if together is not None:
            return [(done, None) for done in together]
        if not isinstance(error, HilbertError):
            return [(None, error)] * len(ticks)
    return [
        attempt(
            connection,
            functools.partial(advance, mark=one.mark, call=one.call, now=one.now, default=default, bounds=one.bounds),
        )
        for one in ticks
    ]


def _advance(connection: sqlite3.Connection, ticks: Sequence[Tick], default: QueueBounds) -> list[bool]:
    """Ticks of as many marks. Raises as `put`, for all of them."""
    versions = marks.versions(connection, [tick.mark for tick in ticks])
    done = [tick.mark.version == version + 1 for tick, version in zip(ticks, versions, strict=True)]
    firing = [tick for tick, is_next in zip(ticks, done, strict=True) if is_next]
    calling = [tick for tick in firing if tick.call is not None]
    puts = [Put([tick.call], tick.now, tick.bounds) for tick in calling if tick.call is not None]
    accepted = dict(zip(map(id, calling), _accept(connection, puts, default), strict=True))
    marks.write(
        connection,
        [
            msgspec.structs.replace(tick.mark, call=accepted[id(tick)][0]) if id(tick) in accepted else tick.mark
            for tick in firing
        ],
    )
    return done


def _accept(connection: sqlite3.Connection, puts: Sequence[Put], default: QueueBounds) -> list[list[str]]:
    """The ids of each put. Raises for all of them what one of them raises."""
    known = _Known(connection, [call for one in puts for call in one.calls])
    (number,) = connection.execute("SELECT ifnull(max(seq), 0) FROM sqlite_sequence WHERE name = 'calls'").fetchone()
    rows, bodies = [], []
    changes: dict[FunctionRef, Change] = {}
    bounds: dict[FunctionRef, QueueBounds] = {}
    ids: list[list[str]] = []
    for one in puts:
        mine: list[str] = []
        ids.append(mine)
        for call in one.calls:
            fingerprint = fingerprint_of(call)
            if (same := known.find(call, fingerprint)) is not None:
                mine.append(same)
                continue
            number += 1
            size = len(call.body)
            rows.append(
                (
                    number,
                    call.id,
                    call.ref.namespace,
                    call.ref.name,
                    QUEUED,
                    one.now,
                    call.due,
                    call.due,
                    size,
                    digest_of(call),
                    fingerprint,
                    call.key,
                    call.by,
                )
            )
            bodies.append((number, call.body))
            change = changes.setdefault(call.ref, Change())
            change.accepted += 1
            change.queued += 1
            change.size += size
            bounds[call.ref] = _stricter(bounds.get(call.ref), one.bounds.get(call.ref, default))
            mine.append(call.id)
    connection.executemany(
        "INSERT INTO calls (number, id, namespace, function, state, put_at, due, wake, size, digest, fingerprint, key, "
        "caller) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    connection.executemany("INSERT INTO bodies VALUES (?, ?)", bodies)
    count_all(connection, changes)
    load = load_of(connection, changes)
    for ref, most in bounds.items():
        check_bounds(most, ref, function=load[ref.namespace, ref.name], namespace=load[ref.namespace, ""])
    return ids


def _stricter(one: QueueBounds | None, other: QueueBounds) -> QueueBounds:
    """What keeps both: bounds can have changed from one caller to the next."""
    if one is None or one == other:
        return other
    return QueueBounds(**{name: min(getattr(one, name), getattr(other, name)) for name in one.__struct_fields__})


class _Known:
    """Calls that are there already: in the queue, and among those that are accepted now."""

    def __init__(self, connection: sqlite3.Connection, calls: Sequence[QueuedCall]) -> None:
        self._ids: dict[str, tuple[str, bytes, str]] = {}
        self._keys: dict[tuple[str, str], tuple[str, bytes, str]] = {}
        names = json.dumps([call.id for call in calls])
        for row in connection.execute(
            "SELECT id, fingerprint, namespace FROM calls WHERE id IN (SELECT value FROM json_each(?))", (names,)
        ):
            self._ids[row[0]] = row
        for space, key in {(call.ref.namespace, call.key) for call in calls if call.key}:
            row = connection.execute(
                "SELECT id, fingerprint, namespace FROM calls WHERE namespace = ? AND key = ? AND key <> ''",
                (space, key),
            ).fetchone()
            if row is not None:
                self._keys[space, key] = row

    def find(self, call: QueuedCall, fingerprint: bytes) -> str | None:
        """The id of the same call, or None and the call is known from then on. Raises `KeyReused` for another one."""
        space = call.ref.namespace
        same = self._ids.get(call.id) or (self._keys.get((space, call.key)) if call.key else None)
        if same is None:
            entry = (call.id, fingerprint, space)
            self._ids[call.id] = entry
            if call.key:
                self._keys[space, call.key] = entry
            return None
        if same[1:] != (fingerprint, space):
            raise KeyReused("the idempotency key was used before with another request")
        return same[0]
