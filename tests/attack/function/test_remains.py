"""What a function leaves in its scratch space does not occupy the platform, whatever it is, and is gone in the end."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest

from hilbert.core.model import Secret
from hilbert.core.values import DEFAULT_NAMESPACE, SecretName
from hilbert.testing.harness import call, eventually, spec_of, watching
from support.processes import ProcessHarness

pytestmark = pytest.mark.anyio

NESTED = """
import os
folder = os.open(os.environ["TMPDIR"], os.O_RDONLY)
for _ in range(3000):
    os.mkdir("d", dir_fd=folder)
    deeper = os.open("d", os.O_RDONLY, dir_fd=folder)
    os.close(folder)
    folder = deeper
os.fchmod(folder, 0)
"""
STRANGE = """
import os
scratch = os.environ["TMPDIR"]
os.makedirs(scratch + "/closed/inner")
os.symlink("/", scratch + "/closed/root")
os.symlink("closed", scratch + "/self")
os.mkfifo(scratch + "/closed/pipe")
open(scratch + "/" + "n" * 255, "w").close()
os.chmod(scratch + "/closed", 0)
"""


@pytest.mark.parametrize("code", [NESTED, STRANGE], ids=["nested", "strange"])
async def test_what_a_function_leaves_is_removed(harness: ProcessHarness, code: str) -> None:
    spec = spec_of(harness, image="run")
    async with watching(harness.provider) as table:
        await harness.provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        with contextlib.suppress(OSError, IndexError):  # It may be ended for its folders before it has answered.
            await call(endpoint, code.encode())
        await harness.provider.remove(spec.ref)
        folder = harness.folder / "run" / "r" / endpoint.replica.rpartition("-")[2]
        await eventually(lambda: not folder.exists())
    await eventually(lambda: os.listdir(harness.folder / "run" / "trash") == [], within=60)


async def test_a_secret_that_is_updated_while_replicas_end_is_left_nowhere(harness: ProcessHarness) -> None:
    """Neither does the update fail, nor does a folder stay behind with it."""
    if harness.level != "bubblewrap":
        pytest.skip("the same code at each level")
    name = SecretName("key")
    await harness.provider.create_secret(Secret(DEFAULT_NAMESPACE, name, b"old"))
    spec = spec_of(harness, secrets=(name,))
    others = os.listdir(harness.folder / "run" / "r")
    async with watching(harness.provider) as table:
        for number in range(20):
            await harness.provider.apply(spec)
            await table.ready(spec.ref)
            updating = asyncio.ensure_future(_update_often(harness, name, number))
            await harness.provider.remove(spec.ref)
            await eventually(lambda: os.listdir(harness.folder / "run" / "r") == others)
            updating.cancel()
            await asyncio.gather(updating, return_exceptions=True)
            assert updating.cancelled(), updating.exception()
    await eventually(lambda: os.listdir(harness.folder / "run" / "trash") == [])


async def _update_often(harness: ProcessHarness, name: SecretName, number: int) -> None:
    """A thousand times a second at most: a loop of this process's that never waits would hold up the health checks of all."""
    while True:
        await harness.provider.update_secret(Secret(DEFAULT_NAMESPACE, name, b"new %d" % number))
        await asyncio.sleep(0.001)
