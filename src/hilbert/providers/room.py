"""How much a namespace may have the platform keep where no quota says so: all of it is in memory, and in one database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from hilbert.core.errors import QuotaExceeded
from hilbert.providers import quota


class Room(NamedTuple):
    """Of one kind of things."""

    kind: str
    most: int
    """So many, unless the namespace's quota states a number."""
    size: int
    """Bytes of all of them together, where some are larger than their part of it. Smaller ones are bounded by their number."""
    annotation: str
    """The quota's."""

    def check(
        self,
        annotations: Mapping[str, str],
        *,
        before: int | None,
        after: int,
        count: Callable[[], int],
        size: Callable[[], int],
        what: str,
    ) -> None:
        """Raise `QuotaExceeded` if there is no room for one thing of `after` bytes.

        `before`: its bytes now, None for a new one. What takes no more than before is always taken. `count` and `size` tell how many there
        are, and their bytes; they are asked only if it depends on that, since that takes the longer the more there are.
        """
        if before is None and (self.annotation not in annotations or quota.is_off(annotations, "quota")):
            found = count()
            if found >= self.most:
                raise QuotaExceeded(
                    f"the namespace has {found} {self.kind}, which leaves no room for {what}",
                    hint=f"remove some, or ask an administrator to set a number in the namespace's annotation {self.annotation}",
                )
        grows = after > (before or 0) and after > self.size // self.most
        if grows and size() - (before or 0) + after > self.size:
            raise QuotaExceeded(
                f"the namespace's {self.kind} would take more than {self.size // 2**20} MiB with {what}",
                hint="remove some, or make them smaller",
            )


FUNCTIONS: Final = Room("functions", 5_000, 64 * 2**20, quota.FUNCTIONS)
SECRETS: Final = Room("secrets", 5_000, 64 * 2**20, quota.SECRETS)
