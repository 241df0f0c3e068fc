"""The oracle of attacks from inside a function: somebody else's function, called all the time while the attack goes on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Final

from attack.waiting import judge
from hilbert.core.model import Endpoint, Namespace, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.testing.harness import call, spec_of, watching
from support.processes import ProcessHarness

_NAMESPACE: Final = NamespaceName("bystander")
_SECRET: Final = SecretName("token")
_VALUE: Final = b"the bystander's own"
_EVERY: Final = 0.05
"""Seconds between two calls."""
_CALM: Final = 10
"""Calls before the attack, and after it, which tell how long one takes on this machine now."""
_PATIENCE: Final = 20.0
"""Seconds after which an answer counts as missing, on a machine that is busy with an attack."""
_ASK: Final = (
    b"import os; print(open(os.environ.get('HILBERT_SECRETS_DIR', '/var/openfaas/secrets') + '/token').read(), end='')"
)


@contextlib.asynccontextmanager
async def bystander(harness: ProcessHarness) -> AsyncIterator[None]:
    """Its calls all succeed with its own answer, its replica is never another one, and its secret stays what it is.

    Its slowest calls are compared with those right before and after the attack (`waiting`).
    """
    provider = harness.provider
    await provider.create_namespace(Namespace(name=_NAMESPACE))
    await provider.create_secret(Secret(_NAMESPACE, _SECRET, _VALUE))
    spec = spec_of(harness, "bystander", "bystander", image="run", secrets=(_SECRET,))
    async with watching(provider) as table:
        await provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        before = [await _call(endpoint) for _ in range(_CALM)]
        done = asyncio.Event()
        calls = asyncio.create_task(_call_on(endpoint, done))
        try:
            yield
        finally:
            done.set()
            took = await calls
        after = [await _call(endpoint) for _ in range(_CALM)]
        assert await table.ready(spec.ref) == (endpoint,), "the bystander's replica is another one"
    judge(took, before + after)


async def _call_on(endpoint: Endpoint, done: asyncio.Event) -> list[float]:
    """Call again and again; the seconds that each call took."""
    took = [await _call(endpoint)]
    while not done.is_set():
        took.append(await _call(endpoint))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(done.wait(), _EVERY)
    return took


async def _call(endpoint: Endpoint) -> float:
    began = time.monotonic()
    async with asyncio.timeout(_PATIENCE):
        status, answer = await call(endpoint, _ASK)
    assert (status, answer) == (200, _VALUE), (status, answer)
    return time.monotonic() - began
