"""How much a namespace may have the platform keep where no quota says so: all of it is in memory, and in one database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from hilbert.core.errors import QuotaExceeded
from hilbert.providers import quota


class Room(NamedTuple):
    """Of one kind of things."""

    kind: str
    most: int
    """So many, unless the namespace's quota states a number."""
    size: int
    """Bytes of all of them together."""
    annotation: str
    """The quota's."""

    def check(
        self, annotations: Mapping[str, str], others: tuple[int, int], before: int | None, after: int, what: str
    ) -> None:
        """Raise `QuotaExceeded` if there is no room for one thing of `after` bytes beside `others`, a number and their bytes.

        `before`: its bytes now, None for a new one. What takes no more than before is always taken.
        """
        count, size = others
        if (
            before is None
            and count >= self.most
            and (self.annotation not in annotations or quota.is_off(annotations, "quota"))
        ):
            raise QuotaExceeded(
                f"the namespace has {count} {self.kind}, which leaves no room for {what}",
                hint=f"remove some, or ask an administrator to state a number with the namespace's annotation {self.annotation}",
            )
        if size + after > self.size and after > (before or 0):
            raise QuotaExceeded(
                f"the namespace's {self.kind} would take more than {self.size // 2**20} MiB with {what}",
                hint="remove some, or make them smaller",
            )


FUNCTIONS: Final = Room("functions", 2_000, 64 * 2**20, quota.FUNCTIONS)
SECRETS: Final = Room("secrets", 2_000, 64 * 2**20, quota.SECRETS)
