"""Places that are shared by turns."""

from __future__ import annotations

import asyncio

import pytest

from hilbert.kit.turns import Turns
from hilbert.testing.harness import eventually

pytestmark = pytest.mark.anyio


async def hold(turns: Turns[str], party: str, order: list[str], leave: asyncio.Event) -> None:
    async with turns.place(party):
        order.append(party)
        await leave.wait()


async def test_one_that_comes_late_waits_for_one_turn_and_not_for_all() -> None:
    turns: Turns[str] = Turns(1)
    order: list[str] = []
    leave = asyncio.Event()
    tasks = [asyncio.create_task(hold(turns, party, order, leave)) for party in ("greedy",) * 50 + ("modest",)]
    await eventually(lambda: turns.waiting == 50)
    leave.set()
    await asyncio.gather(*tasks)
    assert order.index("modest") == 2
    assert turns.waiting == 0


async def test_one_party_never_has_more_than_its_part() -> None:
    turns: Turns[str] = Turns(4, each=2)
    order: list[str] = []
    leave = asyncio.Event()
    greedy = [asyncio.create_task(hold(turns, "greedy", order, leave)) for _ in range(10)]
    await eventually(lambda: turns.waiting == 8)
    assert order == ["greedy"] * 2
    modest = asyncio.create_task(hold(turns, "modest", order, leave))
    await eventually(lambda: "modest" in order)
    leave.set()
    await asyncio.gather(modest, *greedy)


async def test_who_leaves_the_line_takes_no_place_with_it() -> None:
    """Also when the place comes in the same moment."""
    turns: Turns[str] = Turns(1)
    order: list[str] = []
    leave = asyncio.Event()
    first = asyncio.create_task(hold(turns, "a", order, leave))
    await eventually(lambda: order == ["a"])
    early, late = (asyncio.create_task(hold(turns, party, order, leave)) for party in "bc")
    await eventually(lambda: turns.waiting == 2)
    early.cancel()
    await eventually(lambda: turns.waiting == 1)
    leave.set()
    await first
    late.cancel()  # Its turn has come, and it has not run since.
    await asyncio.gather(early, late, return_exceptions=True)
    async with asyncio.timeout(20):
        await hold(turns, "d", order, leave)
