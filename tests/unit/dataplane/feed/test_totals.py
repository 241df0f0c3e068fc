"""The sum of what workers count."""

from __future__ import annotations

import pytest

from hilbert.core.values import FunctionRef
from hilbert.dataplane.counters import BOUNDS, RouteCounters
from hilbert.dataplane.feed import totals as module
from hilbert.dataplane.feed.messages import Levels, RouteLevels
from hilbert.dataplane.feed.totals import Totals

REF = FunctionRef("ns", "f")  # type: ignore[arg-type]  # names made here


class Worker:
    """Counts one function's calls and reports them."""

    def __init__(self, incarnation: str) -> None:
        self.incarnation = incarnation
        self.counters: RouteCounters[None] = RouteCounters(lambda _: None, None)

    def call(self, times: int, *, code: int = 200, seconds: float = 0.02) -> None:
        for _ in range(times):
            self.counters.begin()
            self.counters.end(code, seconds)

    def levels(self) -> RouteLevels:
        return self.counters.report("ns", "f", born=1, waiting=0)

    def report(self, totals: Totals) -> None:
        one = self.levels()
        message = Levels(epoch="e", routes=[one], drift=0, version=1, size=1, connections=2)
        totals.update(self.incarnation, self.incarnation, message, [one])


def count(totals: Totals) -> int:
    calls = totals.functions().get(REF)
    return sum(one.count for one in calls.codes.values()) if calls else 0


def test_levels_of_all_workers_are_summed() -> None:
    """Reported twice, counted once."""
    totals, one, two = Totals(), Worker("one"), Worker("two")
    one.call(3)
    two.call(4, code=500)
    for _ in range(2):
        one.report(totals)
        two.report(totals)
    calls = totals.functions()[REF]
    assert {code: counts.count for code, counts in calls.codes.items()} == {200: 3, 500: 4}
    assert calls.started == 7
    assert calls.codes[200].seconds == pytest.approx(0.06)
    assert list(calls.codes[200].buckets) == [0, 0] + [3] * (len(BOUNDS) - 2)


def test_totals_never_go_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a worker is lost, comes back, is folded away, or another takes its place."""
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    totals = Totals()
    seen = 0
    for generation in range(5):
        worker = Worker(f"w{generation}")
        worker.call(10)
        worker.report(totals)
        assert count(totals) == seen + 10
        totals.retire(worker.incarnation)
        assert count(totals) == seen + 10
        worker.call(1)
        worker.report(totals)  # It was only cut off.
        assert count(totals) == seen + 11
        totals.retire(worker.incarnation)
        now += 200
        seen += 11
    assert len(totals._live) < 3


def test_gauges_are_those_of_live_workers() -> None:
    """Calls in a dead worker's hands are in nobody's."""
    totals, worker = Totals(), Worker("one")
    worker.counters.begin()
    worker.report(totals)
    assert totals.functions()[REF].inflight == 1
    assert totals.workers()["one"].connections == 2
    totals.retire("one")
    assert totals.functions()[REF].inflight == 0
    assert totals.workers() == {}
    assert totals.functions()[REF].started == 1


def test_forgotten_function_has_no_past() -> None:
    """Neither with live workers nor with ended ones."""
    totals, worker = Totals(), Worker("one")
    worker.call(3)
    worker.report(totals)
    totals.forget(("ns", "f"))
    assert count(totals) == 0
    assert list(totals.functions()) == []


def test_counters_outlive_the_control_process() -> None:
    """Those of workers that have ended, of those that come back, and of those that never do; functions that are gone do not."""
    totals, ended, alive = Totals(), Worker("ended"), Worker("alive")
    ended.call(3)
    ended.report(totals)
    totals.retire("ended")
    alive.call(4)
    alive.report(totals)
    assert totals.changed
    kept = totals.dump()
    assert not totals.changed

    after = Totals()
    after.restore(kept)
    assert count(after) == 7
    assert after.workers() == {}
    alive.call(1)
    alive.report(after)
    assert count(after) == 8
    after.retain({("ns", "f")})
    assert count(after) == 8
    after.retain(set())
    assert count(after) == 0


def test_folded_counters_outlive_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Written, read and written again, they stay what they were."""
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    totals = Totals()
    for generation in range(3):
        worker = Worker(f"w{generation}")
        worker.call(5, code=500)
        worker.report(totals)
        totals.retire(worker.incarnation)
        now += 200
        after = Totals()
        after.restore(totals.dump())
        totals = after
        assert count(totals) == 5 * (generation + 1)
