"""What the attacks from inside a function share: a host provider at each sandbox level, for whoever runs the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from attack.function.bystander import bystander, outside
from attack.function.scene import Scene
from hilbert.core.model import Endpoint
from support.processes import RUNTIMES, ProcessHarness, is_of


@pytest.fixture(scope="session")
def calm() -> Iterator[Endpoint]:
    with outside() as endpoint:
        yield endpoint


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest, calm: Endpoint) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param)
    await harness.start()
    try:
        async with bystander(harness, calm):
            yield harness
    finally:
        await harness.close()
    assert not [process for process in psutil.process_iter() if is_of(process, harness.folder)]


@pytest.fixture
async def scene(harness: ProcessHarness) -> Scene:
    scene = Scene(harness)
    await scene.open()
    return scene
