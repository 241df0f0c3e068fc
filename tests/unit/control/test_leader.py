"""Leadership: the one of a single host, and the one that tests give and take."""

from __future__ import annotations

import asyncio

from hilbert.control.leader import SoleLeader
from hilbert.core.ports import Leader
from hilbert.kit.aio import spawn
from hilbert.testing.leader import ManualLeader


async def test_a_single_gateway_always_leads() -> None:
    leader: Leader = SoleLeader()
    assert leader.leads
    await asyncio.wait_for(leader.wait(), 1)


async def test_leadership_can_be_given_and_taken() -> None:
    manual = ManualLeader()
    leader: Leader = manual
    told: list[bool] = []
    leader.on_change.append(told.append)
    waiting = spawn(leader.wait(), name="waits")
    await asyncio.sleep(0)
    assert not leader.leads
    assert not waiting.done()
    manual.give()
    manual.give()
    await waiting
    assert leader.leads
    manual.take()
    assert not leader.leads
    assert told == [True, False]
