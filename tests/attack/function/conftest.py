"""What the attacks from inside a function share: a host provider at each sandbox level, for whoever runs the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.processes import LEVELS, ProcessHarness


@pytest.fixture(params=LEVELS)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param)
    await harness.start()
    yield harness
    await harness.close()
