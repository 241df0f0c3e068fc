"""Replicas that run, whichever runtime has started them: taken back, asked how they are, told to stop, cleaned up after.

Everything here works from handles. A runtime adds how a replica is started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from hilbert.core.errors import StartFailed
from hilbert.core.last_words import LINES, telling_line
from hilbert.core.model import CpuTime, Usage
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaLogs
from hilbert.core.values import Duration, FunctionName, FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.inside import Dialer
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.replica import freezing, proc
from hilbert.runtimes.replica.folder import put_secrets, remove_secrets
from hilbert.runtimes.replica.groups import UsageMeter, cpu_of, kill_groups, measure, out_of_memory, remove_groups
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.monitor import Ending, Monitor
from hilbert.runtimes.replica.scratch import ON_DISK, ScratchWatch
from hilbert.runtimes.replica.trash import Trash

_log = structlog.get_logger("hilbert.replicas")

_ADOPTION_MOST: Final = 1.0
"""Seconds for a replica that was taken back to answer before it counts as starting."""

PROBE_PERIOD: Final = 2.0
PROBE_TIMEOUT: Final = 1.0
PROBE_FAILURES: Final = 3
"""As OpenFaaS's Helm chart probes: every two seconds, one second to answer, three failures in a row."""
_PROBES_A_SECOND: Final = 25
"""Most health requests to all replicas together; with more replicas each is asked more rarely."""
_DIALED_AHEAD: Final = 4
_MOST_SPENT: Final = 10_000
"""Replicas that have ended whose CPU time is kept; nobody asks for it where usage is not added up."""


