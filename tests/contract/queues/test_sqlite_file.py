"""The file of the SQLite queue: kills, full and broken disks, damage. Nothing that was promised is lost in silence."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.errors import BackendUnavailable, QueueFull, StorageFull
from hilbert.core.ports.queue import CallState, Finished, QueueBounds
from hilbert.queues.sqlite import SqliteQueue
from hilbert.queues.sqlite import queue as module
from hilbert.testing.queue import HERE, F, call, counts_of, lend

pytestmark = pytest.mark.anyio

LARGE = QueueBounds()


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[SqliteQueue]:
    opened = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    try:
        yield opened
    finally:
        opened.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from hilbert.queues.sqlite import SqliteQueue
from hilbert.core.ports.queue import Finished
from hilbert.testing.queue import F, call

async def main():
    queue = await SqliteQueue.open(Path(sys.argv[1]), reserve_bytes=0)
    async def produce(name):
        number = 0
        while True:
            await queue.put([call(f"{name}-{number}", body=b"x" * 500)], now=1)
            print("put", f"{name}-{number}", flush=True)
            number += 1
    async def work():
        while True:
            for lease in await queue.lease(F, count=3, now=2, until=9):
                print("ran", lease.call.id, flush=True)
                await queue.settle(lease.call.id, lease.epoch, Finished(succeeded=True), now=3)
                print("done", lease.call.id, flush=True)
            await asyncio.sleep(0)
    await asyncio.gather(work(), *(produce(f"{sys.argv[2]}{n}") for n in range(4)))

asyncio.run(main())
"""


async def test_a_killed_process_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """Rounds of a writer that is killed in the middle: each call has one state, and none that was told is missing."""
    put: set[str] = set()
    done: set[str] = set()
    for number in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), f"round{number}-"], stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(60 + 37 * number)]
            process.send_signal(signal.SIGKILL)
            lines += process.stdout.readlines()
        words = [line.split() for line in lines if line.endswith("\n")]
        put |= {name for what, name in words if what == "put"}
        done |= {name for what, name in words if what == "done"}
        queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
        try:
            records = {record.id: record for record in await queue.list_calls(HERE, limit=10_000)}
            assert put <= records.keys()
            assert all(records[name].state is CallState.SUCCEEDED for name in done)
            counts = await counts_of(queue)
            assert counts.accepted == len(records)
            open_ = [name for name, record in records.items() if record.state is not CallState.SUCCEEDED]
            lent = await queue.lease(F, count=10_000, now=2, until=9)
            assert sorted(lease.call.id for lease in lent) == sorted(open_), "what was on lease is given back at once"
        finally:
            queue.close()
    assert put
    assert done


async def test_leases_of_an_earlier_process_are_given_back_when_the_file_is_opened(tmp_path: Path) -> None:
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    await queue.put([call("a")], now=1)
    first = await lend(queue, until=1e9)
    queue.close()
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    try:
        second = await lend(queue, now=2, until=1e9)
        assert (second.attempt, second.epoch > first.epoch) == (2, True)
    finally:
        queue.close()


async def test_one_process_alone_has_the_file(tmp_path: Path, queue: SqliteQueue) -> None:
    with pytest.raises(BackendUnavailable, match="another process"):
        await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    await queue.put([call("a")], now=1)


async def test_each_commit_is_synced(queue: SqliteQueue) -> None:
    """Set and read back, since builds of SQLite differ in their default."""
    found = await queue._database.write(
        lambda connection: [
            connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")
        ]
    )
    assert found == ["wal", 2]


async def test_puts_that_wait_share_a_commit(queue: SqliteQueue) -> None:
    commits = 0

    def count_commits(statement: str) -> None:
        nonlocal commits
        commits += statement == "COMMIT"

    await queue._database.write(lambda connection: connection.set_trace_callback(count_commits))
    await asyncio.gather(*(queue.put([call(f"{number}")], now=1) for number in range(200)))
    assert 0 < commits < 100
    assert (await counts_of(queue)).queued == 200


