"""The host provider keeps the contract on the process runtime, at each sandbox level of this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hilbert.testing.provider import ProviderContract
from support.processes import RUNTIMES, ProcessHarness


@pytest.fixture(params=[*((kind, 0) for kind in RUNTIMES), ("image", 2)], ids=[*RUNTIMES, "image in spare networks"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[ProcessHarness]:
    level, spares = request.param
    harness = ProcessHarness(level, spares=spares)
    await harness.start()
    yield harness
    await harness.close()


class TestProcess(ProviderContract):
    pass
