"""Acknowledged puts a second of the SQLite queue, beside a nats-server with JetStream."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import uvloop

from bench import load
from bench.report import Section
from hilbert.core.ports.queue import Finished, Queue, QueueBounds, QueuedCall
from hilbert.core.values import FunctionRef
from hilbert.queues.sqlite import SqliteQueue
from support.nats import NatsServer

_REF = FunctionRef.parse("f.bench")
_BODY = bytes(1024)
_WIDE = QueueBounds(function_calls=1 << 40, function_bytes=1 << 60, namespace_calls=1 << 40, namespace_bytes=1 << 60)
_SUBJECT = "queue.bench.f"

Put = Callable[[], Awaitable[object]]


def section(where: Path, *, rounds: int, seconds: float, producers: Sequence[int] = (1, 64, 256)) -> Section:
    """Each store in turn, with each number of producers, so that noise meets all of them."""
    rows = uvloop.run(_measure(where, rounds=rounds, seconds=seconds, producers=producers))
    whole = uvloop.run(_cycles(where, seconds=seconds * rounds))
    found = Section(
        "Queue: acknowledged puts",
        f"1 KiB each, by N producers in one process that each wait for the acknowledgement before the next put. "
        f"SQLite is in that process; nats-server 2.14 is one of its own, over TCP of this machine, with one file stream, and acknowledges "
        f"before it syncs unless told `sync_interval: always`. Rounds of {seconds:g} s in turn, {rounds} of each; medians.",
        ["store", *[f"{count} producers: puts/s, p50, p99" for count in producers]],
    )
    found.rows += rows
    found.findings.append(
        f"Full cycles of the SQLite queue itself, put, lent and settled, with 64 producers: {whole:,.0f} a second."
    )
    return found


async def _cycles(where: Path, *, seconds: float) -> float:
    """Calls a second that are put, lent and settled by the queue itself, with 64 producers."""
    async with _sqlite(where / "cycles") as (queue, put):
        ended = 0

        async def work() -> None:
            nonlocal ended
            while True:
                now = time.time()
                leases = await queue.lease(_REF, count=64, now=now, until=now + 60)
                await asyncio.gather(
                    *(queue.settle(one.call.id, one.epoch, Finished(succeeded=True), now=now) for one in leases)
                )
                ended += len(leases)
                if not leases:
                    await asyncio.sleep(0.001)

        worker = asyncio.ensure_future(work())
        began = time.perf_counter()
        await _produce(put, 64, seconds)
        rate = ended / (time.perf_counter() - began)
        worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await worker
        return rate


async def _measure(where: Path, *, rounds: int, seconds: float, producers: Sequence[int]) -> list[Sequence[str]]:
    stores = {
        "SQLite queue of Hilbert, synced before each acknowledgement": "sqlite",
        "JetStream, `sync_interval: always`": "always",
        "JetStream queue of Hilbert, `sync_interval: always`": "queue",
        "JetStream, default: synced every two minutes": "2m",
    }
    found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
    async with contextlib.AsyncExitStack() as stack:
        puts: dict[str, Put] = {}
        for title, kind in stores.items():
            folder = where / f"queue-{kind}"
            if kind == "sqlite":
                _, puts[title] = await stack.enter_async_context(_sqlite(folder))
            elif kind == "queue":
                puts[title] = await stack.enter_async_context(_jetstream_queue(folder))
            else:
                puts[title] = await stack.enter_async_context(_jetstream(folder, kind))
        for _, count, title in itertools.product(range(rounds), producers, stores):
            found.setdefault((title, count), []).append(await _produce(puts[title], count, seconds))
    rows: list[Sequence[str]] = []
    for title in stores:
        row = [title]
        for count in producers:
            rate, p50, p99 = (load.median(values) for values in zip(*found[title, count], strict=True))
            row.append(f"{rate:,.0f}, {p50 * 1e3:.1f} ms, {p99 * 1e3:.1f} ms")
        rows.append(row)
    return rows


async def _produce(put: Put, producers: int, seconds: float) -> tuple[float, float, float]:
    """Puts a second, and the median and 99th percentile of the time to the acknowledgement."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def produce() -> None:
        while (began := time.perf_counter()) < end:
            await put()
            times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(produce() for _ in range(producers)))
    rate = len(times) / (time.perf_counter() - began)
    return rate, load.percentile(times, 0.5), load.percentile(times, 0.99)


@contextlib.asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[tuple[SqliteQueue, Put]]:
    folder.mkdir()
    queue = await SqliteQueue.open(folder, _WIDE)

    try:
        yield queue, _putting(queue)
    finally:
        queue.close()


@contextlib.asynccontextmanager
async def _jetstream_queue(folder: Path) -> AsyncIterator[Put]:
    from hilbert.queues.jetstream import JetStreamQueue
    from hilbert.queues.jetstream.log import Log

    (folder / "copy").mkdir(parents=True)
    server = NatsServer(folder)
    server.start()
    try:
        queue = await JetStreamQueue.open(lambda: Log.connect(server.url, name="queue"), folder / "copy", _WIDE)
        try:
            yield _putting(queue)
        finally:
            await queue.close()
    finally:
        server.stop()


def _putting(queue: Queue) -> Put:
    async def put() -> object:
        call = QueuedCall(id=str(uuid.uuid4()), ref=_REF, due=0, body=_BODY)
        return await queue.put([call], now=time.time())

    return put


@contextlib.asynccontextmanager
async def _jetstream(folder: Path, sync: str) -> AsyncIterator[Put]:
    import nats

    folder.mkdir()
    server = NatsServer(folder, sync=sync)
    server.start()
    try:
        client = await nats.connect(server.url)
        stream = client.jetstream()
        await stream.add_stream(name="queue", subjects=["queue.>"], retention="workqueue", storage="file")
        try:
            yield lambda: stream.publish(_SUBJECT, _BODY)
        finally:
            await client.close()
    finally:
        server.stop()
