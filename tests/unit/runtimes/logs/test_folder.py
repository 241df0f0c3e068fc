"""The folder of log files: bounds, merging, following, forgetting."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from hilbert.core.model import LogLine, LogQuery
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.runtimes.logs.folder import BATCH_MOST, LogFolder
from hilbert.runtimes.logs.keeper import OLD_KEPT
from hilbert.testing.harness import eventually

pytestmark = pytest.mark.anyio

REF = FunctionRef(NamespaceName("dev"), FunctionName("f"))
OTHER = FunctionRef(NamespaceName("dev"), FunctionName("g"))


def write(logs: LogFolder, replica: str, *lines: tuple[int, str], ref: FunctionRef = REF) -> None:
    descriptor = logs.open(ref, replica)
    for second, text in lines:
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_700_000_000 + second))
        os.write(descriptor, f"{at}Z {text}\n".encode())
    os.close(descriptor)


async def texts(logs: LogFolder, **query: object) -> list[str]:
    return [line.text async for line in logs.read(LogQuery(ref=REF, **query))]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written is there when it is read, however busy this machine is."""
    monkeypatch.setattr("hilbert.runtimes.logs.folder._FLUSH_MOST", 20.0)


@pytest.fixture
async def logs(tmp_path: Path) -> AsyncIterator[LogFolder]:
    logs = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=1 << 20)
    yield logs
    await logs.close()


@pytest.fixture
async def roomy(tmp_path: Path) -> AsyncIterator[LogFolder]:
    logs = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=32 << 20)
    yield logs
    await logs.close()


