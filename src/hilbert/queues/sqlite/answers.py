"""What every queue with these tables answers from them, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeVar

from hilbert.core.ports.queue import CallRecord, CallState, QueueCounts
from hilbert.core.ports.schedules import Mark
from hilbert.core.values import NamespaceName
from hilbert.kit.sqlite import Work
from hilbert.queues.sqlite import marks, reading

T = TypeVar("T")


class TableAnswers(ABC):
    """The methods of `Queue`, `QueueRecords` and `Marks` that change nothing."""

    @abstractmethod
    async def _read(self, work: Work[T]) -> T:
        """Run it on a connection, in a snapshot of its own."""

    async def look_up(self, namespace: NamespaceName | None, call: str, *, now: float) -> CallRecord:
        return await self._read(lambda connection: reading.look_up(connection, namespace, call, now))

    async def counts(self, *, open_only: bool = False) -> Sequence[QueueCounts]:
        return await self._read(lambda connection: reading.counts(connection, open_only=open_only))

    async def list_calls(
        self,
        namespace: NamespaceName,
        *,
        function: str = "",
        state: CallState | None = None,
        after: int = 0,
        limit: int,
    ) -> Sequence[CallRecord]:
        return await self._read(
            lambda connection: reading.list_calls(connection, namespace, function, state, after, limit)
        )

    async def body(self, namespace: NamespaceName, call: str) -> bytes:
        return await self._read(lambda connection: reading.body(connection, namespace, call))

    async def marks(self, namespace: NamespaceName | None = None) -> Sequence[Mark]:
        return await self._read(lambda connection: marks.read(connection, namespace))
