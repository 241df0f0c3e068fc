"""What every `ReplicaLogs` does alike."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from hilbert.core.model import LogQuery
from hilbert.core.ports import ReplicaLogs
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.runtimes.logs.folder import LogFolder
from hilbert.runtimes.logs.memory import MemoryLogs

pytestmark = pytest.mark.anyio

DEV = NamespaceName("dev")
ONE = FunctionRef(DEV, FunctionName("one"))
TWO = FunctionRef(DEV, FunctionName("two"))


@pytest.fixture(params=["folder", "memory"])
async def logs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ReplicaLogs]:
    if request.param == "memory":
        memory = MemoryLogs()
        yield memory
        memory.forget()
    else:
        folder = LogFolder(tmp_path / "logs", pipes=tmp_path / "pipes", limit=1 << 20)
        yield folder
        await folder.close()


def write(logs: ReplicaLogs, ref: FunctionRef, replica: str, *lines: str, calls: Sequence[str] = ()) -> None:
    """Lines as a watchdog stamps them; `calls` are the ids of the calls that wrote them, if any did."""
    descriptor = logs.open(ref, replica)
    try:
        for line, call in itertools.zip_longest(lines, calls, fillvalue=""):
            mark = f"/{call}" if call else ""
            os.write(descriptor, f"2026-01-01T00:00:00Z{mark} {line}\n".encode())
    finally:
        os.close(descriptor)


async def texts(logs: ReplicaLogs, query: LogQuery) -> list[str]:
    return [line.text async for line in logs.read(query)]


async def reads(logs: ReplicaLogs, query: LogQuery, expected: list[str]) -> None:
    """What is written may take a moment to arrive."""
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            while (found := await texts(logs, query)) != expected:
                await asyncio.sleep(0.005)
    assert found == expected


async def test_lines_come_back_by_function_and_by_replica(logs: ReplicaLogs) -> None:
    write(logs, ONE, "one-a", "first", "second")
    write(logs, ONE, "one-b", "third")
    write(logs, TWO, "two-a", "another function's")
    await reads(logs, LogQuery(ref=ONE), ["first", "second", "third"])
    await reads(logs, LogQuery(ref=ONE, instance="one-a"), ["first", "second"])
    await reads(logs, LogQuery(ref=ONE, tail=1), ["third"])
    assert (await logs.last_lines(ONE, "one-a", 2))[-1] == "second"
    assert list(await logs.last_lines(ONE, "unknown", 2)) == []


async def test_lines_come_back_by_call(logs: ReplicaLogs) -> None:
    """The newest of that call, where others' are newer; the same id in another function is another matter."""
    write(logs, ONE, "one-a", *"012345", calls=("a", "", "b", "a", "ab", "b"))
    write(logs, TWO, "two-a", "another function's", calls=("a",))
    await reads(logs, LogQuery(ref=ONE), ["0", "1", "2", "3", "4", "5"])
    await reads(logs, LogQuery(ref=ONE, call_id="a"), ["0", "3"])
    await reads(logs, LogQuery(ref=ONE, call_id="a", tail=1), ["3"])
    await reads(logs, LogQuery(ref=ONE, call_id="c"), [])


async def test_a_line_that_nobody_marked_is_of_the_call_that_it_names(logs: ReplicaLogs) -> None:
    """U3: a program of a container image can print the id; a marked line is of its own call, whatever it says."""
    lines = ("done [a-1]", "call=a-1.", "a-1", "a-12", "xa-1", "a-1-b", "a-1")
    write(logs, ONE, "one-a", *lines, calls=("", "", "", "", "", "", "b"))
    await reads(logs, LogQuery(ref=ONE, call_id="a-1"), ["done [a-1]", "call=a-1.", "a-1"])


async def test_lines_of_a_replica_that_is_gone_stay_and_those_of_old_ones_go(logs: ReplicaLogs) -> None:
    for number in range(8):
        write(logs, ONE, f"one-{number}", f"line {number}")
        await reads(logs, LogQuery(ref=ONE, instance=f"one-{number}"), [f"line {number}"])
        logs.retire(ONE, f"one-{number}")
        logs.retire(ONE, f"one-{number}")
    await reads(logs, LogQuery(ref=ONE), [f"line {number}" for number in range(3, 8)])


async def test_what_is_dropped_is_not_seen_again(logs: ReplicaLogs) -> None:
    for ref in (ONE, TWO):
        write(logs, ref, f"{ref.name}-a", "before")
        await reads(logs, LogQuery(ref=ref), ["before"])
    logs.drop(ONE)
    logs.drop(ONE)
    assert await texts(logs, LogQuery(ref=ONE)) == []
    await reads(logs, LogQuery(ref=TWO), ["before"])
    write(logs, ONE, "one-b", "after")
    await reads(logs, LogQuery(ref=ONE), ["after"])
    logs.keep_only([ONE])
    assert await texts(logs, LogQuery(ref=TWO)) == []
    logs.drop_namespace(DEV)
    assert await texts(logs, LogQuery(ref=ONE)) == []


async def test_a_follower_ends_with_the_function(logs: ReplicaLogs) -> None:
    seen: list[str] = []
    write(logs, ONE, "one-a", "stored")
    await reads(logs, LogQuery(ref=ONE), ["stored"])
    async for line in logs.read(LogQuery(ref=ONE, follow=True), alive=lambda: "new" not in seen):
        seen.append(line.text)
        if line.text == "stored":
            write(logs, ONE, "one-a", "new")
    assert seen == ["stored", "new"]
