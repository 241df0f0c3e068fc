"""`ProcessRuntime`: the `Runtime` port over the pieces of this package."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.core.errors import InvalidSpec, StartFailed
from hilbert.core.isolation import Promise, render_promises
from hilbert.core.model import FunctionSpec, Usage
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaLogs, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings, ProcessSettings
from hilbert.core.values import Duration, FunctionRef, NamespaceName
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1.ask import safe_path
from hilbert.runtimes.network import files
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.network.survey import SHARED
from hilbert.runtimes.process import proc
from hilbert.runtimes.process.environment import render_environment
from hilbert.runtimes.process.groups import UsageMeter, kill_groups, measure, out_of_memory, remove_groups
from hilbert.runtimes.process.handle import ReplicaData
from hilbert.runtimes.process.images import ImageStore, open_to_others, open_way
from hilbert.runtimes.process.launch import abandon, launch
from hilbert.runtimes.process.limits import Allowance
from hilbert.runtimes.process.machine import Machine, survey
from hilbert.runtimes.process.monitor import Monitor
from hilbert.runtimes.process.network import without_unix_upstream
from hilbert.runtimes.process.replica_folder import make_folder, put_secrets, remove_secrets
from hilbert.runtimes.process.sandbox.contract import Occupant
from hilbert.runtimes.process.trash import Trash

_log = structlog.get_logger("hilbert.process")

_READY_PATH: Final = "com.openfaas.ready.http.path"
_HEALTH_PATH: Final = "com.openfaas.health.http.path"
_SOCKET_MOST: Final = 107
"""Bytes of a unix socket's path (unix(7))."""
_BACKLOG: Final = 4096
_ADOPTION_MOST: Final = 1.0
"""Seconds for a replica that was taken back to answer before it counts as starting."""

PROBE_PERIOD: Final = 2.0
PROBE_TIMEOUT: Final = 1.0
PROBE_FAILURES: Final = 3
"""As OpenFaaS's Helm chart probes: every two seconds, one second to answer, three failures in a row."""
_PROBES_A_SECOND: Final = 25
"""Most health requests to all replicas together; with more replicas each is asked more rarely."""


