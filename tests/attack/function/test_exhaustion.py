"""A function that states no limits takes all it can of everything; another goes on answering.

As fork bombs, memory and disk exhaustion in every shared runtime (CWE-770).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import structlog

from hilbert.core.model import Endpoint
from hilbert.core.network import NetworkUse
from hilbert.core.settings import DefaultLimitSettings
from hilbert.core.values import Quantity
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.processes import LEVELS, ProcessHarness

pytestmark = pytest.mark.anyio

LIMITS = DefaultLimitSettings(
    memory=Quantity.parse("128Mi"), cpu=Quantity.parse("1"), processes=64, open_files=256, scratch=Quantity.parse("8Mi")
)

FORK = """
import os, time
count = 0
try:
    while count < 2000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError:
    pass
print(count)
"""
MEMORY = """
taken = []
try:
    for _ in range(64):
        taken.append(bytearray(b"x") * (16 << 20))
except MemoryError:
    pass
print(len(taken) * 16)
"""
FILES = """
import os
count = 0
try:
    while count < 5000:
        os.open("/dev/null", os.O_RDONLY)
        count += 1
except OSError:
    pass
print(count)
"""
SCRATCH = """
import os
total = 0
for folder in (os.environ["TMPDIR"], "/dev/shm", "/var/tmp", "/run", "/"):
    try:
        with open(folder + "/full", "wb") as file:
            while total < 64 << 20:
                total += file.write(b"x" * 65536)
                file.flush()
    except OSError:
        pass
print(total)
"""
ONE_FILE = """
import os
total = 0
try:
    with open(os.environ["TMPDIR"] + "/one", "wb") as file:
        while total < 64 << 20:
            total += os.write(file.fileno(), b"x" * 65536)
except OSError:
    pass
print(total)
"""
MANY_WAYS = {
    "many files": """
for number in range(24):
    with open(f"{folder}/{number}", "wb") as file:
        file.write(b"x" * (1 << 20))
""",
    "removed but open": """
held = []
for number in range(24):
    held.append(open(f"{folder}/{number}", "wb", buffering=0))
    held[-1].write(b"x" * (1 << 20))
    os.unlink(f"{folder}/{number}")
""",
    "reserved and not written": """
for number in range(24):
    with open(f"{folder}/{number}", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 20)
""",
    "inodes": """
for number in range(6000):
    os.mkdir(f"{folder}/{number}")
""",
    "a folder that cannot be read": """
os.mkdir(folder + "/closed")
inner = os.open(folder + "/closed", os.O_RDONLY)
os.mkdir("deep", dir_fd=inner)
path = folder + "/closed/deep"
for _ in range(150):
    path += "/d"
    os.mkdir(path)
""",
}
"""What goes beyond the limit in less than a second, in files that are each within it."""
SPIN = """
import os
for _ in range(8):
    if os.fork() == 0:
        while True:
            pass
