"""Changes through the REST API, by namespace."""

from __future__ import annotations

import pytest

from hilbert.control.limits.writes import Writes
from hilbert.core.errors import RateLimited
from hilbert.core.values import NamespaceName
from hilbert.kit.aio import ManualClock

DEV = NamespaceName("dev")


def taken(writes: Writes, rate: float, tries: int) -> int:
    count = 0
    for _ in range(tries):
        try:
            writes.take(DEV, rate)
        except RateLimited:
            continue
        count += 1
    return count


async def test_ten_seconds_may_come_together_and_then_the_rate() -> None:
    clock = ManualClock()
    writes = Writes(clock=clock)
    assert taken(writes, 2.0, 100) == 20
    await clock.advance(3)
    assert taken(writes, 2.0, 100) == 6
    assert writes.used(DEV, 2.0) == (pytest.approx(20), 174)


async def test_the_refusal_says_everything_and_is_exact() -> None:
    clock = ManualClock()
    writes = Writes(clock=clock)
    taken(writes, 0.05, 1)
    with pytest.raises(RateLimited, match=r"namespace dev has reached its limit of 0\.05 changes a second") as caught:
        writes.take(DEV, 0.05)
    assert "an administrator can raise its annotation com.hilbert.limits.api-writes" in caught.value.hint
    assert caught.value.retry_after == pytest.approx(20)
    await clock.advance(20)
    writes.take(DEV, 0.05)


async def test_ten_thousand_namespaces_with_one_change_each_are_forgotten() -> None:
    clock = ManualClock()
    writes = Writes(clock=clock)
    for number in range(10_000):
        writes.take(NamespaceName(f"n{number}"), 10.0)
        await clock.advance(0.01)
    assert len(writes._due) <= 1100


def test_no_limit_keeps_nothing() -> None:
    writes = Writes(clock=ManualClock())
    assert taken(writes, 0.0, 1000) == 1000
    assert not writes._due