class ProcessRuntime:
    """Starts, stops and watches replicas as processes. `open` it before use, `close` it at the end: replicas go on.

    Also offers what `providers.host.extra` describes, and `Diagnostics`.
    """

    name = "process"

    def __init__(
        self,
        run_dir: Path,
        *,
        images: ImageStore,
        logs: ReplicaLogs,
        settings: ProcessSettings | None = None,
        network: Network | None = None,
        default_limits: DefaultLimitSettings | None = None,
        probe_period: float = PROBE_PERIOD,
        bound: bool = False,
    ) -> None:
        """`run_dir` holds one folder for each replica, in `r/`. `bound`: replicas end with this process, too.

        Without a `network`, replicas share this machine's, unless they are to have none.
        """
        self._folder = run_dir / "r"
        self._images = images
        self._logs = logs
        self._settings = settings or ProcessSettings()
        self._network = network
        self._default_limits = default_limits or DefaultLimitSettings()
        self._probe_period = probe_period
        self._bound = bound
        self._trash = Trash(run_dir / "trash")
        self._ending: set[str] = set()
        """Replicas whose folders are being removed: nothing is put there any more."""
        self._monitors: dict[str, Monitor] = {}
        self._subscribers: list[Callable[[str], None]] = []
        self._machine: Machine | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._meter = UsageMeter()

    async def open(self, machine: Machine | None = None) -> None:
        """Find out what this machine offers, unless that is known: by starting trial replicas, in some tenths of a second.

        Raises `InvalidSettings` if a sandbox that is asked for does not work.
        """
        _keep_descriptors()
        wanted = self._settings.sandbox
        abilities = SHARED
        if self._network is not None:
            abilities = await self._network.open(machine.abilities if machine is not None else None)
        scratch = self._default_limits.scratch.units
        self._machine = machine or await survey(
            self._folder, images=self._images, wanted=wanted, scratch=scratch, abilities=abilities
        )
        self._trash.open()
        self._pulse = spawn(self._probe_all(), name="health")
        _log.info("process runtime", sandbox=self._machine.sandbox.level, **self._machine.shortcomings())
        for name, text in self._machine.facts().items():
            if name.startswith("warning."):
                _log.warning("process runtime", name=name, warning=text)

    async def close(self) -> None:
        """Look after no replica any more. They go on."""
        await cancel(self._pulse)
        await asyncio.gather(*(monitor.close() for monitor in self._monitors.values()))
        self._monitors.clear()
        if self._network is not None:
            await self._network.close()
        await self._trash.close()
        if self._machine is not None:
            self._machine.limiter.close()

    @property
    def machine(self) -> Machine:
        """What `open` found."""
        if self._machine is None:
            raise RuntimeError("the process runtime is not open")
        return self._machine

    # Runtime

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        self._images.find(spec.image, spec.ref.namespace)
        self._check_promises(required, network)
        if spec.limits is not None:
            for quantity in (spec.limits.memory, spec.limits.cpu):
                if quantity is not None and quantity.amount <= 0:
                    raise InvalidSpec(f"limits: {quantity} must be more than nothing")

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        """As the port. The process waits at its gate until the handle with its id is stored, and ends if it never is."""
        machine = self.machine
        bundle = self._images.find(plan.spec.image, plan.spec.ref.namespace)
        self._check_promises(plan.required, plan.network)
        kind = machine.network(plan.network)
        if kind is NetworkKind.NONE and not machine.own_network:
            raise StartFailed(
                "the function may use no network, and this machine cannot make network namespaces",
                hint="run Hilbert as root, or allow unprivileged user namespaces",
            )
        folder = self._folder / plan.replica.rpartition("-")[2]
        allowance = Allowance.of(plan.spec.limits, self._default_limits)
        data = ReplicaData(
            folder=str(folder),
            groups=machine.limiter.groups(plan.replica),
            ready=safe_path(plan.spec.annotations.get(_READY_PATH), "/_/ready"),
            health=safe_path(plan.spec.annotations.get(_HEALTH_PATH), "/_/health"),
            tenant=plan.tenant,
            placement=machine.placement(plan, allowance),
        )
        network = self._order(plan.replica, plan.spec.ref, data)
        handle = data.put_into(Handle(replica=plan.replica, ref=plan.spec.ref, generation=plan.generation))
        yield handle
        occupant = Occupant(
            folder=folder,
            host=plan.spec.ref.name,
            bundle=bundle,
            user=machine.user(plan.tenant),
            network=kind is NetworkKind.HOST,
            etc=_names(plan.spec.ref.name, network),
            read_only=plan.spec.read_only_root,
            bound=self._bound,
        )
        with contextlib.ExitStack() as ours, _start_errors():
            if occupant.user is not None:
                for path in (bundle.path, *bundle.layers):
                    await asyncio.to_thread(open_to_others, path)
                    if machine.sandbox.level != "bubblewrap":  # Their own paths are those that the replica uses.
                        open_way(path, top=self._images.path)
            make_folder(occupant, shared=machine.sandbox.level != "bubblewrap")
            put_secrets(folder, plan.secrets, user=occupant.user)
            listener = ours.enter_context(_listen(folder / "sock"))
            output = self._logs.open(plan.spec.ref, plan.replica)
            ours.callback(os.close, output)
            if occupant.user is not None:
                os.fchown(output, *occupant.user)  # So that it can open /dev/stdout.
            machine.limiter.create(plan.replica, allowance)
            command = machine.sandbox.command(occupant)
            environment = render_environment(plan, bundle.manifest, command.places, python=machine.interpreter.bin)
            if not command.unix_sockets:
                environment = without_unix_upstream(environment)
            launched = await launch(
                machine.interpreter, command, listen=listener.fileno(), output=output, environment=environment
            )
            ours.callback(os.close, launched.gate)
            try:
                machine.limiter.enter(data.groups, launched.pid, allowance)
                started = proc.start_time(launched.pid)
                descriptor = proc.open_process(launched.pid, started)
                if descriptor is None:
                    raise ProcessLookupError(launched.pid)
            except BaseException:
                abandon(launched.child)
                raise
            finally:
                os.close(launched.block)
            handle = msgspec.structs.replace(data, pid=launched.pid, started=started).put_into(handle)
            monitor = self._watch(handle, descriptor, child=launched.child)
            yield handle
            if self._network is not None and network is not None:
                await self._network.attach(network, launched.pid, descriptor)
            if monitor.state != "exited":
                with contextlib.suppress(BrokenPipeError):
                    os.write(launched.gate, b"+")

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        data = ReplicaData.of(handle)
        monitor = self._monitors.get(handle.replica) or self._adopt(handle)
        if monitor is not None and not monitor.exited.is_set():
            if grace.ns and monitor.may_serve:
                monitor.signal(signal.SIGTERM)
                monitor.signal(signal.SIGCONT)  # One that is stopped can only end by force otherwise.
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
            await asyncio.to_thread(_clean, data)
            if data.folder:
                self._trash.discard(Path(data.folder))
        finally:
            self._ending.discard(handle.replica)
        self._monitors.pop(handle.replica, None)
        if monitor is not None:
            await monitor.close()
        self._meter.forget(handle.replica)
        if self._network is not None:
            self._network.forget(handle.replica)
        self._logs.retire(handle.ref, handle.replica)

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
            put_secrets(Path(data.folder), secrets, user=self.machine.user(data.tenant))

    # What a runtime may offer besides (`providers.host.extra`)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self._subscribers.append(changed)

    def pin(self, spec: FunctionSpec) -> str:
        return self._images.find(spec.image, spec.ref.namespace).pin

    def forget_namespace(self, name: NamespaceName) -> None:
        self._images.forget(name)

    def measure(self, handles: Sequence[Handle]) -> Mapping[str, Usage]:
        found: dict[str, Usage] = {}
        for handle in handles:
            data = ReplicaData.of(handle)
            seen = measure(data.groups, data.pid) if data.pid else None
            if seen is not None:
                found[handle.replica] = self._meter.rate(handle.replica, *seen)
        return found

    async def facts(self) -> Mapping[str, str]:
        return self.machine.facts()

    # The rest

    def _order(self, replica: str, ref: FunctionRef, data: ReplicaData) -> Attach | None:
        """What the replica's network is to be, from its handle; None where it has none that is ours to make."""
        if data.placement.get("network") != NetworkKind.TENANT:
            return None
        egress = data.placement.get("egress", "none")
        uplink = "" if egress == "none" else self.machine.abilities.uplink
        return Attach(replica=replica, namespace=ref.namespace, uplink=uplink, egress=egress, resolves=bool(uplink))

    async def _keep_network(self, order: Attach, data: ReplicaData, descriptor: int) -> None:
        """See to it that the network of a replica that was taken back is kept, as it was."""
        if self._network is None:
            return
        try:
            await self._network.attach(order, data.pid, descriptor)
        except StartFailed as exc:
            _log.warning("a replica has lost its network", replica=order.replica, reason=exc.detail or exc.message)
        finally:
            os.close(descriptor)

    def _check_promises(self, required: frozenset[Promise], use: NetworkUse) -> None:
        missing = required - self.machine.promises(use)
        if missing:
            raise InvalidSpec(
                f"the function would run without isolation that is required here: {render_promises(missing)} missing",
                detail="; ".join(self.machine.shortcomings().values()),
                hint="; ".join(self.machine.remedies(missing, use)),
            )

    def _watch(self, handle: Handle, descriptor: int, *, child: int) -> Monitor:
        monitor = Monitor(handle, descriptor, child=child, explain=self._explain, changed=self._announce)
        self._monitors[handle.replica] = monitor
        return monitor

    def _adopt(self, handle: Handle) -> Monitor | None:
        """Take back a replica that an earlier run has started; None when it is gone."""
        data = ReplicaData.of(handle)
        descriptor = proc.open_process(data.pid, data.started) if data.pid else None
        if descriptor is None:
            return None
        self._logs.adopt(handle.ref, handle.replica)
        order = self._order(handle.replica, handle.ref, data)
        if order is not None:
            spawn(self._keep_network(order, data, os.dup(descriptor)), name=f"network {handle.replica}")
        return self._watch(handle, descriptor, child=0)

    def _announce(self, replica: str) -> None:
        for changed in self._subscribers:
            changed(replica)

    async def _explain(self, handle: Handle) -> tuple[str, str]:
        reason = "OOMKilled" if out_of_memory(ReplicaData.of(handle).groups) else ""
        return reason, await self._logs.last_line(handle.ref, handle.replica)

    async def _probe_all(self) -> None:
        """Ask every replica for its health, in turn, at a bounded rate."""
        while True:
            ready = [monitor for monitor in self._monitors.values() if monitor.state == "ready"]
            pause = max(self._probe_period, len(ready) / _PROBES_A_SECOND) / max(1, len(ready))
            for monitor in ready:
                await asyncio.sleep(pause)
                spawn(self._probe(monitor), name=f"health {monitor.handle.replica}")
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


