"""A leadership that a test gives and takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class ManualLeader:
    """A `Leader` that leads from `give` to `take`."""

    def __init__(self, *, leads: bool = False) -> None:
        self.on_change: list[Callable[[bool], None]] = []
        self._leading = asyncio.Event()
        if leads:
            self._leading.set()

    @property
    def leads(self) -> bool:
        return self._leading.is_set()

    async def wait(self) -> None:
        await self._leading.wait()

    def give(self) -> None:
        """Begin to lead."""
        self._set(leads=True)

    def take(self) -> None:
        """Stop leading, as when a lease is lost."""
        self._set(leads=False)

    def _set(self, *, leads: bool) -> None:
        if leads == self.leads:
            return
        (self._leading.set if leads else self._leading.clear)()
        for told in self.on_change:
            told(leads)
