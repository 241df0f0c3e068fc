"""The memory provider keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hilbert.core.model import Endpoint
from hilbert.providers.memory import MemoryProvider
from hilbert.testing.harness import Alone
from hilbert.testing.provider import ProviderContract


class MemoryHarness(Alone):
    image = "any"

    def __init__(self) -> None:
        self.provider = MemoryProvider()

    async def crash(self, endpoint: Endpoint) -> bool:
        return False

    async def restart(self) -> bool:
        return False


@pytest.fixture
async def harness() -> AsyncIterator[MemoryHarness]:
    harness = MemoryHarness()
    yield harness
    await harness.provider.close()


class TestMemory(ProviderContract):
    pass
