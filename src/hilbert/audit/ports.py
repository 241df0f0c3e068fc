"""Where records go: the API writes them to one of these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from hilbert.audit.record import Record


class Sink(Protocol):
    """Keeps records."""

    async def append(self, record: Record) -> None:
        """Return once it is kept, whatever happens. Raises `StorageFull` if it cannot be."""
        ...


class Source(Protocol):
    """Gives records back."""

    async def read(self, wanted: Wanted) -> Page:
        """The newest records that are wanted, the oldest of them first."""
        ...


class Wanted:
    """Which records are asked for, and who asks."""

    __slots__ = (
        "action",
        "actor",
        "after",
        "before",
        "limit",
        "namespace",
        "refused",
        "sees",
        "sees_all",
        "since",
        "until",
    )

    def __init__(
        self,
        *,
        limit: int,
        namespace: str = "",
        actor: str = "",
        action: str = "",
        refused: bool = False,
        since: str = "",
        until: str = "",
        after: int = 0,
        before: int = 0,
        sees: Callable[[str], bool] = lambda _namespace: True,
        sees_all: bool = True,
    ) -> None:
        """`since` and `until` are as `record.moment` writes times; `after` and `before` are numbers of lines.

        `sees` says for a namespace whether the caller may read what concerns it, `sees_all` whether everything.
        """
        self.limit = limit
        self.namespace = namespace
        self.actor = actor
        self.action = action
        self.refused = refused
        self.since = since
        self.until = until
        self.after = after
        self.before = before
        self.sees = sees
        self.sees_all = sees_all

    def matches(self, record: Record) -> bool:
        kind = self.action.removesuffix("*")
        return (
            (not self.namespace or record.namespace == self.namespace)
            and (not self.actor or self.actor in (record.actor.sub, record.actor.name, record.token_id))
            and (
                not self.action
                or any(one == self.action or (kind != self.action and one.startswith(kind)) for one in record.actions)
            )
            and (not self.refused or record.is_refusal)
            and (not self.since or record.time >= self.since)
            and (not self.until or record.time < self.until)
        )


class Page:
    """Some records with the numbers of their lines."""

    __slots__ = ("complete", "lines", "next")

    def __init__(self, lines: list[tuple[int, Record]], *, next_seq: int, complete: bool) -> None:
        self.lines = lines
        self.next = next_seq
        """For `after`: the last line that was looked at."""
        self.complete = complete
        """False: older ones were left out, because of the limit or because looking took too long."""
