"""What the attacks from inside a function share: a host provider at each sandbox level, for whoever runs the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import psutil
import pytest

from attack.function.bystander import bystander
from attack.function.scene import Scene
from support.processes import RUNTIMES, ProcessHarness, is_of

_FEW: Final = 3
"""Attacks during which somebody else may wait for this machine's own reasons."""


@pytest.fixture(scope="module")
def late() -> Iterator[list[bool]]:
    """For each attack of a module, whether somebody else had to wait."""
    found: list[bool] = []
    yield found
    assert sum(found) <= max(_FEW, len(found) / 2), f"somebody else waited in {sum(found)} of {len(found)} attacks"


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest, late: list[bool]) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param)
    await harness.start()
    try:
        async with bystander(harness, late):
            yield harness
    finally:
        await harness.close()
    assert not [process for process in psutil.process_iter() if is_of(process, harness.folder)]


@pytest.fixture
async def scene(harness: ProcessHarness) -> Scene:
    scene = Scene(harness)
    await scene.open()
    return scene