async def test_logs_of_a_removed_function_go_while_the_keeper_still_writes(
    logs: LogFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the folder open, and hears of the removal afterwards."""
    write(logs, "f-a", (1, "one"))
    assert await texts(logs) == ["one"]
    place = os.open(tmp_path / "logs" / "dev" / "f", os.O_RDONLY | os.O_DIRECTORY)
    late = iter(["f-a.log", "f-b.log"])
    rmdir = os.rmdir

    def remove(path: str, *, dir_fd: int | None = None) -> None:
        """Somebody is always quicker, twice."""
        for name in itertools.islice(late, 1):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT, dir_fd=place))
        rmdir(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "rmdir", remove)
    logs.drop(REF)
    await eventually(lambda: not [name for name in os.listdir(tmp_path / "logs") if name.startswith(".trash-")])
    os.close(place)


async def test_replicas_are_merged_by_time(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "one"), (4, "four"))
    write(logs, "f-b", (2, "two"), (3, "three"))
    write(logs, "g-a", (2, "another function's"), ref=OTHER)
    assert await texts(logs) == ["one", "two", "three", "four"]
    assert await texts(logs, tail=2) == ["three", "four"]
    assert await texts(logs, instance="f-b") == ["two", "three"]
    assert await texts(logs, since=datetime.fromtimestamp(1_700_000_003, UTC)) == ["three", "four"]
    assert await texts(logs, instance="../g/g-a") == []


async def test_what_one_replica_forges_does_not_hide_the_lines_of_another(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "honest"), (3, "honest too"))
    descriptor = logs.open(REF, "f-b")
    os.write(descriptor, ("2999-01-01T00:00:00Z from the future\nno stamp\n" + "x" * 100_000).encode())
    os.close(descriptor)
    seen = await texts(logs)
    assert [text for text in seen if text.startswith("honest")] == ["honest", "honest too"]


async def test_logs_of_replicas_that_are_gone_are_kept_the_newest_only(logs: LogFolder) -> None:
    for number in range(OLD_KEPT + 3):
        write(logs, f"f-{number}", (number, f"line {number}"))
        logs.retire(REF, f"f-{number}")
    write(logs, "f-live", (99, "live"))
    assert await texts(logs) == [*(f"line {number}" for number in range(3, OLD_KEPT + 3)), "live"]
    logs.retire(REF, "f-none")  # Absence is success.


async def test_following_sees_new_lines_new_replicas_and_the_end(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "stored"))
    seen: list[LogLine] = []
    alive = True

    async def follow() -> None:
        async for line in logs.read(LogQuery(ref=REF, follow=True), alive=lambda: alive):
            seen.append(line)

    task = asyncio.ensure_future(follow())
    await eventually(lambda: len(seen) == 1)
    write(logs, "f-a", (2, "new"))
    await eventually(lambda: len(seen) == 2)
    write(logs, "f-b", (3, "from another"))
    await eventually(lambda: len(seen) == 3)
    logs.retire(REF, "f-a")
    write(logs, "f-b", (4, "still"))
    await eventually(lambda: [line.text for line in seen] == ["stored", "new", "from another", "still"])
    alive = False
    await asyncio.wait_for(task, 10)


async def test_a_follower_that_leaves_leaves_no_file_open(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "stored"))
    assert await texts(logs) == ["stored"]
    gc.collect()  # What tests before have left lying about must not close in between.
    before = len(os.listdir("/proc/self/fd"))
    lines = logs.read(LogQuery(ref=REF, follow=True))
    assert (await anext(lines)).text == "stored"
    await lines.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert len(os.listdir("/proc/self/fd")) == before


async def test_one_namespace_reads_in_one_thread_at_a_time(logs: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many readers it has: another one's are read meanwhile."""
    write(logs, "f-a", (1, "one"))
    theirs = FunctionRef(NamespaceName("other"), FunctionName("f"))
    write(logs, "f-b", (1, "two"), ref=theirs)
    go, most = threading.Event(), []
    stored = LogFolder._stored

    def slow(self: LogFolder, query: LogQuery, *given: Any) -> Any:
        if query.ref == REF:
            most.append(1)
            go.wait(20)
        return stored(self, query, *given)

    monkeypatch.setattr(LogFolder, "_stored", slow)
    many = [asyncio.ensure_future(texts(logs)) for _ in range(10)]
    await eventually(lambda: most)
    assert [line.text async for line in logs.read(LogQuery(ref=theirs))] == ["two"]
    assert len(most) == 1
    go.set()
    assert await asyncio.gather(*many) == [["one"]] * 10


async def flood(logs: LogFolder) -> None:
    """Sixty thousand lines and a last one, more than a pipe holds."""
    descriptor = logs.open(REF, "f-a")
    line = b"2023-11-14T22:15:00Z " + b"x" * 100 + b"\n"

    def fill() -> None:
        for _ in range(60):
            left = line * 1000
            while left:
                left = left[os.write(descriptor, left) :]
        os.write(descriptor, b"2023-11-14T22:15:00Z newest\n")
        os.close(descriptor)

    await asyncio.to_thread(fill)


@pytest.mark.bound("log-batch")
@pytest.mark.parametrize("query", [{"tail": 50_000}, {"tail": 50_000, "follow": True}, {"follow": True}], ids=repr)
async def test_whoever_does_not_take_the_lines_holds_little(roomy: LogFolder, query: dict[str, Any]) -> None:
    """However many there are, and whatever it asks for; and takes them all in the end, the last ones if it asked for so many."""
    await flood(roomy)
    tracemalloc.start()
    try:
        lines = roomy.read(LogQuery(ref=REF, **query))
        first = await anext(lines)
        assert tracemalloc.get_traced_memory()[1] < 4 * BATCH_MOST, "of six million bytes"
    finally:
        tracemalloc.stop()
    count = 1
    async for line in lines:
        count += 1
        if line.text == "newest":
            break
    await lines.aclose()  # type: ignore[attr-defined]  # it is a generator
    assert count == query.get("tail", 60_001)
    assert first.text == "x" * 100


async def test_a_follower_that_takes_nothing_while_a_function_writes_holds_little(roomy: LogFolder) -> None:
    """It has seen the end of the log once. What came since is read as it takes it."""
    write(roomy, "f-b", (1, "stored"))
    lines = roomy.read(LogQuery(ref=REF, follow=True))
    assert (await anext(lines)).text == "stored"
    await flood(roomy)
    tracemalloc.start()
    try:
        await anext(lines)
        assert tracemalloc.get_traced_memory()[1] < 4 * BATCH_MOST, "of six million bytes"
    finally:
        tracemalloc.stop()
    async for line in lines:
        if line.text == "newest":
            break
    await lines.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_what_a_replica_that_is_gone_wrote_last_is_not_lost(logs: LogFolder) -> None:
    """It has written and ended before the keeper has even heard of it."""
    for number in range(20):
        write(logs, f"f-{number}", (number, "last words"))
    assert [await logs.last_lines(REF, f"f-{number}", 1) for number in range(20)] == [["last words"]] * 20


async def test_a_replica_of_an_earlier_run_goes_on_writing(tmp_path: Path) -> None:
    """What it wrote in between is there, too."""
    first = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=1 << 20)
    descriptor = first.open(REF, "f-a")
    os.write(descriptor, b"before\n")
    assert await first.last_lines(REF, "f-a", 1) == ["before"]
    await first.close()
    os.write(descriptor, b"between\n")
    second = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=1 << 20)
    second.adopt(REF, "f-a")
    os.write(descriptor, b"after\n")
    assert await texts(second) == ["before", "between", "after"]
    os.close(descriptor)
    await second.close()


