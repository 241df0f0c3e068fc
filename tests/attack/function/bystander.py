"""The oracle of attacks from inside a function: somebody else's function, called all the time while the attack goes on."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

from attack.waiting import judge, slowest
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


_OUTSIDE: Final = """
import os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen(16)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    with client:
        data = b""
        while b"\\r\\n\\r\\n" not in data and (part := client.recv(65536)):
            data += part
        with open(sys.argv[2], "rb") as file:
            body = file.read()
        client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
"""


@contextlib.contextmanager
def outside() -> Iterator[Endpoint]:
    """A process of the test's own that answers as the bystander does: what makes it slow is this machine, not an attack."""
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
        secret, place = Path(folder, "secret"), Path(folder, "sock")
        secret.write_bytes(_VALUE)
        command = [sys.executable, "-I", "-c", _OUTSIDE, str(place), str(secret)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                yield Endpoint(replica="outside", address=f"unix:{place}")
            finally:
                process.kill()


@contextlib.asynccontextmanager
async def bystander(harness: ProcessHarness, calm: Endpoint) -> AsyncIterator[None]:
    """Its calls all succeed with its own answer, its replica is never another one, and its secret stays what it is.

    Its slowest calls are compared with those of `calm`, made at the same time, and with its own right before and after.
    """
    provider = harness.provider
    await provider.create_namespace(Namespace(name=_NAMESPACE))
    await provider.create_secret(Secret(_NAMESPACE, _SECRET, _VALUE))
    spec = spec_of(harness, "bystander", "bystander", image="run", secrets=(_SECRET,))
    async with watching(provider) as table:
        await provider.apply(spec)
        (endpoint,) = await table.ready(spec.ref)
        compared = [await _call(endpoint) for _ in range(_CALM)]
        done = asyncio.Event()
        calls = [asyncio.create_task(_call_on(one, done)) for one in (endpoint, calm)]
        try:
            yield
        finally:
            done.set()
            took, meanwhile = await asyncio.gather(*calls)
        compared += [await _call(endpoint) for _ in range(_CALM)]
        assert await table.ready(spec.ref) == (endpoint,), "the bystander's replica is another one"
    judge(took, [slowest(compared), slowest(meanwhile)])


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
