"""The oracle of fairness, on a clock of its own: one tenant with a hundred thousand slow calls, nine that queue one a second.

The loop is the dispatcher's: pick, begin, charge what it really took. Times are simulated, so that the test is quick and exact.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque

import pytest

from hilbert.control.delivery.fair import Charge, Tags, Work, correct, pick
from hilbert.core.values import FunctionRef

SLOTS = 64
NOISY = FunctionRef.parse("slow.noisy")
QUIET = [FunctionRef.parse(f"quick.quiet{number}") for number in range(9)]


class Simulation:
    """Calls that wait, run and end; `dwell` has the time from arrival to beginning of each quiet one."""

    def __init__(self, *, noisy: int, quiet: bool, space_slots: int, quick: float = 0.05, weights: dict[str, float] | None = None) -> None:  # fmt: skip
        self.waiting: dict[FunctionRef, deque[float]] = {
            NOISY: deque([0.0] * noisy),
            **{ref: deque() for ref in QUIET},
        }
        self.running: dict[FunctionRef, int] = dict.fromkeys(self.waiting, 0)
        self.costs: dict[FunctionRef, float] = dict.fromkeys(self.waiting, 1.0)
        self.tags = Tags()
        self.space_slots = space_slots
        self.weights = weights or {}
        self.quiet = quiet
        self.quick = quick
        self.dwell: list[float] = []
        self.done: dict[FunctionRef, int] = dict.fromkeys(self.waiting, 0)
        self.draw = random.Random(1)
        self.events: list[tuple[float, int, str, FunctionRef, float]] = []
        self.order = itertools.count()

    def run(self, seconds: float) -> None:
        if self.quiet:
            for ref in QUIET:
                for second in range(int(seconds)):
                    self.at(second + self.draw.random(), "arrive", ref, 0.0)
        self.hand_out(0.0)
        while self.events and self.events[0][0] <= seconds:
            now, _, what, ref, took = heapq.heappop(self.events)
            if what == "arrive":
                self.waiting[ref].append(now)
            else:
                self.running[ref] -= 1
                self.done[ref] += 1
                self.tags = correct(self.tags, [Charge(ref, took - self.costs[ref], self.weight(ref))])
                self.costs[ref] += 0.2 * (took - self.costs[ref])
            self.hand_out(now)

    def hand_out(self, now: float) -> None:
        work = [
            Work(ref=ref, ready=len(calls), due=0.0, running=self.running[ref], limit=SLOTS, cost=self.costs[ref], weight=self.weight(ref))
            for ref, calls in self.waiting.items()
        ]  # fmt: skip
        free = SLOTS - sum(self.running.values())
        chosen, self.tags = pick(now, self.tags, work, slots=free, space_slots=self.space_slots)
        for ref in chosen:
            arrived = self.waiting[ref].popleft()
            self.running[ref] += 1
            took = self.draw.uniform(5.0, 15.0) if ref == NOISY else self.quick
            if ref != NOISY:
                self.dwell.append(now - arrived)
            self.at(now + took, "end", ref, took)

    def weight(self, ref: FunctionRef) -> float:
        return self.weights.get(ref.namespace, 1.0)

    def at(self, moment: float, what: str, ref: FunctionRef, took: float) -> None:
        heapq.heappush(self.events, (moment, next(self.order), what, ref, took))


@pytest.mark.parametrize("space_slots", [SLOTS, 48])
def test_quiet_tenants_do_not_feel_a_noisy_one(space_slots: int) -> None:
    """Also where one namespace may use every slot, so that each must first become free."""
    world = Simulation(noisy=100_000, quiet=True, space_slots=space_slots)
    world.run(120.0)
    assert len(world.dwell) > 9 * 110
    settled = sorted(world.dwell[len(world.dwell) // 4 :])
    assert settled[int(len(settled) * 0.99)] <= 1.0


def test_the_noisy_one_has_what_it_has_alone_while_the_others_need_little() -> None:
    alone = Simulation(noisy=100_000, quiet=False, space_slots=48)
    among = Simulation(noisy=100_000, quiet=True, space_slots=48)
    for world in (alone, among):
        world.run(120.0)
    assert among.done[NOISY] >= 0.9 * alone.done[NOISY]


def test_two_greedy_tenants_share_by_time_and_weight() -> None:
    """Not by the number of calls: the other's are twenty times as quick."""
    world = Simulation(noisy=100_000, quiet=False, space_slots=SLOTS, quick=0.5, weights={"quiet0": 3.0})
    world.waiting[QUIET[0]].extend([0.0] * 50_000)
    world.run(60.0)
    slow, quick = world.running[NOISY], world.running[QUIET[0]]
    used = world.done[QUIET[0]] * 0.5
    other = world.done[NOISY] * 10.0
    assert slow + quick == SLOTS, "no slot idles"
    assert 1.5 < used / other < 6.0, "about three to one"
