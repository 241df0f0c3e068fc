"""Health and readiness: what probes and load balancers ask."""

from __future__ import annotations

import pytest

from support.api import running

pytestmark = pytest.mark.anyio


async def test_healthy_from_the_start_ready_once_calls_can_be_routed() -> None:
    known = False
    async with running(is_ready=lambda: known) as api:
        assert (await api.call("GET", "/healthz", user="")).text == "OK"
        before = await api.call("GET", "/readyz", user="")
        assert before.status == 503
        assert "does not know its functions yet" in before.text
        known = True
        after = await api.call("GET", "/readyz", user="")
        assert (after.status, after.text) == (200, "OK")