"""


@pytest.fixture(params=LEVELS)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param, default_limits=LIMITS, probe_period=2.0)
    await harness.start()
    yield harness
    await harness.close()


class Scene:
    attacker: Endpoint
    victim: Endpoint

    def __init__(self, harness: ProcessHarness) -> None:
        self.harness = harness
        self.calls = 0

    @contextlib.asynccontextmanager
    async def victim_answers(self) -> AsyncIterator[None]:
        """The victim is called throughout, and answers each time."""
        done = asyncio.Event()

        async def calls() -> None:
            while not done.is_set() or self.calls < 5:
                status, body = await asyncio.wait_for(call(self.victim, b"print(6 * 7)"), 20)
                assert (status, body.strip()) == (200, b"42")
                self.calls += 1

        task = asyncio.ensure_future(calls())
        try:
            yield
        finally:
            done.set()
            await task


@pytest.fixture
async def scene(harness: ProcessHarness) -> Scene:
    scene = Scene(harness)
    async with watching(harness.provider) as table:
        for name in ("attacker", "victim"):
            spec = spec_of(harness, name, image="run")
            await harness.provider.apply(spec)
            (endpoint,) = await table.ready(spec.ref)
            setattr(scene, name, endpoint)
    return scene


def tasks_of(user: int) -> int:
    """Processes that a user has now."""
    return sum(process.uids().real == user for process in psutil.process_iter() if process.is_running())


async def number(endpoint: Endpoint, code: str) -> int:
    """What the code printed; -1 when it did not live to tell."""
    try:
        _, answer = await call(endpoint, code.encode())
        return int(answer.strip() or -1)
    except (OSError, ValueError, IndexError, asyncio.IncompleteReadError):
        return -1


async def test_processes(scene: Scene) -> None:
    limiter = scene.harness.runtime.machine.limiter
    async with scene.victim_answers():
        # Without a control group the kernel counts all that the user has, also what an earlier test has just ended.
        others = 0 if limiter.whole else tasks_of(os.geteuid())
        assert await number(scene.attacker, FORK) < LIMITS.processes + others


async def test_memory(scene: Scene) -> None:
    async with scene.victim_answers():
        assert await number(scene.attacker, MEMORY) <= 128


async def test_open_files(scene: Scene) -> None:
    async with scene.victim_answers():
        assert await number(scene.attacker, FILES) < LIMITS.open_files


async def test_scratch_space(scene: Scene) -> None:
    """Bounded at every moment where the sandbox has folders of its own; elsewhere it is measured, and not promised."""
    async with scene.victim_answers():
        total = await number(scene.attacker, SCRATCH if scene.harness.level == "bubblewrap" else ONE_FILE)
    assert total <= 2 * LIMITS.scratch.units
    if scene.harness.level == "bubblewrap":
        assert total > 0
    else:
        assert "scratch" not in scene.harness.runtime.machine.promises(NetworkUse())


@pytest.mark.parametrize("way", MANY_WAYS)
async def test_a_replica_that_takes_too_much_scratch_space_is_ended(scene: Scene, way: str) -> None:
    """Where its folder is on disk; what it took is removed, and the status says why."""
    if scene.harness.level == "bubblewrap":
        pytest.skip("its own folders are bounded at every moment")
    folder = scene.harness.folder / "run" / "r" / scene.attacker.replica.rpartition("-")[2]
    code = f"import os, time\nfolder = os.environ['TMPDIR']\n{MANY_WAYS[way]}\ntime.sleep(60)\n"
    with structlog.testing.capture_logs() as logs:
        async with scene.victim_answers():
            assert await number(scene.attacker, code) == -1
        await eventually(lambda: not folder.exists())
    said = [entry for entry in logs if entry["event"] == "replica failed"]
    assert [entry["reason"] for entry in said] == ["ScratchFull"]
    await eventually(lambda: os.listdir(scene.harness.folder / "run" / "trash") == [])


async def test_cpu(scene: Scene) -> None:
    """Spinning processes give way to the platform and share with others."""
    async with scene.victim_answers():
        await call(scene.attacker, SPIN.encode())
        before = scene.calls
        await eventually(lambda: scene.calls > before + 50, within=60)


async def test_replicas_are_chosen_first_when_memory_runs_out(scene: Scene) -> None:
    own = int(Path("/proc/self/oom_score_adj").read_text())
    code = "open('/proc/self/oom_score_adj', 'w').write('-500')"
    await call(scene.attacker, code.encode())
    for endpoint in (scene.attacker, scene.victim):
        pid = scene.harness.pid_of(endpoint)
        assert int(Path(f"/proc/{pid}/oom_score_adj").read_text()) > own


async def test_the_defaults_are_told(scene: Scene) -> None:
    spec = spec_of(scene.harness, "victim", image="run")
    placement = (await scene.harness.provider.get(spec.ref)).placement
    assert placement["memory-limit"].startswith("128Mi (")
    assert "the default" in placement["memory-limit"]