async def test_one_refused_put_does_not_touch_its_neighbours(tmp_path: Path) -> None:
    queue = await SqliteQueue.open(tmp_path, QueueBounds(function_bytes=10), reserve_bytes=0)
    try:
        puts = [queue.put([call(f"{n}", body=b"x" * (99 if n % 3 == 0 else 1))], now=1) for n in range(12)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [isinstance(result, QueueFull) for result in results] == [n % 3 == 0 for n in range(12)]
        assert (await counts_of(queue)).queued == 8
    finally:
        queue.close()


async def test_each_put_of_one_moment_is_held_to_its_own_bounds(tmp_path: Path) -> None:
    """As when an annotation changes in between."""
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    narrow, wide = QueueBounds(function_calls=2), QueueBounds(function_calls=9)
    try:
        puts = [queue.put([call(f"{n}")], now=1, bounds={F: narrow if n < 4 else wide}) for n in range(8)]
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert [isinstance(result, QueueFull) for result in results] == [False, False, True, True, *[False] * 4]
    finally:
        queue.close()


async def test_a_full_disk_refuses_new_calls_and_lets_others_end(tmp_path: Path) -> None:
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=1 << 16)
    try:
        assert (tmp_path / "queue.reserve").stat().st_size == 1 << 16
        await queue.put([call("a")], now=1)
        pages = await queue._database.write(lambda connection: connection.execute("PRAGMA page_count").fetchone()[0])
        await queue._database.write(lambda connection: connection.execute(f"PRAGMA max_page_count = {pages + 2}"))
        with pytest.raises(StorageFull):
            await queue.put([call("b", body=b"x" * 100_000)], now=1)
        assert not (tmp_path / "queue.reserve").exists()
        lease = await lend(queue)
        await queue.settle("a", lease.epoch, Finished(succeeded=True), now=2)
        counts = await counts_of(queue)
        assert (counts.finished, counts.accepted) == (1, 1)
        await queue.put([call("c")], now=3)
        assert (tmp_path / "queue.reserve").stat().st_size == 1 << 16
    finally:
        queue.close()


async def test_without_room_for_the_reserve_nothing_new_is_accepted(
    queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue._reserve, "hold", lambda: False)
    with pytest.raises(StorageFull, match="no new calls are accepted"):
        await queue.put([call("a")], now=1)
    assert (await counts_of(queue)).accepted == 0


async def test_after_a_failed_sync_nothing_is_promised_until_it_is_opened_anew(
    tmp_path: Path, queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    await queue.put([call("a")], now=1)
    real = queue._database.write

    async def failing(_work: Any) -> Any:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
        raise error

    monkeypatch.setattr(queue._database, "write", failing)
    with pytest.raises(BackendUnavailable):
        await queue.put([call("b")], now=1)
    monkeypatch.setattr(queue._database, "write", real)
    with pytest.raises(BackendUnavailable, match="reopened"):
        await queue.put([call("c")], now=1)
    assert (await queue.look_up(HERE, "a", now=1)).state is CallState.QUEUED
    queue.close()
    again = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    try:
        await again.put([call("d")], now=1)
    finally:
        again.close()


async def fill(folder: Path) -> Path:
    """A file with many pages, closed and checkpointed."""
    queue = await SqliteQueue.open(folder, LARGE, reserve_bytes=0)
    await queue.put([call(f"{number}", body=bytes([number]) * 3_000) for number in range(100)], now=1)
    queue.close()
    path = folder / "queue.db"
    assert not (folder / "queue.db-wal").exists()
    assert path.stat().st_size > 100 * 3_000
    return path


async def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = await fill(tmp_path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    before = path.read_bytes()
    with pytest.raises(BackendUnavailable) as caught:
        await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    assert "damaged" in caught.value.message
    assert "backup" in caught.value.hint
    assert path.read_bytes() == before, "what is left of it stays as it is"


async def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(BackendUnavailable, match="damaged"):
        await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)


async def test_a_request_that_the_disk_has_changed_is_never_made(tmp_path: Path) -> None:
    """SQLite has no checksums; each request carries its own."""
    path = await fill(tmp_path)
    data = path.read_bytes()
    at = data.index(bytes([42]) * 1_000)
    with path.open("r+b") as file:
        file.seek(at + 7)
        file.write(b"\xff")
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    try:
        leases = await queue.lease(F, count=200, now=2, until=9)
        assert sorted(int(lease.call.id) for lease in leases) == [number for number in range(100) if number != 42]
        record = await queue.look_up(HERE, "42", now=2)
        assert (record.state, "damaged" in record.reason) == (CallState.DEAD, True)
        await counts_of(queue)
    finally:
        queue.close()


async def test_wrong_counts_are_made_again(tmp_path: Path) -> None:
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    await queue.put([call("a", body=b"123"), call("b")], now=1)
    queue.close()
    with sqlite3.connect(tmp_path / "queue.db") as connection:
        connection.execute("UPDATE counts SET queued = 99, size = 5 WHERE function = 'f'")
        connection.execute("DELETE FROM counts WHERE function = ''")
    connection.close()
    queue = await SqliteQueue.open(tmp_path, LARGE, reserve_bytes=0)
    try:
        counts = await counts_of(queue)
        assert (counts.queued, counts.size) == (2, 4)
        assert (
            await queue._database.read(lambda c: c.execute("SELECT queued FROM counts WHERE function = ''").fetchone())
        ) == (2,)
    finally:
        queue.close()


@pytest.mark.bound("queueing")
async def test_too_many_puts_at_once_are_told_to_come_back(queue: SqliteQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PUTTING", 3)
    results = await asyncio.gather(
        *(queue.put([call(f"{number}")], now=1) for number in range(9)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, QueueFull)]
    assert refused
    assert all(error.retry_after for error in refused)
    assert (await counts_of(queue)).queued == 9 - len(refused)
