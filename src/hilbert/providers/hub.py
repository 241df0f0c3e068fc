"""Tells any number of watchers which functions have changed, merging changes that were not yet taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

from hilbert.core.model import EndpointSet, Synced
from hilbert.core.values import FunctionRef


class Hub:
    """The back of `Provider.watch`. A change costs each watcher one dictionary entry until it is taken."""

    def __init__(
        self, current: Callable[[FunctionRef], EndpointSet], known: Callable[[], Iterable[FunctionRef]]
    ) -> None:
        self._current = current
        self._known = known
        self._watchers: dict[int, _Watcher] = {}
        self._next = 0

    def changed(self, ref: FunctionRef) -> None:
        for watcher in self._watchers.values():
            watcher.pending[ref] = None
            watcher.wake.set()

    async def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        """As `Provider.watch`."""
        watcher = _Watcher()
        number, self._next = self._next, self._next + 1
        self._watchers[number] = watcher
        try:
            for ref in list(self._known()):
                watcher.pending.pop(ref, None)
                yield self._current(ref)
            yield Synced()
            while True:
                while watcher.pending:
                    ref = next(iter(watcher.pending))
                    del watcher.pending[ref]
                    yield self._current(ref)
                watcher.wake.clear()
                await watcher.wake.wait()
        finally:
            del self._watchers[number]


class _Watcher:
    def __init__(self) -> None:
        self.pending: dict[FunctionRef, None] = {}
        self.wake = asyncio.Event()