async def test_forgetting_a_function_and_a_namespace(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "one"))
    write(logs, "g-a", (1, "two"), ref=OTHER)
    logs.drop(REF)
    assert await texts(logs) == []
    write(logs, "f-b", (2, "a namesake's"))
    assert await texts(logs) == ["a namesake's"]
    logs.drop_namespace(REF.namespace)
    assert await texts(logs) == []
    logs.drop_namespace(NamespaceName("nowhere"))
    await eventually(lambda: os.listdir(logs._path) == [])


async def test_what_a_crash_left_is_removed_at_the_next_start(logs: LogFolder) -> None:
    write(logs, "f-a", (1, "one"))
    write(logs, "g-a", (1, "two"), ref=OTHER)
    (logs._path / ".trash-abc").mkdir()
    logs.keep_only([OTHER])
    await eventually(lambda: not list(logs._path.glob(".trash*")))
    await eventually(lambda: [path.name for path in logs._path.rglob("*.log")] == ["g-a.log"])
    await eventually(lambda: os.listdir(logs._path) == ["dev"])


async def test_how_bounds_are_used_is_asked_once_however_many_want_to_know(logs: LogFolder) -> None:
    assert await logs.uses() == {}
    for number in range(300):
        logs.slow(REF.namespace, FunctionName(f"g{number}"), 1024)
    logs.slow(REF.namespace, REF.name, 1 << 20)
    write(logs, "f-a", (1, "x" * 5000))
    await logs.last_lines(REF, "f-a", 1)
    first, second = await asyncio.gather(logs.uses(), logs.uses())
    assert first == second
    assert first is not None
    assert first.keys() == {("dev", "f")}
    assert first["dev", "f"].rate > 0


async def test_every_request_is_answered_however_many_there_are_at_once(logs: LogFolder) -> None:
    """More answers than the socket holds: whoever waits for one that is lost waits for ever, with what it holds open."""
    for number in range(2000):
        logs.slow(REF.namespace, FunctionName(f"g{number}"), 1024)
    await eventually(lambda: not logs._link._open)


async def test_nobody_waits_for_a_keeper_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilbert.runtimes.logs.folder._USES_MOST", 0.01)
    logs = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=1 << 20, socket_path=tmp_path / "none")
    logs.slow(REF.namespace, REF.name, 1024)
    for _ in range(20):
        assert await logs.uses() is None
    assert len(logs._link._open) == 2, "the bound, and one question"
    await logs.close()
