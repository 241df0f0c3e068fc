"""A runtime without processes, and runtimes that fail in one named way each."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import httptools
import msgspec

from hilbert.core.errors import ImageUnavailable, StartFailed
from hilbert.core.isolation import Promise
from hilbert.core.model import Endpoint, FunctionSpec
from hilbert.core.network import NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaLogs, ReplicaPlan
from hilbert.core.values import Duration


class Body:
    """One replica of the world below: a real server that answers with the request's body and logs each call."""

    def __init__(self, plan: ReplicaPlan, address: Path, log: int) -> None:
        self.plan = plan
        self.address = address
        self.log = log
        self.server: asyncio.AbstractServer | None = None
        self.ready = False
        self.secrets = dict(plan.secrets)
        self.stopped_after: Duration | None = None


class World:
    """What goes on when a control plane dies: the replicas of a `FakeRuntime`."""

    def __init__(self, logs: ReplicaLogs) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hb-"))
        self.logs = logs
        self.bodies: dict[str, Body] = {}
        self.started: list[ReplicaPlan] = []
        self.stopped: list[tuple[str, Duration]] = []
        self.exits: dict[str, Observed] = {}
        self._logs: list[int] = []

    def open_log(self, plan: ReplicaPlan) -> int:
        """A log for one replica, open until the end of this world: a connection may outlive its replica for a moment."""
        self._logs.append(self.logs.open(plan.spec.ref, plan.replica))
        return self._logs[-1]

    def running(self) -> list[str]:
        return sorted(self.bodies)

    def die(self, replica: str, *, reason: str = "", message: str = "a replica exited with status 1: oops") -> None:
        """A replica ends by itself."""
        self._end(replica)
        self.exits[replica] = Observed(replica=replica, state="exited", reason=reason, message=message)

    def _end(self, replica: str) -> None:
        body = self.bodies.pop(replica)
        if body.server is not None:
            body.server.close()
        body.address.unlink(missing_ok=True)

    def close(self) -> None:
        for replica in list(self.bodies):
            self._end(replica)
        for descriptor in self._logs:
            os.close(descriptor)
        self._logs.clear()


class FakeRuntime:
    """Replicas are servers in this process. Says nothing by itself: the provider has to look."""

    name = "fake"

    def __init__(self, world: World) -> None:
        self.world = world
        self.steps: list[str] = []

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        if spec.image == "none":
            raise ImageUnavailable("image none can never run here")

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        handle = Handle(replica=plan.replica, ref=plan.spec.ref, generation=plan.generation)
        yield handle
        await self.step("handle stored")
        address = self.world.folder / plan.replica.rpartition("-")[2]
        body = Body(plan, address, self.world.open_log(plan))
        yield msgspec.structs.replace(handle, data={"pid": "1"})
        await self.step("process stored")
        self.world.bodies[plan.replica] = body
        self.world.started.append(plan)
        loop = asyncio.get_running_loop()
        body.server = await loop.create_unix_server(lambda: _Echo(body), str(address))
        await self.become_ready(body)
        await self.step("started")

    async def step(self, name: str) -> None:
        """A checkpoint."""
        self.steps.append(name)

    async def become_ready(self, body: Body) -> None:
        body.ready = True

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        self.world.stopped.append((handle.replica, grace))
        if handle.replica in self.world.bodies:
            self.world._end(handle.replica)
        self.world.logs.retire(handle.ref, handle.replica)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        return [self._observe(handle.replica) for handle in handles]

    def _observe(self, replica: str) -> Observed:
        body = self.world.bodies.get(replica)
        if body is None:
            return self.world.exits.get(replica) or Observed(replica=replica, state="exited", message="gone")
        endpoint = Endpoint(replica, f"unix:{body.address}")
        state = "ready" if body.ready else "starting"
        return Observed(replica=replica, state=state, endpoint=endpoint, placement={"runtime": "fake"})

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        if handle.replica in self.world.bodies:
            self.world.bodies[handle.replica].secrets.update(secrets)


class AnnouncingRuntime(FakeRuntime):
    """Tells of changes, as the process runtime does."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.subscribers: list[Callable[[str], None]] = []
        self.checks = 0

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self.subscribers.append(changed)

    def announce(self, replica: str) -> None:
        for changed in self.subscribers:
            changed(replica)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        self.checks += 1
        return await super().check(handles)

    async def become_ready(self, body: Body) -> None:
        body.ready = True
        self.announce(body.plan.replica)


class NeverReady(FakeRuntime):
    """Replicas that carry `broken` in their environment never become ready."""

    async def become_ready(self, body: Body) -> None:
        body.ready = "broken" not in body.plan.spec.env


class CannotStart(FakeRuntime):
    """Every start fails before anything runs."""

    async def step(self, name: str) -> None:
        raise StartFailed("the machine is made of cheese")


class FlakyRuntime(FakeRuntime):
    """The control plane hangs for ever at one checkpoint of a start, as if it had died there."""

    def __init__(self, world: World, *, fail_at: str) -> None:
        super().__init__(world)
        self.fail_at = fail_at
        self.failed = asyncio.Event()

    async def step(self, name: str) -> None:
        if name == self.fail_at:
            self.failed.set()
            await asyncio.Event().wait()


class SlowRuntime(FakeRuntime):
    """Starts take until the test lets them go on."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.go = asyncio.Event()
        self.waiting = 0

    async def step(self, name: str) -> None:
        if name == "process stored":
            self.waiting += 1
            await self.go.wait()


class Stubborn(FakeRuntime):
    """Stopping fails a number of times."""

    def __init__(self, world: World, *, times: int) -> None:
        super().__init__(world)
        self.times = times

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        if self.times:
            self.times -= 1
            raise OSError("not now")
        await super().stop(handle, grace=grace)


class _Echo(asyncio.Protocol):
    def __init__(self, body: Body) -> None:
        self._body = body
        self._parser = httptools.HttpRequestParser(self)
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._received += body

    def on_message_complete(self) -> None:

        now = time.time_ns()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 10**9)) + f".{now % 10**9:09}Z"
        os.write(self._body.log, f"{stamp} called with {len(self._received)} bytes\n".encode())
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._received)}\r\n\r\n"
        self._transport.write(head.encode() + bytes(self._received))
        self._received.clear()


class PreparingRuntime(FakeRuntime):
    """Fetches images, which takes until the test lets it go on; one called `missing` cannot be had."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.asked: list[tuple[FunctionSpec, int, bytes]] = []
        self.here = asyncio.Event()
        self.cancelled = 0

    async def prepare(self, spec: FunctionSpec, *, generation: int, pull_secret: bytes) -> None:
        self.asked.append((spec, generation, pull_secret))
        if spec.image == "missing":
            raise ImageUnavailable("image missing cannot be fetched")
        try:
            if spec.image == "slow":
                await self.here.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
