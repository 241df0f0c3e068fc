"""The pieces of asyncio that are missing: guarded tasks, single-flight, a keyed work queue with back-off, a clock."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from hilbert.kit.pace import Pace

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger("hilbert.aio")
_tasks: set[asyncio.Task[Any]] = set()


def spawn(work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
    """Start a background task that is held until it ends and cannot die unseen: its failure is logged as an error."""
    task = asyncio.get_running_loop().create_task(work, name=name)
    _tasks.add(task)
    task.add_done_callback(_reap)
    return task


def _reap(task: asyncio.Task[Any]) -> None:
    _tasks.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("task failed", task=task.get_name(), exc_info=error)


async def cancel(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks and wait until they have ended. None and ended ones are passed over.

    Raises `CancelledError`, once they have ended, if the caller is cancelled meanwhile.
    """
    caller = asyncio.current_task()
    before = caller.cancelling() if caller is not None else 0
    live = [task for task in tasks if task is not None]
    for task in live:
        task.cancel()
    for task in live:
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await task
    if caller is not None and caller.cancelling() > before:
        raise asyncio.CancelledError  # It came as one of theirs, and was passed over above.


class Clock(Protocol):
    """Time as an argument, so that tests need not wait."""

    def now(self) -> float:
        """Seconds, monotonic."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class RealClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """A clock that moves only by `advance`, for tests."""

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + seconds, next(self._order), future))
        await future

    async def advance(self, seconds: float) -> None:
        """Move time on, waking sleepers in order and letting each run."""
        target = self._now + seconds
        while self._sleepers and self._sleepers[0][0] <= target:
            self._now, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)
            for _ in range(5):
                await asyncio.sleep(0)
        self._now = target


class SingleFlight(Generic[K, T]):
    """Calls with one key share one run.

    The run is detached: it goes on when a caller is cancelled, since others may wait for it.
    """

    def __init__(self) -> None:
        self._flights: dict[K, asyncio.Task[T]] = {}

    async def run(self, key: K, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        task = self._flights.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(work(), name=f"flight {key}")
            self._flights[key] = task
            task.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(task)

    def _land(self, key: K, task: asyncio.Task[T]) -> None:
        self._flights.pop(key, None)
        if not task.cancelled():
            task.exception()  # Every caller may have gone; theirs to report, not the loop's.


USUAL_PACE: Final = Pace(first=0.05, most=30.0)


class KeyedQueue(Generic[K]):
    """A work queue of keys: duplicates merge, one worker a key, delays, back-off per key.

    A key added while it is being worked on is worked on once more afterwards. `process` returns when to look again in
    seconds, or None for never; an exception means again after a back-off that follows `pace`.
    """

    def __init__(
        self,
        process: Callable[[K], Awaitable[float | None]],
        *,
        name: str,
        workers: int = 8,
        pace: Pace = USUAL_PACE,
    ) -> None:
        self._process = process
        self._name = name
        self._workers = workers
        self._pace = pace
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._active: set[K] = set()
        self._again: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [spawn(self._work(), name=f"{self._name} {n}") for n in range(self._workers)]

    async def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await cancel(*self._tasks)
        self._tasks = []

    def add(self, key: K) -> None:
        """Work on `key` as soon as a worker is free."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._active:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_later(self, key: K, seconds: float) -> None:
        """Work on `key` after a delay, unless it is due sooner anyway."""
        if key in self._queued or key in self._again:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def forget(self, key: K) -> None:
        """Reset the back-off of `key`."""
        self._failures.pop(key, None)

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._active.add(key)
            delay: float | None
            try:
                delay = await self._process(key)
                self._failures.pop(key, None)
            except asyncio.CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the loop outlives one key's failure; the key comes back
                failures = self._failures[key] = self._failures.get(key, 0) + 1
                delay = self._pace.delay(failures)
                _log.warning("work failed", queue=self._name, key=str(key), retry_in=delay, exc_info=True)
            finally:
                self._active.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self.add_later(key, delay)
