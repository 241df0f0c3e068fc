"""What several callers ask for at the same moment, done as one piece of work."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from hilbert.kit.aio import spawn
from hilbert.kit.sqlite import Outcome, Work, tell_all

A = TypeVar("A")
R = TypeVar("R")


class Together(Generic[A, R]):
    """Collects what is asked until the writer has time for it. Of one event loop."""

    def __init__(
        self,
        name: str,
        write: Callable[[Work[Any]], Awaitable[Any]],
        work: Callable[[sqlite3.Connection, Sequence[A]], Sequence[Outcome[R]]],
    ) -> None:
        """`work` says of each, in order, what came of it. `write` raises for all of them."""
        self._name = name
        self._write = write
        self._work = work
        self._waiting: deque[tuple[A, asyncio.Future[R]]] = deque()
        self._announced = False
        """The writer will look."""

    async def do(self, asked: A) -> R:
        """Returns what came of it, once it is on disk. Cancelling it does not undo work that has begun."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        # In this order: whatever the writer's thread does in between, it looks once more after this.
        self._waiting.append((asked, future))
        if not self._announced:
            self._announced = True
            spawn(self._run(), name=f"{self._name} together")
        return await future

    async def _run(self) -> None:
        taken: list[tuple[A, asyncio.Future[R]]] = []

        def work(connection: sqlite3.Connection) -> Sequence[Outcome[R]]:
            self._announced = False
            while self._waiting:
                one = self._waiting.popleft()
                if not one[1].cancelled():
                    taken.append(one)
            return self._work(connection, [asked for asked, _ in taken]) if taken else ()

        try:
            outcomes = await self._write(work)
        except Exception as exc:  # noqa: BLE001 - handed to the callers, whatever it is
            if not taken:  # It was refused before the work began.
                self._announced = False
                taken += self._waiting
                self._waiting.clear()
            outcomes = [(None, exc)] * len(taken)
        tell_all([(future, outcome) for (_, future), outcome in zip(taken, outcomes, strict=True)])
