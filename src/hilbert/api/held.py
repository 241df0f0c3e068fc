"""How many bytes of bodies the control process holds at once, while they come and while their requests are handled.

A connection costs a client little, and a body that never ends costs it no more than its bytes. So all bodies together have a bound, and
each source or tenant a share of it. Strangers, tenants and whoever governs the platform have a bound each: none takes another's room.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Final

from hilbert.api.asgi import Take
from hilbert.api.fair import governs, tenant_of
from hilbert.api.problems import Refusal
from hilbert.core.addresses import source_of
from hilbert.core.identity import NOBODY, Caller

ROOM: Final = 64 * 1024 * 1024
"""Bytes of all bodies of a class of callers."""
LONGEST_ONES: Final = 16
"""There is always room for so many of the longest that are allowed."""
SHARE: Final = 2
"""One source or tenant gets a half."""


class Room:
    """So many bytes, and of them a share for each party."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._free = most
        self._held: Counter[str] = Counter()

    @contextlib.contextmanager
    def holding(self, party: str) -> Iterator[Take]:
        """Whatever is taken inside is given back at the end."""
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            if count > self._free or self._held[party] + count > self._most // SHARE:
                raise Refusal(
                    503,
                    "overloaded",
                    "the gateway is holding too many request bodies right now; try again",
                    headers={"Retry-After": "1", "Connection": "close"},
                )
            taken += count
            self._free -= count
            self._held[party] += count

        try:
            yield take
        finally:
            self._free += taken
            self._held[party] -= taken
            if self._held[party] <= 0:
                del self._held[party]


class HeldBodies:
    """Three rooms."""

    def __init__(self, longest: int) -> None:
        """`longest`: bytes of the longest body that is allowed."""
        most = max(ROOM, LONGEST_ONES * longest)
        self._strangers, self._tenants, self._platform = Room(most), Room(most), Room(most)

    def of(self, caller: Caller, address: str) -> contextlib.AbstractContextManager[Take]:
        """For the time of one request. `address` is what the workers say of where it comes from."""
        if caller is NOBODY:
            return self._strangers.holding(source_of(address) or "unknown")
        if governs(caller):
            return self._platform.holding(caller.identity)
        return self._tenants.holding(tenant_of(caller))
