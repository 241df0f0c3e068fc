"""What the attacks from inside a function share: a host provider at each sandbox level, for whoever runs the tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.processes import RUNTIMES, ProcessHarness


@pytest.fixture(params=RUNTIMES)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    harness = ProcessHarness(request.param)
    await harness.start()
    yield harness
    await harness.close()
