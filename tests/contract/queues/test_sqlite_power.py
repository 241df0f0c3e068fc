"""The power fails under the SQLite queue, at hundreds of moments: what was acknowledged is there afterwards.

A process works on a real queue while its calls to the kernel are recorded. Then the disk is made as it might be at any
moment, without what was not synced, and the queue is opened on it. `HILBERT_POWER_SEED=N` repeats a run.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest

from hilbert.core.errors import HilbertError
from hilbert.core.ports.queue import CallState
from hilbert.queues.sqlite import SqliteQueue
from hilbert.testing.queue import HERE, F, counts_of
from support import power

pytestmark = pytest.mark.anyio

CUTS: Final = 500
SEED: Final = int(os.environ.get("HILBERT_POWER_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)

WORKER = """
import asyncio, sys
from pathlib import Path
from hilbert.queues.sqlite import SqliteQueue
from hilbert.core.ports.queue import Again, Finished, GivenUp
from hilbert.testing.queue import HERE, F, call

def say(what, *names):
    sys.stdout.write("".join(f"{what} {name}\\n" for name in names))
    sys.stdout.flush()

async def session(number):
    queue = await SqliteQueue.open(Path(sys.argv[1]), reserve_bytes=1 << 14)
    # The log is written back often, so that the power fails then, too.
    await queue._database.write(lambda connection: connection.execute("PRAGMA wal_autocheckpoint = 40"))
    say("opened", number)
    async def produce(name):
        for place in range(20):
            names = [f"{number}-{name}-{place}-{part}" for part in range(1 + place % 2)]
            await queue.put([call(one, body=one.encode() * (5 + 40 * (place % 7))) for one in names], now=1)
            say("put", *names)
            if place % 9 == 5:
                await queue.cancel(HERE, names[0], now=2)
                say("ended", names[0])
    async def work():
        for step in range(40):
            for place, lease in enumerate(await queue.lease(F, count=2, now=2, until=9)):
                over = (Again(due=3), GivenUp(reason="no"), Finished(succeeded=True))[min(2, (step + place) % 5)]
                try:
                    await queue.settle(lease.call.id, lease.epoch, over, now=3)
                except Exception:
                    continue
                if not isinstance(over, Again):
                    say("ended", lease.call.id)
            await asyncio.sleep(0)
    await asyncio.gather(work(), *(produce(name) for name in "abc"))
    queue.close()

asyncio.run(session(1))
asyncio.run(session(2))
"""


@pytest.fixture(scope="module")
def short_lived() -> Iterator[Path]:
    """A folder in memory, where there is one: hundreds of queues are opened in it."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="power-", dir=memory if os.access(memory, os.W_OK) else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def recorded(short_lived: Path) -> tuple[Path, Sequence[power.Event]]:
    """The folder as it was called, and what was done in it."""
    if reason := power.missing():
        pytest.skip(reason)
    folder = short_lived / "queue"
    folder.mkdir()
    return folder, power.watch(WORKER, folder, trace=short_lived / "trace")


async def what_is_wrong(folder: Path, said: set[tuple[str, str]]) -> str:
    """Open the queue that is left and compare it with what was said before; empty when nothing is amiss."""
    try:
        queue = await SqliteQueue.open(folder, reserve_bytes=0)
    except HilbertError as exc:
        return f"it does not open: {exc.message} {exc.detail}"
    try:
        records = {record.id: record for record in await queue.list_calls(HERE, limit=10_000)}
        for what, name in sorted(said):
            if what == "put" and name not in records:
                return f"{name} was acknowledged and is lost"
            if what == "ended" and records[name].state in (CallState.QUEUED, CallState.RUNNING):
                return f"{name} had ended and is open again"
        waiting = {name for name, record in records.items() if record.state in (CallState.QUEUED, CallState.RUNNING)}
        leases = await queue.lease(F, count=10_000, now=4, until=9)
        if {lease.call.id for lease in leases} != waiting:
            return "some open calls cannot be made"
        for lease in leases:
            if lease.call.body[: len(lease.call.id)] != lease.call.id.encode():
                return f"{lease.call.id} has another request"
        assert (await counts_of(queue)).accepted == len(records)
        return ""
    finally:
        queue.close()


async def failures(
    folder: Path, events: Sequence[power.Event], scratch: Path, *, until_first: bool = False
) -> tuple[int, list[str]]:
    """Cut the power at many moments, half of them right after something was said. How often, and what was wrong."""
    rng = random.Random(SEED)
    spoken = [at for at, event in enumerate(events) if isinstance(event, power.Said)]
    moments = sorted([*rng.choices(range(len(events)), k=CUTS // 2), *rng.choices(spoken, k=CUTS // 2)])
    disk = power.Disk(folder)
    said: set[tuple[str, str]] = set()
    wrong: list[str] = []
    taken = 0
    for moment in moments:
        for event in events[taken : moment + 1]:
            disk.take(event)
            if isinstance(event, power.Said):
                what, _, name = event.text.partition(" ")
                said.add((what, name))
        taken = moment + 1
        left = Path(tempfile.mkdtemp(dir=scratch))
        kept = rng.choice((0.0, 0.0, 1.0, 0.1, 0.5, 0.9))
        disk.fail(left, rng, kept)
        if problem := await what_is_wrong(left, said):
            wrong.append(f"seed {SEED}, event {moment} of {len(events)}, {kept:.0%} of what was not synced: {problem}")
            if until_first:
                break
        shutil.rmtree(left)
    return len(moments), wrong


async def test_nothing_acknowledged_is_lost_when_the_power_fails(
    recorded: tuple[Path, Sequence[power.Event]],
    short_lived: Path,
    record_property: Callable[[str, object], None],
) -> None:
    folder, events = recorded
    kinds = {type(event) for event in events}
    assert kinds == {power.Wrote, power.Resized, power.Synced, power.Named, power.Said}
    count, wrong = await failures(folder, events, short_lived)
    assert wrong == []
    said = sum(isinstance(event, power.Said) for event in events)
    record_property("power", f"{count} power failures, {said} promises, none broken; HILBERT_POWER_SEED={SEED}")


async def test_a_queue_that_does_not_sync_is_found_out(
    recorded: tuple[Path, Sequence[power.Event]], short_lived: Path
) -> None:
    """The same record without the syncs of the log: what this file calls a failure would be one."""
    folder, events = recorded
    unsynced = [
        power.Said("nothing") if isinstance(event, power.Synced) and event.path.endswith("-wal") else event
        for event in events
    ]
    _, wrong = await failures(folder, unsynced, short_lived, until_first=True)
    assert wrong
    assert any(kind in wrong[0] for kind in ("is lost", "is open again", "it does not open"))
