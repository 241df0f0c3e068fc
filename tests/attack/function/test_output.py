"""What a function can do with its standard output: write lines, and nothing else.

As in CVE-2024-21626 (runc) and its like, a descriptor is a right: what is held can be truncated, filled and sought.
"""

from __future__ import annotations

import asyncio
import os

import pytest

from hilbert.core.model import LogQuery
from hilbert.core.values import FunctionRef
from hilbert.testing.harness import call, eventually, lines_of, spec_of, watching
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

LIMIT = 1 << 20
"""Bytes of log that the harness keeps for each replica."""

EVERY_DESCRIPTOR = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
done = []
for pid in ("self", os.getppid()):
    try:
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        continue
    for name in names:
        path = f"/proc/{pid}/fd/{name}"
        try:
            target = os.readlink(path)
            fd = int(name) if pid == "self" else os.open(path, os.O_RDWR | os.O_NONBLOCK)
        except OSError:
            continue
        if target.startswith(("/dev/", "/proc", "socket:", "anon_inode:", "pidfd")):
            continue
        for what, work in {
            "truncate": lambda: os.ftruncate(fd, 8 << 40),
            "fill": lambda: os.posix_fallocate(fd, 0, 3 << 30),
            "keep": lambda: libc.fallocate(fd, 1, ctypes.c_long(0), ctypes.c_long(3 << 30)) and os.strerror(9) and 1 / 0,
            "seek": lambda: os.lseek(fd, 8 << 40, os.SEEK_SET),
            "overwrite": lambda: os.pwrite(fd, b"forged", 0),
        }.items():
            try:
                work()
                done.append((what, target))
            except (OSError, ZeroDivisionError):
                pass
print(done)
"""

FLOOD = """
import os
line = b"x" * 1023 + b"\\n"
for _ in range(24 << 10):
    os.write(1, line)
os.write(1, b"the last line\\n")
"""


def stored(harness: ProcessHarness) -> int:
    """Bytes that all logs take, by size and by blocks, whichever is more."""
    found = 0
    for folder, _, files in os.walk(harness.folder / "state" / "logs"):
        for name in files:
            try:
                state = os.stat(os.path.join(folder, name))
            except FileNotFoundError:
                continue
            found += max(state.st_size, state.st_blocks * 512 - 4096)
    return found


async def written(harness: ProcessHarness, ref: FunctionRef, *expected: str) -> None:
    """Wait until these lines can be read: on a busy machine they arrive a moment after the call's answer."""

    async def there() -> bool:
        return set(expected) <= {line.text for line in await lines_of(harness, ref=ref)}

    await eventually(there)


async def test_a_function_holds_nothing_of_its_log_that_it_could_change(harness: ProcessHarness) -> None:
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        await call(endpoint, b"import os; os.write(1, b'an honest line\\n')")
        status, answer = await call(endpoint, EVERY_DESCRIPTOR.encode())
        assert (status, answer.strip()) == (200, b"[]")
        await call(endpoint, b"import os; os.write(1, b'another\\n')")
        await written(harness, spec.ref, "an honest line", "another")
        os.kill(harness.pid_of(endpoint), 9)
        await eventually(lambda: endpoint not in table.endpoints(spec.ref))
    assert stored(harness) <= LIMIT


async def test_a_flood_stays_within_bounds_at_every_moment(harness: ProcessHarness) -> None:
    """Twenty-four times the limit, and gone. What it wrote last is there, and so is what others wrote meanwhile."""
    loud, quiet = spec_of(harness, "loud", image="run"), spec_of(harness, "quiet", image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(loud)
        await harness.provider.apply(quiet)
        (endpoint,) = await table.ready(loud.ref)
        (other,) = await table.ready(quiet.ref)
        flood = asyncio.ensure_future(call(endpoint, FLOOD.encode()))
        most = calls = 0
        while not flood.done():
            status, _ = await call(other, b"import os; os.write(1, b'still here\\n')")
            assert status == 200
            calls += 1
            most = max(most, stored(harness))
        assert (await flood)[0] == 200
    assert calls > 1
    assert most <= 2 * LIMIT, "one limit for each of the two replicas"
    await written(harness, loud.ref, "the last line")
    await written(harness, quiet.ref, "still here")
    assert stored(harness) <= 2 * LIMIT


async def test_standard_output_can_be_opened_by_name(harness: ProcessHarness) -> None:
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        code = "open('/dev/stdout', 'w').write('by name\\n') and open('/dev/stderr', 'a').write('and this\\n')"
        status, answer = await call(endpoint, f"print(({code}))".encode())
        assert (status, answer.strip()) == (200, b"9")
    async for line in harness.provider.read_logs(LogQuery(ref=spec.ref, follow=True)):
        if line.text == "and this":
            break
