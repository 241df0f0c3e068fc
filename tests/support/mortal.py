"""A process that runs a host provider on the process runtime and can be killed, also by itself at a chosen moment.

    python -m support.mortal FOLDER LEVEL MOMENT

applies one function, unless it is there, and prints a line of JSON once it is ready. MOMENT is one of `MOMENTS`, at which
the process kills itself without any chance to clean up, or `never`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import uvloop

from hilbert.core.isolation import Promise
from hilbert.core.model import FunctionSpec
from hilbert.core.network import NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaPlan, Runtime
from hilbert.core.values import Duration
from hilbert.runtimes.host import HostRuntime
from hilbert.testing.harness import spec_of, watching
from support.processes import ProcessHarness

MOMENTS = (
    "before the first handle",
    "before the first handle is stored",
    "after the first handle is stored",
    "before the second handle is stored",
    "after the second handle is stored",
    "after the start",
)


class Dying:
    """A runtime that ends its process at one moment of the first start."""

    name = "process"

    def __init__(self, runtime: HostRuntime, moment: str) -> None:
        self._runtime = runtime
        self._moment = moment

    def _die_at(self, moment: str) -> None:
        if moment == self._moment:
            os.kill(os.getpid(), signal.SIGKILL)

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        self._runtime.check_spec(spec, network=network, required=required)

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        self._die_at("before the first handle")
        word = "first"
        async for handle in self._runtime.start(plan):
            self._die_at(f"before the {word} handle is stored")
            yield handle
            self._die_at(f"after the {word} handle is stored")
            word = "second"
        self._die_at("after the start")

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        await self._runtime.stop(handle, grace=grace)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        return await self._runtime.check(handles)

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        await self._runtime.update_secrets(handle, secrets)

    def subscribe(self, changed: object) -> None:
        self._runtime.subscribe(changed)  # type: ignore[arg-type]  # passed on as it comes


class Mortal(ProcessHarness):
    def __init__(self, folder: Path, level: str, moment: str) -> None:
        super().__init__(level, folder=folder)
        self._moment = moment

    def wrap(self, runtime: HostRuntime) -> Runtime:
        return Dying(runtime, self._moment)


async def main(folder: str, level: str, moment: str) -> None:
    harness = Mortal(Path(folder), level, moment)
    provider = await harness.start()
    spec = spec_of(harness)
    await provider.apply(spec)
    async with watching(provider) as table:
        (endpoint,) = await table.ready(spec.ref)
    seen = {"address": endpoint.address, "replica": endpoint.replica, "pid": harness.pid_of(endpoint)}
    print(json.dumps(seen), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
