"""The host provider keeps the contract, with a runtime that announces changes and with one that does not."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hilbert.testing.provider import ProviderContract
from support.hosts import HostHarness
from support.runtimes import AnnouncingRuntime, FakeRuntime


@pytest.fixture(params=[FakeRuntime, AnnouncingRuntime])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[HostHarness]:
    harness = HostHarness(request.param)
    await harness.start()
    yield harness
    await harness.close()


class TestHost(ProviderContract):
    pass
