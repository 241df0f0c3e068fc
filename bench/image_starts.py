"""`python -m bench.image_starts STORE RUNS IMAGE...`: starts replicas of images, thaws them, and prints how long that took, as JSON.

With spare networks and without in turn, so that both are measured under the same load.

A process of its own, so that root and an ordinary user can be measured alike.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

from hilbert.core.model import FunctionSpec
from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.core.settings import ProcessSettings
from hilbert.core.values import DEFAULT_NAMESPACE, Duration, FunctionName, FunctionRef, NamespaceName
from hilbert.images.store import OciStore
from hilbert.kit import log
from hilbert.kit.http1.ask import ask
from hilbert.kit.inside import Dialer
from hilbert.runtimes.host import HostRuntime
from hilbert.runtimes.logs.folder import LogFolder
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.process.images import ImageStore
from hilbert.runtimes.replica.handle import ReplicaData

_LOOK_EVERY = 0.0005
_PAUSE = 0.4
"""Seconds before a start, in which spare networks are made."""
KINDS = {"": 2, ", no spare networks": 0}

Times = dict[str, dict[str, list[float]]]


async def main(store: str, runs: int, images: list[str]) -> dict[str, Times]:
    runtimes = {
        kind: await _open(store, spares, f"10.{213 + number}.0.0/16")
        for number, (kind, spares) in enumerate(KINDS.items())
    }
    found: dict[str, Times] = {kind: {} for kind in KINDS}
    for image in images:
        # The first start is not counted: it reads the image from the disk.
        for number in range(runs + 1):
            for kind, runtime in runtimes.items():
                await asyncio.sleep(_PAUSE)
                times = found[kind].setdefault(image, {"start": [], "thaw": [], "memory": []})
                for what, one in (await _measure(runtime, image, number)).items():
                    times[what] += one if number else []
    for runtime in runtimes.values():
        await runtime.close()
    return found


async def _open(store: str, spares: int, pool: str) -> HostRuntime:
    folder = Path(tempfile.mkdtemp(prefix="hb-"))
    (folder / "run" / "r").mkdir(parents=True)
    for place in (folder, folder / "run", folder / "run" / "r"):
        place.chmod(0o711)
    runtime = HostRuntime(
        folder / "run",
        images=ImageStore(folder / "images", shipped=folder / "shipped"),
        logs=LogFolder(folder / "logs", pipes=folder / "run" / "pipes", limit=1 << 20),
        network=Network(folder / "run", pool=pool),
        store=OciStore(Path(store)),
        settings=ProcessSettings(spares=spares),
    )
    await runtime.open()
    await runtime.facts()  # Other ways to run images are tried at first.
    return runtime


async def _measure(runtime: HostRuntime, image: str, number: int) -> dict[str, list[float]]:
    """Milliseconds and bytes."""
    dialer = Dialer(ahead=1)
    began = time.perf_counter()
    handle = await _start(runtime, image, number)
    data = ReplicaData.of(handle)
    address = data.address(handle.replica)
    while not await ask(address, "/", dialer=dialer):
        if (seen := (await runtime.check([handle]))[0]).state == "exited":
            raise RuntimeError(f"{image}: {seen.message}: {seen.said}")
        await asyncio.sleep(_LOOK_EVERY)
    start = (time.perf_counter() - began) * 1e3
    while (await runtime.check([handle]))[0].state != "ready":
        await asyncio.sleep(0.005)
    memory: list[float] = [usage.memory_bytes for usage in runtime.measure([handle]).values()]
    await runtime.freeze(handle)
    began = time.perf_counter()
    await runtime.thaw(handle)
    if not await ask(address, "/", dialer=dialer):
        raise RuntimeError("a thawed replica did not answer")
    thaw = (time.perf_counter() - began) * 1e3
    await runtime.stop(handle, grace=Duration(0))
    dialer.close()
    return {"start": [start], "thaw": [thaw], "memory": memory}


async def _start(runtime: HostRuntime, image: str, number: int) -> Handle:
    spec = FunctionSpec(ref=FunctionRef(NamespaceName(DEFAULT_NAMESPACE), FunctionName("bench")), image=image)
    plan = ReplicaPlan(replica=f"bench-{number:010}", spec=spec, generation=1, secrets={})
    last: Handle | None = None
    async for handle in runtime.start(plan):
        last = handle
    if last is None:
        raise RuntimeError("nothing was started")
    return last


if __name__ == "__main__":
    log.configure(level="error")
    print(json.dumps(asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))))
