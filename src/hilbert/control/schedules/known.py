"""Which schedules there are: kept in step with the functions' annotations by `Provider.watch`."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Final

import structlog

from hilbert.control.schedules.rules import Rules, Schedule, rules_of
from hilbert.core.model import EndpointSet, Synced
from hilbert.core.ports import Provider
from hilbert.core.values import FunctionRef
from hilbert.kit.aio import Clock, cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.kit.retry import Backoff

PACE: Final = Pace(first=0.1, most=10.0)

_log = structlog.get_logger("hilbert.schedules")


class Known:
    """The rules of every function that has any."""

    def __init__(self, provider: Provider, *, clock: Clock, changed: Callable[[FunctionRef], None]) -> None:
        """`changed` is called with each function whose rules are new, other or gone; on the event loop."""
        self._provider = provider
        self._clock = clock
        self._changed = changed
        self.annotations: dict[FunctionRef, tuple[Mapping[str, str], Mapping[str, str]]] = {}
        """What the rules were made of: a function's, and its namespace's."""
        self._synced = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.rules: dict[FunctionRef, Rules] = {}

    def start(self) -> None:
        self._task = spawn(self._watch(), name="watch schedules")

    async def stop(self) -> None:
        await cancel(self._task)
        self._task = None

    async def wait_synced(self) -> None:
        """Until every function has been seen once."""
        await self._synced.wait()

    def find(self, ref: FunctionRef, index: int) -> Schedule | None:
        rules = self.rules.get(ref)
        return next((one for one in rules.schedules if one.index == index), None) if rules is not None else None

    async def _watch(self) -> None:
        backoff = Backoff(PACE, sleep=self._clock.sleep)
        while True:
            first: set[FunctionRef] | None = set()
            try:
                async with contextlib.AsyncExitStack() as stack:
                    changes = self._provider.watch()
                    if isinstance(changes, AsyncGenerator):
                        stack.push_async_callback(changes.aclose)
                    async for change in changes:
                        if isinstance(change, Synced):
                            for ref in self.rules.keys() - (first or set()):
                                self._drop(ref)
                            first = None
                            self._synced.set()
                            backoff.succeeded()
                            continue
                        self._take(change)
                        if first is not None and change.spec is not None:
                            first.add(change.ref)
            except Exception:  # noqa: BLE001 - the loop outlives whatever a provider raises
                _log.warning("the watch on functions failed", exc_info=True)
            await self._clock.sleep(backoff.failed())

    def _take(self, change: EndpointSet) -> None:
        ref = change.ref
        if change.spec is None:
            self._drop(ref)
            return
        said = change.spec.annotations, change.namespace_annotations
        if self.annotations.get(ref) == said:
            return
        rules = rules_of(ref, *said)
        if rules == Rules():
            self._drop(ref)
            return
        before = self.rules.get(ref)
        self.annotations[ref], self.rules[ref] = said, rules
        if rules.wrong and (before is None or before.wrong != rules.wrong):
            _log.warning("schedule not understood", function=str(ref), reasons=rules.wrong)
        self._changed(ref)

    def _drop(self, ref: FunctionRef) -> None:
        self.annotations.pop(ref, None)
        if self.rules.pop(ref, None) is not None:
            self._changed(ref)
