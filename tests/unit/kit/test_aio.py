"""Tasks that cannot die unseen, shared runs, and a work queue that loses nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from structlog.testing import capture_logs

from hilbert.kit.aio import KeyedQueue, ManualClock, RealClock, SingleFlight, cancel, spawn
from hilbert.kit.pace import Pace

pytestmark = pytest.mark.anyio


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_task_that_fails_is_logged() -> None:
    async def work() -> None:
        raise RuntimeError("lost")

    with capture_logs() as logged:
        task = spawn(work(), name="the task")
        await asyncio.wait([task])
        await asyncio.sleep(0)
    (entry,) = logged
    assert (entry["log_level"], entry["task"]) == ("error", "the task")
    assert str(entry["exc_info"]) == "lost"


async def test_a_task_is_held_until_it_ends() -> None:
    import gc
    import weakref

    go_on = asyncio.Event()
    done = asyncio.Event()

    async def work() -> None:
        await go_on.wait()
        done.set()

    found = weakref.ref(spawn(work(), name="held"))
    await asyncio.sleep(0)
    gc.collect()
    assert found() is not None
    go_on.set()
    await asyncio.wait_for(done.wait(), 10)


async def test_cancelling_waits_for_the_end_and_passes_over_the_rest() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(1)

    async def nothing() -> None:
        return None

    task, over = spawn(work(), name="one"), spawn(nothing(), name="two")
    await asyncio.sleep(0)
    with capture_logs() as logged:
        await cancel(task, None, over)
    assert ended == [1]
    assert task.cancelled()
    assert logged == []


async def test_the_manual_clock_moves_only_by_hand() -> None:
    clock = ManualClock(100.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.now()))

    tasks = [spawn(sleeper(name, seconds), name=name) for name, seconds in (("c", 3), ("a", 1), ("b", 2), ("z", 0))]
    await until(lambda: bool(woken))
    assert woken == [("z", 100.0)]
    await clock.advance(2)
    assert woken == [("z", 100.0), ("a", 101.0), ("b", 102.0)]
    await clock.advance(0.5)
    assert clock.now() == 102.5
    await clock.advance(10)
    assert woken[-1] == ("c", 103.0)
    await asyncio.gather(*tasks)


async def test_sleeping_again_within_one_advance() -> None:
    clock = ManualClock()
    ticks = []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.now())

    task = spawn(ticker(), name="ticker")
    await asyncio.sleep(0)
    await clock.advance(3)
    assert ticks == [1, 2, 3]
    await cancel(task)
    await clock.advance(5)
    assert ticks == [1, 2, 3]


async def test_the_real_clock() -> None:
    clock = RealClock()
    before = clock.now()
    await clock.sleep(0.001)
    assert clock.now() > before


async def test_callers_with_one_key_share_one_run() -> None:
    flights: SingleFlight[str, int] = SingleFlight()
    go_on = asyncio.Event()
    runs = []

    async def work() -> int:
        runs.append(1)
        await go_on.wait()
        return len(runs)

    calls = [asyncio.ensure_future(flights.run("a", work)) for _ in range(100)]
    other = asyncio.ensure_future(flights.run("b", work))
    await until(lambda: len(runs) == 2)
    go_on.set()
    assert set(await asyncio.gather(*calls)) == {2}
    assert await other == 2
    assert len(runs) == 2
    assert await flights.run("a", work) == 3


async def test_a_caller_that_leaves_does_not_stop_the_run() -> None:
    flights: SingleFlight[str, str] = SingleFlight()
    go_on = asyncio.Event()

    async def work() -> str:
        await go_on.wait()
        return "done"

    leaving, staying = (asyncio.ensure_future(flights.run("a", work)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    go_on.set()
    assert await staying == "done"


async def test_a_failure_reaches_every_caller_and_is_not_kept() -> None:
    flights: SingleFlight[str, str] = SingleFlight()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise RuntimeError("no")

    calls = [asyncio.ensure_future(flights.run("a", fail)) for _ in range(3)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert [str(error) for error in found] == ["no"] * 3

    async def succeed() -> str:
        return "yes"

    assert await flights.run("a", succeed) == "yes"


class Work:
    """What a queue was asked to do, and how each of its steps ends."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.results: dict[str, list[float | Exception | None]] = {}
        self.now = 0
        self.most = 0

    async def process(self, key: str) -> float | None:
        self.began.append(key)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            if key in self.gates:
                await self.gates[key].wait()
            results = self.results.get(key)
            result = results.pop(0) if results else None
            if isinstance(result, Exception):
                raise result
            return result
        finally:
            self.now -= 1