class Replicas:
    """`open` it before use, `close` it at the end: replicas go on."""

    def __init__(
        self, run_dir: Path, *, logs: ReplicaLogs, network: Network | None, probe_period: float = PROBE_PERIOD
    ) -> None:
        """`run_dir` holds one folder for each replica, in `r/`. Without a `network`, replicas have this machine's, or none."""
        self.folder = run_dir / "r"
        self.logs = logs
        self.network = network
        self._dialer = Dialer(ahead=_DIALED_AHEAD)
        self._probe_period = probe_period
        self._trash = Trash(run_dir / "trash")
        self._ending: set[str] = set()
        """Replicas whose folders are being removed: nothing is put there any more."""
        self._monitors: dict[str, Monitor] = {}
        self._subscribers: list[Callable[[str], None]] = []
        self._pulse: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._measuring: asyncio.Task[None] | None = None
        self._meter = UsageMeter()
        self._spent: deque[CpuTime] = deque(maxlen=_MOST_SPENT)
        """Of replicas that have ended, until somebody asks."""
        self._uplink = ""
        self._owner: Callable[[int], tuple[int, int] | None] = lambda _: None

    def open(self, *, uplink: str, owner: Callable[[int], tuple[int, int] | None], scratch: int = 0) -> None:
        """`uplink` is how packets leave a replica's network here; `owner` gives the user of a namespace by its number.

        `scratch`: bytes that a replica may have in scratch space that is on disk; 0 is no limit.
        """
        self._uplink = uplink
        self._owner = owner
        self._trash.open()
        self._pulse = spawn(self._probe_all(), name="health")
        if scratch:
            self._measuring = spawn(
                ScratchWatch(scratch, self._on_disk, self._end_for_scratch).run(), name="scratch space"
            )

    async def close(self) -> None:
        """Look after no replica any more. They go on."""
        await cancel(self._pulse, self._measuring)
        await cancel(*self._probes)
        await asyncio.gather(*(monitor.close() for monitor in self._monitors.values()))
        self._monitors.clear()
        self._dialer.close()
        if self.network is not None:
            await self.network.close()
        await self._trash.close()

    # For those who start replicas

    def place(self, replica: str) -> Path:
        """Where the folder of a new replica goes."""
        return self.folder / replica.rpartition("-")[2]

    def watch(
        self, handle: Handle, descriptor: int, *, ending: Ending, frozen: bool = False, held: bool = False
    ) -> Monitor:
        """Look after a replica. `descriptor` is a pidfd, taken over; `ending` says how it ended once it has.

        `held`: it has not begun, which `Monitor.let_go` tells.
        """
        monitor = Monitor(
            handle,
            descriptor,
            ending=ending,
            dialer=self._dialer,
            explain=self._explain,
            changed=self._announce,
            frozen=frozen,
            held=held,
        )
        self._monitors[handle.replica] = monitor
        return monitor

    async def attach(self, handle: Handle, descriptor: int, *, spare: str = "") -> None:
        """Give a replica, that waits to be let go, the network that its handle says. Raises `StartFailed`.

        `spare`: it has it already, by that name.
        """
        data = ReplicaData.of(handle)
        order = self.order(handle.replica, handle.ref, data)
        if self.network is None or order is None:
            return
        if not spare:
            await self.network.attach(order, data.pid, descriptor)
        elif why := await self.network.move_in(spare, order, data.pid, descriptor, None):
            raise StartFailed("the replica's network could not be set up", detail=why, hint="see 'hilbert doctor'")

    def order(self, replica: str, ref: FunctionRef, data: ReplicaData) -> Attach | None:
        """What the replica's network is to be, from its handle; None where it has none that is ours to make."""
        led_out = data.placement.get("network") == NetworkKind.TENANT
        if not led_out and not (data.port and data.placement.get("network") == NetworkKind.NONE):
            return None
        egress = data.placement.get("egress", "none") if led_out else "none"
        uplink = "" if egress == "none" else self._uplink
        return Attach(
            replica=replica,
            namespace=ref.namespace,
            uplink=uplink,
            egress=egress,
            resolves=bool(uplink),
            gateway=led_out,
            called=bool(data.port),
        )

    def usual_order(self, replica: str, *, called: bool = False) -> Attach | None:
        """The network of one whose namespace asks for nothing else. `called`: it listens on a port of its own."""
        use = NetworkUse()
        placement = {"network": use.kind.value, "egress": str(use.egress) if self._uplink else "none"}
        data = ReplicaData(port=int(called), placement=placement)
        return self.order(replica, FunctionRef(NamespaceName("spare"), FunctionName("spare")), data)

    # What every runtime does with a handle

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        data = ReplicaData.of(handle)
        monitor = self._monitors.get(handle.replica) or self._adopt(handle)
        if monitor is not None and not monitor.exited.is_set():
            if monitor.frozen:
                await self.thaw(handle)
            if grace.ns and monitor.may_serve:
                monitor.ask_to_end()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace.seconds):
                        await monitor.exited.wait()
            if not monitor.exited.is_set():
                if grace.ns and monitor.may_serve:
                    _log.warning("calls were cut", function=str(handle.ref), replica=handle.replica, grace=str(grace))
                await asyncio.to_thread(_kill, data)
                await monitor.exited.wait()
        self._ending.add(handle.replica)
        try:
            spent = await asyncio.to_thread(_clean, data)
            if spent is not None:
                self._spent.append(CpuTime(handle.ref, handle.replica, spent, ended=True))
            if data.folder:
                self._trash.discard(Path(data.folder))
        finally:
            self._ending.discard(handle.replica)
        self._monitors.pop(handle.replica, None)
        if monitor is not None:
            await monitor.close()
        self._meter.forget(handle.replica)
        if data.port:
            self._dialer.forget(data.address(handle.replica).removeprefix("inside:"))
        if self.network is not None:
            self.network.forget(handle.replica)
        self.logs.retire(handle.ref, handle.replica)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        """As the port. A replica that is seen for the first time is given a moment to answer."""
        taken_back: list[Monitor] = []
        found: list[Monitor | None] = []
        for handle in handles:
            monitor = self._monitors.get(handle.replica)
            if monitor is None:
                monitor = self._adopt(handle)
                if monitor is not None:
                    taken_back.append(monitor)
            found.append(monitor)
        if taken_back:
            waits = [asyncio.ensure_future(monitor.answered.wait()) for monitor in taken_back]  # noqa: TID251
            await asyncio.wait(waits, timeout=_ADOPTION_MOST)
            await cancel(*waits)
        return [
            Observed(replica=handle.replica, state="exited", reason="Exited", message="a replica is gone")
            if monitor is None
            else monitor.observed()
            for handle, monitor in zip(handles, found, strict=True)
        ]

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        data = ReplicaData.of(handle)
        if not data.folder or handle.replica in self._ending:
            return
        with contextlib.suppress(FileNotFoundError):
            # One that was deleted stays with those who have it.
            user = self._owner(data.tenant)
            put_secrets(Path(data.folder), secrets, user=user, everyone=data.everyone, keep=True)

    async def freeze(self, handle: Handle) -> None:
        """As `providers.host.extra.Freezing`."""
        monitor = self._monitors.get(handle.replica)
        if monitor is None or monitor.state != "ready":
            raise StartFailed("a replica that is not ready cannot be frozen")
        monitor.frozen = True  # First: a health request under way is not to count.
        try:
            await asyncio.to_thread(freezing.freeze, monitor.data)
        except OSError as exc:
            monitor.frozen = False
            raise StartFailed("a replica could not be frozen", detail=str(exc)) from exc

    async def thaw(self, handle: Handle) -> None:
        """As `providers.host.extra.Freezing`."""
        monitor = self._monitors.get(handle.replica)
        data = ReplicaData.of(handle)
        if data.groups:
            freezing.thaw(data)  # A write to a file of the kernel's: a call waits for it.
        else:
            await asyncio.to_thread(freezing.thaw, data)
        if monitor is not None:
            monitor.frozen = False

    def is_frozen(self, handle: Handle) -> bool:
        """As `providers.host.extra.Freezing`."""
        return freezing.is_frozen(ReplicaData.of(handle))

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._subscribers.append(changed)

    def measure(self, handles: Sequence[Handle]) -> Mapping[str, Usage]:
        found: dict[str, Usage] = {}
        for handle in handles:
            data = ReplicaData.of(handle)
            seen = measure(data.groups, data.pid) if data.pid else None
            if seen is not None:
                found[handle.replica] = self._meter.rate(handle.replica, *seen)
        return found

    def cpu_times(self, handles: Sequence[Handle]) -> Sequence[CpuTime]:
        """Of those that can be measured, and once of each that has ended since this was last asked. Blocks for a moment."""
        found = []
        while self._spent:
            found.append(self._spent.popleft())
        for handle in handles:
            data = ReplicaData.of(handle)
            seen = measure(data.groups, data.pid) if data.pid else None
            if seen is not None:
                found.append(CpuTime(handle.ref, handle.replica, seen[0]))
        return found

    # The rest

    def _adopt(self, handle: Handle) -> Monitor | None:
        """Take back a replica that an earlier run has started; None when it is gone."""
        data = ReplicaData.of(handle)
        descriptor = proc.open_process(data.pid, data.started) if data.pid else None
        if descriptor is None:
            return None
        self.logs.adopt(handle.ref, handle.replica, bare=bool(data.port))
        order = self.order(handle.replica, handle.ref, data)
        if order is not None:
            spawn(self._keep_network(order, data, os.dup(descriptor)), name=f"network {handle.replica}")
        return self.watch(handle, descriptor, ending=Ending(), frozen=freezing.is_frozen(data))

    async def _keep_network(self, order: Attach, data: ReplicaData, descriptor: int) -> None:
        """See to it that the network of a replica that was taken back is kept, as it was."""
        try:
            if self.network is not None:
                await self.network.attach(order, data.pid, descriptor)
        except StartFailed as exc:
            _log.warning("a replica has lost its network", replica=order.replica, reason=exc.detail or exc.message)
        finally:
            os.close(descriptor)

    def _on_disk(self) -> Iterator[tuple[str, Path, int, tuple[str, ...]]]:
        """Replicas whose scratch space is a folder on disk."""
        for name, monitor in self._monitors.items():
            data = monitor.data
            if data.placement.get("sandbox") in ON_DISK and data.pid and not monitor.exited.is_set():
                yield name, Path(data.folder) / "tmp", data.pid, data.groups

    def _end_for_scratch(self, replica: str, why: str) -> None:
        monitor = self._monitors.get(replica)
        if monitor is not None and not monitor.exited.is_set():
            monitor.condemn(why)
            _log.warning("a replica is ended", function=str(monitor.ref), replica=replica, reason=why)
            spawn(asyncio.to_thread(_kill, monitor.data), name=f"end {replica}")

    def _announce(self, replica: str) -> None:
        for changed in self._subscribers:
            changed(replica)

    async def _explain(self, handle: Handle) -> tuple[str, str]:
        reason = "OOMKilled" if out_of_memory(ReplicaData.of(handle).groups) else ""
        return reason, telling_line(await self.logs.last_lines(handle.ref, handle.replica, LINES))

    async def _probe_all(self) -> None:
        """Ask every replica for its health, in turn, at a bounded rate."""
        while True:
            ready = [monitor for monitor in self._monitors.values() if monitor.state == "ready" and not monitor.frozen]
            pause = max(self._probe_period, len(ready) / _PROBES_A_SECOND) / max(1, len(ready))
            for monitor in ready:
                await asyncio.sleep(pause)
                task = spawn(self._probe(monitor), name=f"health {monitor.handle.replica}")
                self._probes.add(task)
                task.add_done_callback(self._probes.discard)
            if not ready:
                await asyncio.sleep(pause)

    async def _probe(self, monitor: Monitor) -> None:
        """One health request; after a bad answer some more, soon."""
        if monitor.probing:
            return
        monitor.probing = True
        timeout = min(PROBE_TIMEOUT, self._probe_period)
        try:
            for attempt in range(PROBE_FAILURES):
                if attempt:
                    await asyncio.sleep(self._probe_period)
                if await monitor.probe(timeout):
                    return
            monitor.fail(
                f"a replica did not answer {PROBE_FAILURES} health requests in a row, each within {timeout:g} s"
            )
        finally:
            monitor.probing = False


def _kill(data: ReplicaData) -> None:
    """End a replica that runs, with all that it has started."""
    kill_groups(data.groups)
    descriptor = proc.open_process(data.pid, data.started)
    if descriptor is not None:
        os.close(descriptor)
        proc.kill_tree(data.pid)


def _clean(data: ReplicaData) -> float | None:
    """Remove what a replica that has ended left behind. Returns the CPU seconds that it has used, where a group tells."""
    kill_groups(data.groups)
    spent = cpu_of(data.groups)
    remove_groups(data.groups)
    # Of an image, a process may wait that was not written down yet, nor put into a group.
    if (data.pid and not data.groups) or (data.port and not data.pid):
        proc.kill_marked(data.folder)
    if data.folder:
        remove_secrets(Path(data.folder))
    return spent
