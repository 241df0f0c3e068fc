"""The threads of plain handlers."""

from __future__ import annotations

import queue
import threading

import pytest

from hilbert.watchdog.threads import Threads


def test_work_runs_in_order_on_one_thread() -> None:
    """What is given first begins first."""
    pool, done = Threads(1), queue.SimpleQueue[int]()
    for number in range(50):
        pool.submit(lambda number=number: done.put(number))  # type: ignore[misc]
    assert [done.get(timeout=10) for _ in range(50)] == list(range(50))


def test_the_bound_holds() -> None:
    """No more at once than threads; no more threads than needed."""
    pool, gate, begun = Threads(3), threading.Event(), queue.SimpleQueue[str]()

    def work() -> None:
        begun.put(threading.current_thread().name)
        gate.wait(10)

    for _ in range(10):
        pool.submit(work)
    names = {begun.get(timeout=10) for _ in range(3)}
    assert len(names) == 3
    assert begun.empty()
    gate.set()
    names |= {begun.get(timeout=10) for _ in range(7)}
    assert len(names) == 3


def test_idle_threads_are_used_again() -> None:
    """One after the other needs one thread."""
    pool, names = Threads(10), queue.SimpleQueue[str]()
    used = set()
    for _ in range(20):
        pool.submit(lambda: names.put(threading.current_thread().name))
        used.add(names.get(timeout=10))
        until_idle(pool)
    assert len(used) == 1


def until_idle(pool: Threads) -> None:
    for _ in range(10000):
        with pool._change:
            if pool._idle == pool._threads:
                return
        threading.Event().wait(0.0005)
    raise AssertionError("the thread did not come to rest")


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is missed at once, a later one is done without."""
    pool, done = Threads(2), queue.SimpleQueue[int]()
    gate = threading.Event()
    start = threading.Thread.start

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError):
        pool.submit(lambda: done.put(0))
    monkeypatch.setattr(threading.Thread, "start", start)
    pool.submit(lambda: (done.put(1), gate.wait(10)))  # type: ignore[arg-type, return-value]
    assert done.get(timeout=10) == 1
    monkeypatch.setattr(threading.Thread, "start", refuse)
    pool.submit(lambda: done.put(2))
    gate.set()
    assert done.get(timeout=10) == 2


def test_written_off_work_makes_room() -> None:
    """For as many again, and no more; once it returns, the room is gone."""
    pool, gate, begun = Threads(1), threading.Event(), queue.SimpleQueue[int]()

    def stuck() -> None:
        begun.put(0)
        gate.wait(10)
        pool.regain()

    pool.submit(stuck)
    begun.get(timeout=10)
    pool.submit(lambda: begun.put(1))
    pool.write_off()
    assert begun.get(timeout=10) == 1
    gate.set()
    pool.submit(lambda: begun.put(2))
    assert begun.get(timeout=10) == 2