def _names(host: str, network: Attach | None) -> dict[str, str]:
    """Files of `/etc` by which a replica with a network of its own finds the gateway and a name server."""
    if network is None:
        return {}
    return {"hosts": files.hosts(host), "resolv.conf": files.resolv_conf(resolves=network.resolves)}


def _keep_descriptors() -> None:
    """Replicas are not to inherit what this process has inherited itself; all else is never inherited (PEP 446)."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - only their names
        if int(name) > 2:
            with contextlib.suppress(OSError):  # The listing's own is closed by now.
                os.set_inheritable(int(name), False)


def _kill(data: ReplicaData) -> None:
    """End a replica that runs, with all that it has started."""
    kill_groups(data.groups)
    descriptor = proc.open_process(data.pid, data.started)
    if descriptor is not None:
        os.close(descriptor)
        proc.kill_tree(data.pid)


def _clean(data: ReplicaData) -> None:
    """Remove what a replica that has ended left behind."""
    kill_groups(data.groups)
    remove_groups(data.groups)
    if not data.groups and data.pid:
        proc.kill_marked(data.folder)
    if data.folder:
        remove_secrets(Path(data.folder))


@contextlib.contextmanager
def _start_errors() -> Iterator[None]:
    """Translate what the system refuses into `StartFailed`."""
    try:
        yield
    except OSError as exc:
        raise StartFailed(f"a replica could not be started: {exc.strerror or exc}", detail=str(exc)) from exc


def _listen(path: Path) -> socket.socket:
    """A listening socket that nobody but this user can reach."""
    if len(os.fsencode(path)) > _SOCKET_MOST:
        raise StartFailed(
            f"the run directory's name is too long for sockets in it: {path} has more than {_SOCKET_MOST} bytes",
            hint="set paths.run_dir to a short one",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
        path.chmod(0o600)  # Nobody can connect before it listens.
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener
