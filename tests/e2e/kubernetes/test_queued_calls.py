"""Queued calls on Kubernetes: two gateways on one NATS, while gateways and NATS are killed."""

from __future__ import annotations

import asyncio
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support import nats
from support.cluster import until
from support.gateways import ECHO, Session, session

pytestmark = [pytest.mark.anyio, pytest.mark.skipif(bool(nats.missing()), reason=nats.missing())]


@pytest.fixture
async def server() -> AsyncIterator[nats.NatsServer]:
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    server = nats.NatsServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def user(tmp_path: Path, server: nats.NatsServer) -> AsyncIterator[Session]:
    settings = {"HILBERT_QUEUE__NATS_URL": server.url, "HILBERT_QUEUE__MIN_WAIT": "200ms"}
    async with session(tmp_path, replicas=2, settings=settings) as user:
        await user.hilbert("deploy", "--image", ECHO, "--name", "echo", "--annotation", "com.hilbert.async.results=1h")
        yield user


async def queue(user: Session, body: bytes, place: int = 0) -> str:
    """The call's id; empty without a promise."""
    try:
        answer = await user.http.post(f"{user.gateways[place]}/async-function/echo", content=body)
    except (httpx2.HTTPError, IndexError):
        return ""
    return str(answer.headers["X-Call-Id"]) if answer.status_code == 202 else ""


async def state(user: Session, call: str, place: int = 0) -> str:
    try:
        answer = await user.http.get(f"{user.gateways[place]}/async-function/{call}", auth=("admin", user.password))
    except (httpx2.HTTPError, IndexError):
        return ""
    found: dict[str, Any] = answer.json() if answer.status_code == 200 else {}
    return str(found.get("state", ""))


async def ended(user: Session, call: str, place: int = 0) -> None:
    async def has() -> bool:
        return await state(user, call, place) == "succeeded"

    await until(has)


async def test_two_gateways_share_a_queue_and_lose_nothing(user: Session, server: nats.NatsServer) -> None:
    """One installation for all of it: to make one takes longest."""
    await a_call_that_one_gateway_accepts_is_known_to_the_other(user)
    await what_is_too_large_for_nats_is_answered_with_413(user)
    await no_acknowledged_call_is_lost_when_gateways_and_nats_are_killed(user, server)


async def a_call_that_one_gateway_accepts_is_known_to_the_other(user: Session) -> None:
    call = await queue(user, b"hello", 0)
    assert call
    assert await state(user, call, 1) in ("queued", "running", "succeeded")
    await ended(user, call, 1)
    answer = await user.http.get(f"{user.gateways[1]}/async-function/{call}/result", auth=("admin", user.password))
    assert (answer.status_code, answer.content) == (200, b"hello")


async def what_is_too_large_for_nats_is_answered_with_413(user: Session) -> None:
    answer = await user.http.post(f"{user.gateways[0]}/async-function/echo", content=b"x" * (1 << 20))
    assert answer.status_code == 413
    assert "max_payload" in answer.text


async def no_acknowledged_call_is_lost_when_gateways_and_nats_are_killed(
    user: Session, server: nats.NatsServer
) -> None:
    told: list[str] = []
    for number in range(60):
        if number == 20:
            pod = user.pods("app=gateway", "openfaas")[0]["metadata"]["name"]
            await user.kubectl("delete", "pod", pod, "-n", "openfaas", "--force", "--grace-period=0")
        if number == 40:
            await asyncio.to_thread(server.stop, signal.SIGKILL)
            await asyncio.to_thread(server.start)
        told.append(await queue(user, b"%d" % number, number % 2))
    acknowledged = [call for call in told if call]
    assert len(acknowledged) > 30
    await until(lambda: len(user.gateways) == 2)
    for call in acknowledged:
        await ended(user, call)
