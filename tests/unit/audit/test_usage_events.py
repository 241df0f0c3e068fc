"""Events of calls: kept through crashes, told in order, gaps seen by their numbers."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hilbert.audit import spool as spooling
from hilbert.audit.spool import Spool
from hilbert.audit.usage_events import HeldEvents, SpooledEvents, UsageEvent, event_of
from hilbert.audit.webhook import MOST_HELD, Held, Webhook
from hilbert.dataplane.feed.messages import CallUsed, Used
from hilbert.dataplane.uses import BATCH, Uses
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.pace import Pace
from hilbert.server.usage_events import Collector

pytestmark = pytest.mark.anyio

AT_ONCE = Pace(first=0.0, most=0.0)


def call(name: str = "f", namespace: str = "dev") -> CallUsed:
    return CallUsed(namespace, name, 1_700_000_000_500_000_000, 0.25, 200, 3, 5, is_queued=False)


def opened(folder: Path, most: int = 1 << 30) -> Spool:
    found = Spool(folder, most=most)
    found.open()
    return found


def lines(spool: Spool, limit: int = 100) -> list[bytes]:
    found: list[bytes] = []
    while (batch := spool.peek(limit)) is not None:
        found += batch.lines
        spool.read(batch.after)
    return found


def test_lines_are_read_once_and_over_restarts(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    assert spool.peek(10) is None
    spool.append([b"a", b"b", b"c"])
    batch = spool.peek(2)
    assert batch is not None
    assert batch.lines == [b"a", b"b"]
    assert opened(tmp_path / "s").peek(2) == batch, "nobody has said that it was read"
    spool.read(batch.after)
    again = opened(tmp_path / "s")
    assert again.next == 4
    again.append([b"d"])
    assert lines(again) == [b"c", b"d"]
    assert (opened(tmp_path / "s").next, lines(opened(tmp_path / "s"))) == (5, [])


def test_a_line_that_a_crash_has_cut_is_not_read(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    spool.append([b"whole"])
    (file,) = (tmp_path / "s").glob("*.lines")
    file.write_bytes(file.read_bytes() + b"ha")
    again = opened(tmp_path / "s")
    again.append([b"next"])
    assert (lines(again), again.next) == ([b"whole", b"next"], 3)


def test_files_go_when_they_were_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "FULL", 10)
    spool = opened(tmp_path / "s")
    for number in range(20):
        spool.append([b"%08d" % number])
    assert len(list((tmp_path / "s").glob("*.lines"))) > 5
    assert lines(spool, 3) == [b"%08d" % number for number in range(20)]
    assert len(list((tmp_path / "s").glob("*.lines"))) == 1


def test_without_room_the_oldest_go_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooling, "FULL", 10)
    spool = opened(tmp_path / "s", most=60)
    for number in range(20):
        spool.append([b"%08d" % number])
    found = lines(spool)
    assert found == [b"%08d" % number for number in range(20 - len(found), 20)]
    assert (0 < len(found) <= 8, spool.lost) == (True, 20 - len(found))


def test_numbers_of_lines_that_never_came_are_left_out(tmp_path: Path) -> None:
    spool = opened(tmp_path / "s")
    spool.append([b"a"])
    spool.append([], lost=2)
    spool.append([b"b"], lost=3)
    assert (spool.next, opened(tmp_path / "s").next) == (8, 8)
    assert lines(opened(tmp_path / "s")) == [b"a", b"b"]


class Receiver:
    """Takes what it is sent, but for the first `refusals` times."""

    def __init__(self, refusals: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self.headers: list[Mapping[str, str]] = []
        self.bodies: list[bytes] = []
        self.refusals = refusals
        self.arrived = asyncio.Event()

    async def post(self, body: bytes, headers: Mapping[str, str]) -> int:
        if self.refusals:
            self.refusals -= 1
            return 503
        self.bodies.append(body)
        self.headers.append(headers)
        self.events += json.loads(body)
        self.arrived.set()
        return 204

    async def have(self, count: int) -> None:
        async with asyncio.timeout(20):
            while len(self.events) < count:
                self.arrived.clear()
                await self.arrived.wait()


async def test_what_is_told_and_how(tmp_path: Path) -> None:
    receiver = Receiver(refusals=2)
    events = SpooledEvents(opened(tmp_path / "s"), Webhook(receiver.post, b"key"), pace=AT_ONCE)
    kept: list[tuple[str, int]] = []
    collector = Collector(
        events, memory_of=lambda _: 512 << 20, kept=lambda *one: kept.append(one), excluded=frozenset({"billing"})
    )
    tasks = [spawn(events.run(), name="tell"), spawn(collector.run(), name="collect")]
    first = Used(1, [call(), call("g"), call("sink", "billing")])
    collector.take("w", first)
    collector.take("w", first)  # The worker had not heard that it was kept.
    collector.take("w", Used(2, [call("h")], lost=2))
    await receiver.have(3)
    await cancel(*tasks)
    assert kept == [("w", 1), ("w", 1), ("w", 2)]
    assert [(one["sequence"], one["function_name"], one["id"]) for one in receiver.events] == [
        (1, "f", "w-1-0"),
        (2, "g", "w-1-1"),
        (5, "h", "w-2-0"),
    ]
    assert receiver.events[0] == {
        "event": "function_usage", "namespace": "dev", "function_name": "f", "started": "2023-11-14T22:13:20.500000Z",
        "duration": 250_000_000, "memory_bytes": 512 << 20, "id": "w-1-0", "sequence": 1, "status": 200,
        "bytes_in": 3, "bytes_out": 5, "is_queued": False,
    }  # fmt: skip
    headers = receiver.headers[0]
    assert headers["X-Openfaas-Event"] == "function_usage"
    assert len(headers["X-Openfaas-Delivery"]) == 36
    assert headers["X-Openfaas-Signature-256"] == f"sha256={hmac.new(b'key', receiver.bodies[0], 'sha256').hexdigest()}"


async def test_what_was_not_taken_is_told_after_a_restart(tmp_path: Path) -> None:
    await SpooledEvents(opened(tmp_path / "s"), Webhook(Receiver().post, None)).put([event("a"), event("b")], lost=0)
    receiver = Receiver()
    later = SpooledEvents(opened(tmp_path / "s"), Webhook(receiver.post, None))
    await later.put([event("c")], lost=0)
    task = spawn(later.run(), name="tell")
    await receiver.have(3)
    await cancel(task)
    assert [(one["id"], one["sequence"]) for one in receiver.events] == [("a", 1), ("b", 2), ("c", 3)]


async def test_a_full_disk_keeps_the_worker_waiting() -> None:
    """It is told only when its report is kept; until then it keeps the report, and sends it again."""
    kept: list[int] = []
    failures = [OSError(28, "No space left on device")] * 2
    took: list[UsageEvent] = []

    class Full:
        async def put(self, events: list[UsageEvent], *, lost: int) -> None:
            assert lost == 0
            if failures:
                raise failures.pop()
            took.extend(events)

    collector = Collector(Full(), memory_of=lambda _: 0, kept=lambda _, number: kept.append(number), again=0.0)  # type: ignore[arg-type]
    task = spawn(collector.run(), name="collect")
    collector.take("w", Used(1, [call()]))
    async with asyncio.timeout(20):
        while not kept:
            await asyncio.sleep(0)
    await cancel(task)
    assert (len(took), failures) == (1, [])


async def test_in_memory_they_have_numbers_too() -> None:
    held: list[UsageEvent] = []
    events = HeldEvents(held.append)
    await events.put([event("a")], lost=0)
    await events.put([event("b")], lost=4)
    assert [one.sequence for one in held] == [1, 6]


def event(number: str) -> UsageEvent:
    return event_of(
        namespace="dev", name="f", started_ns=0, seconds=1.0, memory=0, number=number, status=200, received=0, sent=0,
        is_queued=False,
    )  # fmt: skip


def test_a_worker_keeps_what_is_not_known_to_be_kept() -> None:
    uses = Uses()
    for number in range(BATCH + 1):
        uses.add(call(str(number)))
    first, second = uses.take()
    assert (len(first.calls), len(second.calls), list(uses.take())) == (BATCH, 1, [])
    assert uses.unkept() == [first, second]
    uses.kept(1)
    assert uses.unkept() == [second]
    uses.kept(2)
    assert uses.unkept() == []


@pytest.mark.bound("events-waiting")
async def test_events_that_wait_in_memory_are_bounded() -> None:
    """The webhook takes nothing: the newest wait, and how many were lost is known."""

    async def refuse(body: bytes, headers: Mapping[str, str]) -> int:
        return 503

    held = Held("api_access", Webhook(refuse, None))
    for number in range(MOST_HELD + 7):
        held.put(number)
    assert (len(held._events), held._events[0], held.lost) == (MOST_HELD, 7, 7)


@pytest.mark.bound("usage-waiting")
def test_a_worker_counts_what_it_has_no_room_for() -> None:
    uses = Uses(most=3)
    for _ in range(5):
        uses.add(call())
    (message,) = uses.take()
    assert (len(message.calls), message.lost) == (3, 2)
    uses.add(call())
    (told,) = uses.take()
    assert (told.calls, told.lost) == ([], 1)
    uses.kept(told.number)
    uses.add(call())
    (later,) = uses.take()
    assert (len(later.calls), later.lost) == (1, 0)
