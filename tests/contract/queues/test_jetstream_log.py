"""The log of the JetStream queue: servers that are killed, several gateways, snapshots, sizes. Nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support import nats as real

if reason := real.missing():
    pytest.skip(reason, allow_module_level=True)

from hilbert.core.errors import BackendUnavailable, QueueFull, TooLarge
from hilbert.core.ports.queue import CallState, Finished
from hilbert.queues.jetstream import JetStreamQueue
from hilbert.queues.jetstream import queue as module
from hilbert.queues.jetstream.log import Log
from hilbert.testing.queue import HERE, F, call, counts_of, lend

pytestmark = pytest.mark.anyio

NAMES = itertools.count()
Open = Callable[..., Any]


@pytest.fixture(scope="module")
def server() -> Iterator[real.NatsServer]:
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    server = real.NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def gateway(server: real.NatsServer, tmp_path: Path) -> AsyncIterator[Open]:
    """Opens the queue as one more gateway; all of a test share one log."""
    name = f"q{next(NAMES)}"
    async with contextlib.AsyncExitStack() as stack:

        async def opened(**options: Any) -> JetStreamQueue:
            folder = Path(tempfile.mkdtemp(dir=tmp_path))
            queue = await JetStreamQueue.open(partial(Log.connect, server.url, name=name), folder, **options)
            stack.push_async_callback(queue.close)
            return queue

        yield opened


async def ids(queue: JetStreamQueue) -> list[str]:
    return [record.id for record in await queue.list_calls(HERE, limit=10_000)]


async def test_gateways_see_each_others_changes_at_once(gateway: Open) -> None:
    first, second = await gateway(), await gateway()
    await first.put([call("a"), call("b")], now=1)
    assert await ids(second) == ["a", "b"]
    lease = await lend(second)
    assert [one.call.id for one in await first.lease(F, count=9, now=1, until=9)] == ["b"]
    await second.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=2)
    assert (await first.look_up(HERE, "a", now=2)).state is CallState.SUCCEEDED


async def test_many_gateways_lend_each_call_once(gateway: Open) -> None:
    gateways = [await gateway() for _ in range(3)]
    await asyncio.gather(
        *(one.put([call(f"{place}-{n}")], now=1) for place, one in enumerate(gateways) for n in range(40))
    )
    found = await asyncio.gather(*(one.lease(F, count=7, now=1, until=9) for one in gateways * 8))
    lent = [lease.call.id for leases in found for lease in leases]
    assert len(lent) == len(set(lent)) == 120
    shown = [await one.counts() for one in gateways]
    assert shown[0] == shown[1] == shown[2]


async def test_a_server_that_is_killed_loses_nothing_acknowledged(server: real.NatsServer, gateway: Open) -> None:
    queue = await gateway()
    told: list[str] = []

    async def produce(name: str) -> None:
        for number in range(60):
            with contextlib.suppress(BackendUnavailable):
                told.extend(await queue.put([call(f"{name}-{number}")], now=1))

    producers = [asyncio.ensure_future(produce(name)) for name in "abcd"]
    for target in (20, 60):
        while len(told) < target:
            await asyncio.sleep(0)
        await asyncio.to_thread(server.stop, signal.SIGKILL)
        await asyncio.to_thread(server.start)
    await asyncio.gather(*producers)
    assert len(told) > 60
    assert set(told) <= set(await ids(queue))
    another = await gateway()
    assert await ids(another) == await ids(queue), "what was sent twice is there once"
    assert (await counts_of(another)).accepted == len(await ids(another))


async def test_without_a_server_callers_are_told_and_later_it_goes_on(
    server: real.NatsServer, gateway: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hilbert.queues.jetstream.log._PATIENCE", 0.2)
    monkeypatch.setattr("hilbert.queues.jetstream.log._TRY", 0.2)
    queue = await gateway()
    await queue.put([call("before")], now=1)
    await asyncio.to_thread(server.stop)
    try:
        with pytest.raises(BackendUnavailable):
            await queue.put([call("meanwhile")], now=1)
        with pytest.raises(BackendUnavailable):
            await queue.counts()
    finally:
        await asyncio.to_thread(server.start)
    while True:  # The client comes back by itself.
        with contextlib.suppress(BackendUnavailable):
            await queue.put([call("after")], now=1)
            break
    assert queue.reconnects >= 1
    found = await ids(queue)
    assert {"before", "after"} <= set(found) <= {"before", "meanwhile", "after"}


async def test_a_snapshot_takes_the_place_of_a_long_log(gateway: Open) -> None:
    first = await gateway(snapshot_after=20_000)
    late = await gateway()
    for number in range(60):
        await first.put([call(f"{number}", body=b"x" * 1_000)], now=1)
    assert first._snapshot is not None
    await first._snapshot
    (state,) = [(await first._log._stream.stream_info(first._log._name)).state]
    assert state.first_seq > 10
    assert len(await first._log._numbers()) == 1
    wanted = [f"{number}" for number in range(60)]
    assert await ids(await gateway()) == wanted, "a new gateway begins with it"
    assert await ids(late) == wanted, "one that was behind goes on from it"
    assert len(await late.lease(F, count=99, now=1, until=9)) == 60


async def test_what_is_too_large_for_the_servers_is_refused(gateway: Open) -> None:
    queue = await gateway()
    with pytest.raises(TooLarge, match="max_payload"):
        await queue.put([call("a", body=b"x" * (1 << 20))], now=1)
    assert await ids(queue) == []
    await queue.put([call("b", body=b"x" * 1_000_000)], now=1)
    await asyncio.gather(*(queue.put([call(f"{n}", body=b"x" * 300_000)], now=1) for n in range(8)))
    assert len(await ids(queue)) == 9


@pytest.mark.bound("queueing")
async def test_too_many_puts_at_once_are_told_to_come_back(gateway: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    queue = await gateway()
    results = await asyncio.gather(*(queue.put([call(f"{n}")], now=1) for n in range(9)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, QueueFull)]
    assert refused
    assert all(error.retry_after for error in refused)
    assert (await counts_of(queue)).queued == 9 - len(refused)


async def test_a_caller_that_goes_away_does_not_hold_up_others(gateway: Open) -> None:
    queue = await gateway()
    gone = asyncio.ensure_future(queue.put([call("gone")], now=1))
    await asyncio.sleep(0)
    gone.cancel()
    await queue.put([call("stays")], now=1)
    assert "stays" in await ids(queue)
    with pytest.raises(asyncio.CancelledError):
        await gone


async def test_an_entry_that_cannot_be_read_stops_this_gateway_and_changes_nothing(gateway: Open) -> None:
    """As when a newer version has written it: to pass over it would make this gateway's copy another one."""
    queue = await gateway()
    await queue.put([call("a")], now=1)
    await queue._log.append(b"\x92\xa1x\x91\x91\xa6future", "future")
    for _ in range(2):
        with pytest.raises(BackendUnavailable, match="cannot follow"):
            await queue.counts()
    with pytest.raises(BackendUnavailable):
        await queue.put([call("b")], now=1)


async def test_no_folder_keeps_a_copy_when_it_is_closed(gateway: Open) -> None:
    queue = await gateway()
    await queue.put([call("a")], now=1)
    assert list(queue._folder.iterdir())
    await queue.close()
    assert not list(queue._folder.iterdir())
    with pytest.raises(BackendUnavailable):
        await queue.put([call("b")], now=1)
