"""Places that several parties share by fair turns: whoever has none waiting loses nothing to one that has many."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Turns(Generic[K]):
    """A semaphore whose free places go round the parties that wait, one each."""

    def __init__(self, places: int, *, each: int = 0) -> None:
        """`each` bounds what one party may have at once; 0 is no bound of its own."""
        self._free = places
        self._each = each or places
        self._held: Counter[K] = Counter()
        self._waiting: OrderedDict[K, deque[asyncio.Future[None]]] = OrderedDict()
        """Parties in the order of their turns."""

    @property
    def waiting(self) -> int:
        return sum(len(line) for line in self._waiting.values())

    @contextlib.asynccontextmanager
    async def place(self, party: K) -> AsyncIterator[None]:
        """Have a place for a while."""
        await self._take(party)
        try:
            yield
        finally:
            self._give_back(party)

    async def _take(self, party: K) -> None:
        if self._free and self._held[party] < self._each and party not in self._waiting:
            self._free -= 1
            self._held[party] += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(party, deque()).append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self._give_back(party)  # The place came together with the cancellation.
            else:
                self._leave(party, turn)
            raise

    def _leave(self, party: K, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(party)
        if line is not None:
            with contextlib.suppress(ValueError):
                line.remove(turn)
            if not line:
                del self._waiting[party]

    def _give_back(self, party: K) -> None:
        self._free += 1
        self._held[party] -= 1
        if not self._held[party]:
            del self._held[party]
        self._hand_on()

    def _hand_on(self) -> None:
        """Give free places to those whose turn it is."""
        for party in list(self._waiting):
            if not self._free:
                return
            if self._held[party] >= self._each:
                continue
            line = self._waiting[party]
            turn = line.popleft()
            if line:
                self._waiting.move_to_end(party)
            else:
                del self._waiting[party]
            if turn.done():  # It was cancelled, and sees to itself.
                continue
            self._free -= 1
            self._held[party] += 1
            turn.set_result(None)
