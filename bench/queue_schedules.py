"""Ten thousand schedules that are due at one moment: how late each one's call is in the queue, synced."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import uvloop

from bench import load
from bench.report import Section
from hilbert.control.delivery.room import Rooms
from hilbert.control.leader import SoleLeader
from hilbert.control.schedules.firing import Firing
from hilbert.core.model import EndpointSet, FunctionSpec, Synced
from hilbert.core.ports import Provider
from hilbert.core.values import FunctionRef
from hilbert.queues.sqlite import SqliteQueue

_EACH_MINUTE = {"topic": "cron-function", "schedule": "* * * * *"}
_SPACES = 100
_BEFORE = 2.0
"""Seconds that the loop has before the minute begins."""


def section(where: Path, *, functions: int, rounds: int) -> Section:
    """Each round with a queue of its own."""
    found = Section(
        "Queue: schedules",
        f"{functions:,} functions in {_SPACES} namespaces have the schedule `* * * * *`; the clock that they go by is set so that "
        f"a minute begins {_BEFORE:g} s after the start. Lateness: from the beginning of the minute until the call is in the queue, synced.",
        ["ticks", "p50", "p99", "most", "processor time for all"],
    )
    for number in range(rounds):
        late, used = uvloop.run(_fire(where / f"schedules-{number}", functions))
        found.rows.append(
            (
                f"{len(late):,}",
                f"{load.median(late):.2f} s",
                f"{load.percentile(late, 0.99):.2f} s",
                f"{max(late):.2f} s",
                f"{used:.2f} s",
            )
        )
    return found


class _Functions:
    """As much of a provider as schedules need."""

    name = "bench"

    def __init__(self, count: int) -> None:
        refs = [FunctionRef.parse(f"f{number}.space-{number % _SPACES}") for number in range(count)]
        self._specs = {ref: FunctionSpec(ref=ref, image="bench", annotations=_EACH_MINUTE) for ref in refs}

    async def watch(self) -> AsyncIterator[EndpointSet | Synced]:
        for ref, spec in self._specs.items():
            yield EndpointSet(ref=ref, spec=spec)
        yield Synced()
        await asyncio.Event().wait()


async def _fire(folder: Path, functions: int) -> tuple[list[float], float]:
    """The lateness of each, and the seconds of processor time from the minute to the last of them."""
    folder.mkdir()
    provider = cast(Provider, _Functions(functions))
    queue = await SqliteQueue.open(folder)
    # Long before a minute begins, and then shortly before.
    minute = 60.0 * (time.time() // 60 + 10)
    shift = minute - 40.0 - time.time()
    late: list[float] = []
    used = 0.0

    def wall() -> float:
        return time.time() + shift

    firing = Firing(
        queue,
        provider,
        leader=SoleLeader(),
        rooms=Rooms(provider),
        accepted=lambda _: late.append(wall() - minute),
        wall=wall,
    )
    try:
        firing.start()
        async with asyncio.timeout(120):
            while len(await queue.marks()) < functions:
                await asyncio.sleep(0.1)
            shift = minute - _BEFORE - time.time()
            while wall() < minute:
                used = time.process_time()
                await asyncio.sleep(0.01)
            while len(late) < functions:
                await asyncio.sleep(0.02)
            used = time.process_time() - used
    finally:
        await firing.stop()
        queue.close()
    return late, used
