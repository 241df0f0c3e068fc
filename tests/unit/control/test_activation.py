"""Waking functions at zero: once for any number of calls, never for what is awake, again after failures that pass."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import cast

import pytest
from structlog.testing import capture_logs

from hilbert.control.activation import Activation
from hilbert.core.errors import BackendUnavailable, FunctionNotFound, HilbertError, QuotaExceeded, SecretNotFound
from hilbert.core.model import FunctionSpec, FunctionStatus
from hilbert.core.ports import Provider
from hilbert.core.values import FunctionRef
from hilbert.providers.memory import MemoryProvider

pytestmark = pytest.mark.anyio

REF = FunctionRef.parse("f.openfaas-fn")


class Sleepy(MemoryProvider):
    """Counts scalings; waits for a gate, and fails as often as told."""

    def __init__(self) -> None:
        super().__init__()
        self.scaled: list[tuple[str, int]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[HilbertError] = []
        self.asked = 0
        self.noticed: list[tuple[str, str, str]] = []

    def notice(self, ref: FunctionRef, reason: str, message: str, *, warning: bool = False) -> None:
        assert not warning
        self.noticed.append((str(ref), reason, message))

    async def get(self, ref: FunctionRef) -> FunctionStatus:
        self.asked += 1
        return await super().get(ref)

    async def scale(self, ref: FunctionRef, replicas: int) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.scaled.append((str(ref), replicas))
        await super().scale(ref, replicas)


@pytest.fixture
async def provider(anyio_backend: object) -> AsyncIterator[Sleepy]:
    found = Sleepy()
    await found.apply(FunctionSpec(ref=REF, image="i", labels={"com.openfaas.scale.min": "2"}))
    await MemoryProvider.scale(found, REF, 0)
    yield found
    await found.close()


@contextlib.asynccontextmanager
async def activation_of(provider: Sleepy) -> AsyncIterator[Activation]:
    found = Activation(cast(Provider, provider), workers=2)
    found.start()
    try:
        yield found
    finally:
        await found.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def all_is_done(activation: Activation) -> None:
    """Wait until no function is being woken, waits for its turn or is to be tried again."""
    queue = activation._queue
    await until(lambda: not (queue._queued or queue._active or queue._again or queue._timers))


async def test_a_thousand_calls_wake_once_to_the_least_scale(provider: Sleepy) -> None:
    provider.gate.clear()
    async with activation_of(provider) as activation:
        for _ in range(1000):
            activation.wake(REF)
        await until(lambda: provider.asked == 1)
        for _ in range(1000):
            activation.wake(REF)
        provider.gate.set()
        await until(lambda: provider.asked == 2)
        await all_is_done(activation)
        assert provider.scaled == [("f.openfaas-fn", 2)]
        assert activation.woken == 1
        assert provider.noticed == [("f.openfaas-fn", "Woken", "0 => 2 replicas (a call came)")]


async def test_what_is_awake_is_left_alone(provider: Sleepy) -> None:
    await MemoryProvider.scale(provider, REF, 5)
    async with activation_of(provider) as activation:
        activation.wake(REF)
        await until(lambda: provider.asked == 1)
        await all_is_done(activation)
    assert provider.scaled == []
    assert (await provider.get(REF)).replicas == 5


async def test_asleep_again_is_woken_again(provider: Sleepy) -> None:
    async with activation_of(provider) as activation:
        for number in (1, 2):
            activation.wake(REF)
            await until(lambda number=number: activation.woken == number)  # type: ignore[misc]
            await MemoryProvider.scale(provider, REF, 0)
    assert len(provider.scaled) == 2


async def test_a_failure_that_may_pass_is_tried_again(provider: Sleepy) -> None:
    provider.failures = [BackendUnavailable("away")] * 2
    with capture_logs():
        async with activation_of(provider) as activation:
            activation.wake(REF)
            await until(lambda: activation.woken == 1)
    assert provider.scaled == [("f.openfaas-fn", 2)]


@pytest.mark.parametrize("failure", [QuotaExceeded("no more"), FunctionNotFound("gone")])
async def test_a_failure_that_stays_is_not(provider: Sleepy, failure: HilbertError) -> None:
    provider.failures = [failure]
    with capture_logs() as logged:
        async with activation_of(provider) as activation:
            activation.wake(REF)
            await until(lambda: provider.failures == [])
            await all_is_done(activation)
            assert provider.asked == 1
    assert [entry["reason"] for entry in logged] == [failure.message]


async def test_what_does_not_exist_wakes_nobody(provider: Sleepy) -> None:
    with capture_logs():
        async with activation_of(provider) as activation:
            activation.wake(FunctionRef.parse("nope.openfaas-fn"))
            activation.wake(FunctionRef.parse("f.nowhere"))
            await until(lambda: provider.asked == 2)
            activation.wake(REF)
            await until(lambda: activation.woken == 1)
    assert provider.scaled == [("f.openfaas-fn", 2)]


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (QuotaExceeded("com.hilbert.quota.replicas is 2"), "QuotaExceeded: the namespace's quota is used up"),
        (SecretNotFound("unable to find secret: key"), "SecretNotFound: a secret that it needs does not exist"),
        (FunctionNotFound("f"), ""),
        (BackendUnavailable("away"), ""),
    ],
)
async def test_who_waits_for_what_cannot_be_woken_is_told_at_once(
    provider: Sleepy, failure: HilbertError, told: str
) -> None:
    """But not what only those may know who govern it; what passes is tried again in silence."""
    heard: list[str] = []
    provider.failures.append(failure)
    async with activation_of(provider) as activation:
        activation.on_refused = lambda ref, fault: heard.append(f"{fault.reason}: {fault.message}")
        activation.wake(REF)
        async with asyncio.timeout(30):
            while provider.failures:
                await asyncio.sleep(0.001)
            activation.wake(REF)  # What comes after it has come.
            while not provider.scaled:
                await asyncio.sleep(0.001)
    assert heard == ([told] if told else [])
