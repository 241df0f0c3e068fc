"""The parts of a limit follow the demand, and idle scopes take no memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from hilbert.control.limits.keeper import Limits
from hilbert.core.limits import CallLimits, ScopeShare, ScopeUse
from hilbert.kit.aio import ManualClock

SCOPE = ("dev", "")
TEN = CallLimits(10.0, 10, 8)


class Workers:
    """Two of them, that write down what they are told."""

    def __init__(self) -> None:
        self.names = ["a", "b"]
        self.on_use: Callable[[str, Sequence[ScopeUse]], None]
        self.told: dict[str, Sequence[ScopeShare]] = {}

    def enforcing(self) -> Sequence[str]:
        return self.names

    def share(self, worker: str, shares: Sequence[ScopeShare]) -> None:
        self.told[worker] = shares


@pytest.fixture
def world() -> tuple[Workers, Limits, ManualClock]:
    workers, clock = Workers(), ManualClock()
    return workers, Limits(workers, clock=clock), clock


def use(asked: int, *, inflight: int = 0, refused: int = 0) -> ScopeUse:
    return ScopeUse(SCOPE, TEN, asked, {"concurrency": inflight}, {"rate": refused})


def test_the_busy_worker_gets_nearly_all(world: tuple[Workers, Limits, ManualClock]) -> None:
    workers, limits, _ = world
    workers.on_use("a", [use(100, inflight=7)])
    limits.divide()
    assert [workers.told[name][0].rate for name in "ab"] == pytest.approx([9.75, 0.25])
    assert [workers.told[name][0].places["concurrency"] for name in "ab"] == [7, 1]
    workers.on_use("a", [use(103)])
    workers.on_use("b", [use(40)])
    limits.divide()
    assert workers.told["a"][0].rate == pytest.approx(3.25)
    assert workers.told["b"][0].rate == pytest.approx(6.75)


def test_use_is_summed(world: tuple[Workers, Limits, ManualClock]) -> None:
    workers, limits, _ = world
    workers.on_use("a", [use(5, inflight=2, refused=1)])
    workers.on_use("b", [use(7, inflight=1, refused=3)])
    limits.divide()
    found = limits.uses()[SCOPE]
    assert (found.rate, found.used["concurrency"], found.refused["rate"]) == (12, 3, 4)


def test_a_worker_that_left_has_no_part(world: tuple[Workers, Limits, ManualClock]) -> None:
    workers, limits, _ = world
    workers.on_use("a", [use(5)])
    workers.on_use("b", [use(5)])
    workers.names = ["b"]
    limits.divide()
    assert workers.told.keys() == {"b"}
    assert workers.told["b"][0].rate == pytest.approx(10)


async def test_ten_thousand_scopes_with_one_call_each_are_forgotten(
    world: tuple[Workers, Limits, ManualClock],
) -> None:
    workers, limits, clock = world
    for number in range(10_000):
        workers.on_use("a", [ScopeUse((f"n{number}", ""), TEN, 1)])
    limits.divide()
    assert len(limits.uses()) == 10_000
    await clock.advance(61)
    limits.divide()
    assert not limits.uses()
