"""One thread that works in order, and tells the loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hilbert.kit.lane import Lane

pytestmark = pytest.mark.anyio


async def test_work_is_done_in_order_on_one_thread_and_told_on_the_loop() -> None:
    lane = Lane("test")
    done: list[tuple[int, int]] = []
    told: list[Exception | None] = []
    for number in range(100):
        lane.do(lambda number=number: done.append((number, threading.get_ident())), told.append)
    await lane.done(lambda: None)
    assert [number for number, _ in done] == list(range(100))
    assert len({thread for _, thread in done}) == 1
    assert {thread for _, thread in done} != {threading.get_ident()}
    assert told == [None] * 100
    lane.close()


async def test_what_work_raises_is_told_and_the_next_is_done() -> None:
    lane = Lane("test")
    with pytest.raises(ZeroDivisionError):
        await lane.done(lambda: 1 // 0)
    await lane.done(lambda: None)
    lane.close()


async def test_closing_finishes_what_was_given_and_ends_the_thread() -> None:
    """Also what nobody waits for any more."""
    lane = Lane("test")
    held, done = threading.Event(), threading.Event()
    first = asyncio.ensure_future(lane.done(held.wait))
    await asyncio.sleep(0)
    lane.do(done.set, lambda _: None)
    first.cancel()
    held.set()
    lane.close()
    assert done.is_set()
    assert "test" not in {thread.name for thread in threading.enumerate()}