@contextlib.asynccontextmanager
async def queue_of(work: Work, **options: float) -> AsyncIterator[KeyedQueue[str]]:
    queue = KeyedQueue(
        work.process,
        name="test",
        workers=int(options.get("workers", 4)),
        pace=Pace(first=0.001, most=0.004),
    )
    queue.start()
    try:
        yield queue
    finally:
        await queue.stop()


async def all_is_done(queue: KeyedQueue[str]) -> None:
    """Wait until no key is worked on, waits for a worker or is due later."""
    await until(lambda: not (queue._queued or queue._active or queue._again or queue._timers))


async def test_keys_that_wait_merge() -> None:
    work = Work()
    async with queue_of(work, workers=1) as queue:
        for _ in range(10):
            queue.add("a")
            queue.add("b")
        await until(lambda: len(work.began) == 2)
        await all_is_done(queue)
    assert work.began == ["a", "b"]


async def test_a_key_that_is_added_while_it_is_worked_on_comes_again_once() -> None:
    work = Work()
    work.gates["a"] = asyncio.Event()
    async with queue_of(work) as queue:
        queue.add("a")
        await until(lambda: work.began == ["a"])
        for _ in range(5):
            queue.add("a")
        queue.add("b")
        await until(lambda: "b" in work.began)
        assert work.began == ["a", "b"]
        work.gates["a"].set()
        await until(lambda: work.began == ["a", "b", "a"])
        await all_is_done(queue)
    assert work.began == ["a", "b", "a"]


async def test_keys_run_side_by_side_up_to_the_number_of_workers() -> None:
    work = Work()
    gate = asyncio.Event()
    work.gates = {str(number): gate for number in range(10)}
    async with queue_of(work, workers=3) as queue:
        for number in range(10):
            queue.add(str(number))
        await until(lambda: work.now == 3 and len(queue._queued) == 7)
        gate.set()
        await until(lambda: len(work.began) == 10)
    assert work.most == 3


async def test_failures_come_back_after_growing_waits() -> None:
    work = Work()
    work.results["a"] = [RuntimeError("no")] * 4
    with capture_logs() as logged:
        async with queue_of(work) as queue:
            queue.add("a")
            await until(lambda: len(work.began) == 5)
            await all_is_done(queue)
            assert len(work.began) == 5
    assert [entry["retry_in"] for entry in logged] == [0.001, 0.002, 0.004, 0.004]


async def test_success_and_forgetting_reset_the_wait() -> None:
    work = Work()
    work.results["a"] = [RuntimeError("no"), RuntimeError("no"), None, RuntimeError("no")]
    with capture_logs() as logged:
        async with queue_of(work) as queue:
            queue.add("a")
            await until(lambda: len(work.began) == 3)
            queue.add("a")
            await until(lambda: len(work.began) == 5)
    assert [entry["retry_in"] for entry in logged] == [0.001, 0.002, 0.001]


async def test_work_says_when_to_look_again() -> None:
    work = Work()
    work.results["a"] = [0.001, 0.001, None]
    async with queue_of(work) as queue:
        queue.add("a")
        await until(lambda: len(work.began) == 3)
        await all_is_done(queue)
    assert work.began == ["a"] * 3


async def test_the_sooner_of_two_times_counts() -> None:
    work = Work()
    async with queue_of(work) as queue:
        queue.add_later("a", 1000)
        queue.add_later("a", 0.001)
        queue.add_later("a", 2000)
        await until(lambda: work.began == ["a"])
        queue.add_later("b", 1000)
        queue.add("b")
        await until(lambda: work.began == ["a", "b"])


async def test_stopping_leaves_nothing_behind() -> None:
    work = Work()
    work.gates["a"] = asyncio.Event()
    before = asyncio.all_tasks()
    async with queue_of(work) as queue:
        queue.add("a")
        queue.add_later("b", 3600)
        await until(lambda: work.began == ["a"])
        (timer,) = queue._timers.values()
    assert timer.cancelled()
    assert work.began == ["a"]
    assert asyncio.all_tasks() == before


async def test_who_is_cancelled_while_it_cancels_others_notices_it() -> None:
    """Else a loop that ends its helpers at each turn could miss the one moment at which it was told to stop."""
    ending, went_on = asyncio.Event(), False

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ending.set()
            await asyncio.sleep(0)

    async def turn() -> None:
        nonlocal went_on
        helper = asyncio.ensure_future(slow_to_end())
        await asyncio.sleep(0)
        await cancel(helper)
        went_on = True

    task = asyncio.ensure_future(turn())
    await ending.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not went_on


async def test_one_that_is_being_cancelled_can_still_cancel_others() -> None:
    done = False

    async def turn() -> None:
        nonlocal done
        helper = asyncio.ensure_future(asyncio.Event().wait())
        try:
            await asyncio.Event().wait()
        finally:
            await cancel(helper)
            done = helper.cancelled()

    task = asyncio.ensure_future(turn())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done
