"""What an entry of the log says: changes, with all that they depend on, so that they come out alike everywhere.

Never change the meaning of one: gateways of two versions share a log during an upgrade, and logs outlive versions.
Add a new one instead.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from hilbert.core.ports.queue import Again, Bounds, Finished, GivenUp, Outcome, QueueBounds, QueuedCall
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import FunctionRef, NamespaceName
from hilbert.queues.sqlite import accepting, marks, transactions

SomeBounds = tuple[tuple[FunctionRef, QueueBounds], ...]
"""`core.ports.queue.Bounds`, for a format whose keys are texts."""


class Change(msgspec.Struct, frozen=True, array_like=True, tag_field="change"):
    """One call of a method of the queue. Times are those of the gateway that made it."""

    def make(self, connection: sqlite3.Connection) -> Any:
        """What the method returns; raises what it raises."""
        raise NotImplementedError


class Put(Change, frozen=True, tag="put"):
    calls: tuple[QueuedCall, ...]
    now: float
    default: QueueBounds
    bounds: SomeBounds

    def make(self, connection: sqlite3.Connection) -> list[str]:
        return accepting.put(connection, self.calls, self.now, self.default, dict(self.bounds))


class Lend(Change, frozen=True, tag="lend"):
    ref: FunctionRef
    count: int
    now: float
    until: float

    def make(self, connection: sqlite3.Connection) -> Any:
        return transactions.lease(connection, self.ref, self.count, self.now, self.until)


class Extend(Change, frozen=True, tag="extend"):
    leases: tuple[tuple[str, int], ...]
    until: float

    def make(self, connection: sqlite3.Connection) -> set[str]:
        return transactions.extend(connection, self.leases, self.until)


class Settle(Change, frozen=True, tag="settle"):
    """Exactly one of the last three is given."""

    call: str
    epoch: int
    now: float
    finished: Finished | None = None
    again: Again | None = None
    given_up: GivenUp | None = None

    def make(self, connection: sqlite3.Connection) -> None:
        outcome = self.finished or self.again or self.given_up
        assert outcome is not None  # noqa: S101 - it is told so above
        transactions.settle(connection, self.call, self.epoch, outcome, self.now)


class PullIn(Change, frozen=True, tag="pull-in"):
    before: float
    now: float

    def make(self, connection: sqlite3.Connection) -> int:
        return transactions.pull_in(connection, self.before, self.now)


class Cancel(Change, frozen=True, tag="cancel"):
    namespace: NamespaceName
    call: str
    now: float
    reason: str

    def make(self, connection: sqlite3.Connection) -> None:
        transactions.cancel(connection, self.namespace, self.call, self.now, self.reason)


class Redrive(Change, frozen=True, tag="redrive"):
    namespace: NamespaceName
    calls: tuple[str, ...]
    function: str
    now: float

    def make(self, connection: sqlite3.Connection) -> int:
        return transactions.redrive(connection, self.namespace, self.calls, self.function, self.now)


class Purge(Change, frozen=True, tag="purge"):
    namespace: NamespaceName
    calls: tuple[str, ...]
    function: str

    def make(self, connection: sqlite3.Connection) -> int:
        return transactions.purge(connection, self.namespace, self.calls, self.function)


class CancelFunction(Change, frozen=True, tag="cancel-function"):
    ref: FunctionRef
    reason: str
    now: float

    def make(self, connection: sqlite3.Connection) -> int:
        return transactions.cancel_function(connection, self.ref, self.reason, self.now)


class ForgetNamespace(Change, frozen=True, tag="forget-namespace"):
    namespace: NamespaceName

    def make(self, connection: sqlite3.Connection) -> None:
        transactions.forget_namespace(connection, self.namespace)


class Advance(Change, frozen=True, tag="advance"):
    mark: Mark
    call: QueuedCall | None
    now: float
    default: QueueBounds
    bounds: SomeBounds

    def make(self, connection: sqlite3.Connection) -> bool:
        return accepting.advance(connection, self.mark, self.call, self.now, self.default, dict(self.bounds))


class ForgetMarks(Change, frozen=True, tag="forget-marks"):
    ref: FunctionRef
    start: int

    def make(self, connection: sqlite3.Connection) -> None:
        marks.forget(connection, self.ref, self.start)


class Expire(Change, frozen=True, tag="expire"):
    now: float
    most: int

    def make(self, connection: sqlite3.Connection) -> int:
        return transactions.expire(connection, self.now, self.most)


AnyChange = (
    Put
    | Lend
    | Extend
    | Settle
    | PullIn
    | Cancel
    | Redrive
    | Purge
    | CancelFunction
    | ForgetNamespace
    | Advance
    | ForgetMarks
    | Expire
)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One entry of the log: changes of one gateway that were made at the same moment, each whole or not at all."""

    id: str
    changes: tuple[AnyChange, ...]

    @classmethod
    def load(cls, data: bytes) -> Entry:
        """Raises `msgspec.MsgspecError`."""
        return msgspec.msgpack.decode(data, type=cls)


class _Written(msgspec.Struct, frozen=True, array_like=True):
    """As `Entry`, of changes that are encoded already."""

    id: str
    changes: list[msgspec.Raw]


def encode(change: AnyChange) -> bytes:
    return msgspec.msgpack.encode(change)


def entry_of(name: str, changes: list[bytes]) -> bytes:
    """An entry, of encoded changes."""
    return msgspec.msgpack.encode(_Written(name, [msgspec.Raw(change) for change in changes]))


def settle(call: str, epoch: int, outcome: Outcome, now: float) -> Settle:
    return Settle(
        call=call,
        epoch=epoch,
        now=now,
        finished=outcome if isinstance(outcome, Finished) else None,
        again=outcome if isinstance(outcome, Again) else None,
        given_up=outcome if isinstance(outcome, GivenUp) else None,
    )


def some(bounds: Bounds) -> SomeBounds:
    return tuple(sorted(bounds.items(), key=lambda item: item[0]))
