"""A gateway on a unix socket for each test, over functions in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.api import Api, running


@pytest.fixture
async def api(anyio_backend: object) -> AsyncIterator[Api]:
    """A gateway with a password, the default namespace, and `dev` beside it."""
    async with running() as found:
        await found.call("POST", "/system/namespace/", {"name": "dev", "annotations": {"openfaas": "1"}})
        yield found
