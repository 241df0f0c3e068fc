"""Which thread runs the loop: when it calls handlers itself, and how it loses the loop to another."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from hilbert.kit.epoll.loop import EpollLoop
from hilbert.watchdog import leading
from hilbert.watchdog.leading import Crew, Job, Pace

WITHIN = 20.0
"""Seconds for what must come."""


def taken(pace: Pace, calls: int) -> int:
    """How many of the next calls are taken for short ones."""
    return sum(pace.short() for _ in range(calls))


def test_short_calls_stay_short() -> None:
    """However many there are, and with one slow one among them now and then."""
    pace = Pace()
    for number in range(1000):
        assert pace.short()
        pace.took(0.005 if number % 100 == 0 else 0.00005)


def test_calls_that_are_long_on_average_are_handed_over() -> None:
    """A handler that waits two milliseconds, say for a database, is known after a few calls."""
    pace = Pace()
    short = 0
    while pace.short():
        short += 1
        pace.took(0.002)
    assert short < 5


def test_the_next_calls_are_handed_over_and_then_one_is_tried() -> None:
    """More each time that it proves long again, up to a bound."""
    pace = Pace()
    spells = []
    for _ in range(8):
        pace.overran()
        spell = 0
        while not pace.short():
            spell += 1
        spells.append(spell)
    assert spells == [32, 64, 128, 256, 512, 1024, 1024, 1024]


def test_what_was_long_once_is_forgotten() -> None:
    """After as many short calls as were handed over."""
    pace = Pace()
    pace.overran()
    assert taken(pace, 32) == 0
    for _ in range(40):
        assert pace.short()
        pace.took(0.00001)
    pace.overran()
    assert taken(pace, 40) == 8


@dataclass
class Work:
    """A job that tells where it runs, and may wait."""

    done: queue.SimpleQueue[str]
    gate: threading.Event | None = None
    begun: threading.Event = field(default_factory=threading.Event)
    resigns: bool = False
    ran: str = ""
    ended: str = ""

    def run(self, resign: Callable[[Job], None]) -> Callable[[], None]:
        self.ran = threading.current_thread().name
        if self.resigns:
            resign(self)
        self.begun.set()
        if self.gate is not None:
            self.gate.wait(WITHIN)
        return self.end

    def end(self) -> None:
        self.ended = threading.current_thread().name
        self.done.put(self.ended)


@dataclass
class Running:
    """A crew under way, and what it has done."""

    loop: EpollLoop
    crew: Crew
    done: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def give(self, *, gate: threading.Event | None = None, resigns: bool = False) -> Work:
        work = Work(self.done, gate=gate, resigns=resigns)
        self.loop.call_soon_threadsafe(self.crew.submit, work)
        return work


@pytest.fixture
def running() -> Iterator[Running]:
    with crew(4) as found:
        yield found


@contextlib.contextmanager
def crew(size: int) -> Iterator[Running]:
    loop = EpollLoop()
    made = Crew(loop, size)
    main = threading.Thread(target=made.run)
    main.start()
    yield Running(loop, made)
    loop.call_soon_threadsafe(loop.stop)
    main.join(WITHIN)
    assert not main.is_alive()
    loop.close()


def test_a_short_job_runs_on_the_thread_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what is to be done then, too."""
    monkeypatch.setattr(leading, "_TICK", 600.0)  # However long this process is kept from running.
    with crew(4) as running:
        work = running.give()
        assert running.done.get(timeout=WITHIN) == work.ran


def test_a_job_that_keeps_the_loop_loses_it(running: Running) -> None:
    """Others are served meanwhile, and it ends on the loop all the same."""
    gate = threading.Event()
    long = running.give(gate=gate)
    assert long.begun.wait(WITHIN)
    for _ in range(3):
        running.give()
        assert running.done.get(timeout=WITHIN) != long.ran
    gate.set()
    assert running.done.get(timeout=WITHIN) != long.ran
    assert long.ended


def test_it_may_give_the_loop_up_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, before the watcher looks."""
    monkeypatch.setattr(leading, "_TICK", 600.0)
    with crew(4) as running:
        gate = threading.Event()
        long = running.give(gate=gate, resigns=True)
        assert long.begun.wait(WITHIN)
        running.give()
        assert running.done.get(timeout=WITHIN) != long.ran
        gate.set()
        assert running.done.get(timeout=WITHIN)


def test_the_bound_on_jobs_holds() -> None:
    """Of those on the loop's thread and those on others together; the loop goes on beside them."""
    with crew(3) as running:
        gate = threading.Event()
        begun = [running.give(gate=gate) for _ in range(3)]
        assert all(work.begun.wait(WITHIN) for work in begun)
        last = running.give(gate=gate)
        turned = threading.Event()
        for _ in range(3):
            turned.clear()
            running.loop.call_soon_threadsafe(turned.set)
            assert turned.wait(WITHIN)
        assert not last.begun.is_set()
        running.crew.write_off()
        assert last.begun.wait(WITHIN), "one that was written off makes room"
        gate.set()
        for _ in range(4):
            running.done.get(timeout=WITHIN)


def test_many_jobs_long_and_short(running: Running) -> None:
    """Each ends once."""
    gate = threading.Event()
    works = [running.give(gate=gate if number % 50 == 0 else None) for number in range(1000)]
    assert works[0].begun.wait(WITHIN)
    gate.set()
    for _ in works:
        running.done.get(timeout=WITHIN)
    assert running.done.empty()


def test_without_a_thread_for_the_loop_a_job_keeps_it(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as there is none; nothing is lost."""
    start = threading.Thread.start
    refused = threading.Event()

    def refuse(_: threading.Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    led = threading.Event()
    running.loop.call_soon_threadsafe(led.set)
    assert led.wait(WITHIN)
    gate = threading.Event()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    long = running.give(gate=gate)
    assert refused.wait(WITHIN)
    running.give()
    gate.set()
    assert [running.done.get(timeout=WITHIN) for _ in range(2)] == [long.ran] * 2
    monkeypatch.setattr(threading.Thread, "start", start)


def test_what_stops_the_loop_is_raised() -> None:
    """Where the crew was run, as without one."""
    loop = EpollLoop()
    made = Crew(loop, 1)

    def leave() -> None:
        raise SystemExit(5)

    loop.call_soon(leave)
    with pytest.raises(SystemExit):
        made.run()
    loop.close()
