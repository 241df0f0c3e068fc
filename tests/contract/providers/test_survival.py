"""Kill -9 of whatever there is: what was promised comes back, nothing runs twice, nothing is left over."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from hilbert.core.model import Phase
from hilbert.core.values import FunctionRef
from hilbert.runtimes.replica.limits import ProcessLimits
from hilbert.testing.harness import PATIENCE, call, eventually, lines_of, spec_of, watching
from support.mortal import MOMENTS
from support.processes import LEVELS, RUNTIMES, ProcessHarness, is_of

pytestmark = pytest.mark.anyio

TESTS = Path(__file__).parents[2]

DAEMON = b"""
import os, time
child = os.fork()
if child == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(0)
os.waitpid(child, 0)
"""


SAYS_SO = b"import sys, time; print('in progress', file=sys.stderr, flush=True)"
"""The beginning of code that is sent to the function `run`: its log tells that the call has arrived."""


async def in_progress(harness: ProcessHarness, ref: FunctionRef) -> None:
    """Wait until a call that began with `SAYS_SO` is being answered."""

    async def said() -> bool:
        return any(line.text.endswith("in progress") for line in await lines_of(harness, ref=ref))

    await eventually(said)


@contextlib.asynccontextmanager
async def control_plane(folder: Path, level: str, moment: str = "never") -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "support.mortal",
        str(folder),
        level,
        moment,
        cwd=TESTS,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def ready(process: asyncio.subprocess.Process) -> dict[str, Any]:
    assert process.stdout is not None
    while line := await asyncio.wait_for(process.stdout.readline(), PATIENCE):
        if line.startswith(b"{"):
            seen: dict[str, Any] = json.loads(line)
            return seen
    pytest.skip("this level does not work here")


def watchdogs(folder: Path) -> set[int]:
    """Replicas that run, each by its first process."""
    found: dict[int, int] = {}
    for process in psutil.process_iter():
        if is_of(process, folder):
            with contextlib.suppress(psutil.Error):
                command = process.cmdline()
                if "support.mortal" not in command and not command[0].endswith("bwrap"):
                    found[process.pid] = process.ppid()
    return {pid for pid, parent in found.items() if parent not in found}


@pytest.fixture
def folder() -> Any:
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    folder.chmod(0o711)
    yield folder
    for pid in watchdogs(folder):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_control_plane_killed_during_a_start(folder: Path, level: str, moment: str) -> None:
    async with control_plane(folder, level, moment) as first:
        assert await asyncio.wait_for(first.wait(), PATIENCE) == -signal.SIGKILL
    harness = ProcessHarness(level, folder=folder)
    await harness.start()
    spec = spec_of(harness)
    async with watching(harness.provider) as table:
        (endpoint,) = await table.ready(spec.ref)
        assert await call(endpoint, b"here") == (200, b"here")
    await eventually(lambda: watchdogs(folder) == {harness.pid_of(endpoint)})
    assert [path.name for path in (folder / "run" / "r").iterdir()] == [endpoint.replica.rpartition("-")[2]]
    await harness.close()


@pytest.mark.parametrize("level", LEVELS)
async def test_replicas_outlive_the_control_plane_and_everything_killed_at_once_comes_back(
    folder: Path, level: str
) -> None:
    async with control_plane(folder, level) as first:
        seen = await ready(first)
    async with control_plane(folder, level) as second:
        assert await ready(second) == seen, "the replica was taken back"
        os.kill(seen["pid"], signal.SIGKILL)
        second.kill()
        await second.wait()
    harness = ProcessHarness(level, folder=folder)
    await harness.start()
    async with watching(harness.provider) as table:
        (endpoint,) = await table.ready(spec_of(harness).ref)
        assert endpoint.replica != seen["replica"]
    await eventually(lambda: watchdogs(folder) == {harness.pid_of(endpoint)})
    await harness.close()


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param, grace=2)
    await harness.start()
    yield harness
    await harness.close()


async def test_a_stopped_replica_is_found_out_and_replaced(harness: ProcessHarness) -> None:
    spec = spec_of(harness)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (old,) = await table.ready(spec.ref)
        first = psutil.Process(harness.pid_of(old))
        for process in (first, *first.children(recursive=True)):
            process.suspend()
        await eventually(lambda: table.endpoints(spec.ref) and old not in table.endpoints(spec.ref))
        (new,) = table.endpoints(spec.ref)
        assert await call(new, b"x") == (200, b"x")
    await eventually(lambda: len(list((harness.folder / "run" / "r").iterdir())) == 1)


@pytest.mark.parametrize("groups", [True, False], ids=["control groups", "no control groups"])
async def test_a_replica_ends_with_all_that_it_started(
    harness: ProcessHarness, groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with what has left its session, and whether it is stopped or killed."""
    if not groups:
        monkeypatch.setattr(harness.runtime.machine, "limiter", ProcessLimits())
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        await call(endpoint, DAEMON)
        before = len(harness.processes())
        assert before >= 2
        await harness.crash(endpoint)
        await eventually(lambda: table.endpoints(spec.ref) and endpoint not in table.endpoints(spec.ref))
        await eventually(lambda: len(harness.processes()) < before)
        (endpoint,) = table.endpoints(spec.ref)
        await call(endpoint, DAEMON)
        await harness.provider.scale(spec.ref, 0)
        await eventually(lambda: harness.processes() == [])


async def test_a_handler_that_cannot_be_imported_says_why(harness: ProcessHarness) -> None:
    spec = spec_of(harness, image="broken")
    await harness.provider.apply(spec)

    async def explained() -> bool:
        status = await harness.provider.get(spec.ref)
        return status.phase is Phase.FAILED and status.reason == "CrashLoop"

    await eventually(explained)
    message = (await harness.provider.get(spec.ref)).message
    assert message.startswith(f"a replica exited with status {1 if harness.images else 3}: ")
    assert "this function is broken" in message


async def test_a_call_in_progress_is_finished_when_its_replica_is_stopped(harness: ProcessHarness) -> None:
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        slow = asyncio.ensure_future(call(endpoint, SAYS_SO + b"; time.sleep(0.7); print('done')"))
        await in_progress(harness, spec.ref)
        await harness.provider.remove(spec.ref)
        assert await slow == (200, b"done\n")
    await eventually(lambda: harness.processes() == [])


async def test_a_replica_that_will_not_end_is_ended(harness: ProcessHarness) -> None:
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        endless = asyncio.ensure_future(call(endpoint, SAYS_SO + b"; time.sleep(3600)"))
        await in_progress(harness, spec.ref)
        await harness.provider.remove(spec.ref)
        with pytest.raises((OSError, IndexError, asyncio.IncompleteReadError)):
            await endless
    await eventually(lambda: harness.processes() == [])


async def test_usage_is_measured(harness: ProcessHarness) -> None:
    spec = spec_of(harness)
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        await table.ready(spec.ref)

    async def measured() -> bool:
        usage = (await harness.provider.get(spec.ref)).usage
        # A control group counts from the moment at which a process joins it.
        return usage is not None and usage.memory_bytes > 1 << 18 and usage.cpu_millis >= 0

    await eventually(measured)
