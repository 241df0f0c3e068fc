"""The queue of what the leader keeps in order, and how it waits while the cluster does not answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import structlog

from hilbert.core.errors import BackendUnavailable
from hilbert.kit.aio import KeyedQueue
from hilbert.providers.kubernetes.cluster.errors import Refused, Unreachable

K = TypeVar("K")

_log = structlog.get_logger("hilbert.kubernetes.upkeep")
_SOON: Final = 2.0
"""Seconds after which work that the cluster did not take is tried again: a server that comes back is not kept waiting."""
_MOST_A_SECOND: Final = 50
"""Tries that all keys together may make while the cluster does not answer."""


class UpkeepQueue(Generic[K]):
    """Keys worked on while this gateway leads: `start` it then, and `stop` it when another does.

    `process` returns when to look again in seconds, or None for never. When it fails because the cluster does not take
    requests, the key comes back within two seconds, however long that has lasted, or later when many keys wait; a mistake
    of ours backs off to half a minute.
    """

    def __init__(self, process: Callable[[K], Awaitable[float | None]], *, name: str, workers: int) -> None:
        self._process = process
        self._name = name
        self._workers = workers
        self._queue: KeyedQueue[K] | None = None
        self._waiting: set[K] = set()

    def start(self) -> None:
        self._queue = KeyedQueue(self._try, name=self._name, workers=self._workers)
        self._queue.start()

    async def stop(self) -> None:
        queue, self._queue = self._queue, None
        self._waiting.clear()
        if queue is not None:
            await queue.stop()

    def add(self, key: K) -> None:
        """Work on `key` soon; nothing while another gateway leads."""
        if self._queue is not None:
            self._queue.add(key)

    async def _try(self, key: K) -> float | None:
        try:
            again = await self._process(key)
        except (BackendUnavailable, Refused, Unreachable) as exc:
            self._waiting.add(key)
            _log.info("the cluster did not take it", queue=self._name, key=str(key), reason=str(exc))
            return max(_SOON, len(self._waiting) / _MOST_A_SECOND)
        self._waiting.discard(key)
        return again
