"""`HostRuntime`: the `Runtime` port of a single host, for every kind of image that it can run."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import structlog

from hilbert.core.errors import InvalidSpec
from hilbert.core.isolation import Promise
from hilbert.core.model import CpuTime, FunctionSpec, Usage
from hilbert.core.network import NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaLogs, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings, ProcessSettings
from hilbert.core.values import Duration, FunctionRef, NamespaceName
from hilbert.images.model import PullPolicy
from hilbert.images.store import OciStore
from hilbert.kit.aio import cancel, spawn
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.survey import SHARED
from hilbert.runtimes.oci import engines
from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.oci.runtime import OciStarter
from hilbert.runtimes.oci.spares import SpareNetworks
from hilbert.runtimes.oci.survey import survey as survey_images
from hilbert.runtimes.process.images import ImageStore
from hilbert.runtimes.process.machine import Machine, survey
from hilbert.runtimes.process.runtime import ProcessStarter
from hilbert.runtimes.process.spares import Spares
from hilbert.runtimes.replica.replicas import PROBE_PERIOD, Replicas

_log = structlog.get_logger("hilbert.process")


class HostRuntime:
    """Starts, stops and watches replicas. `open` it before use, `close` it at the end: replicas go on.

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
        store: OciStore | None = None,
        pull_policy: PullPolicy = PullPolicy.AUTO,
    ) -> None:
        """`run_dir` holds one folder for each replica, in `r/`. `bound`: replicas end with this process, too.

        Without a `network`, replicas share this machine's, unless they are to have none. Without a `store`, or without a
        `network`, container images do not run.
        """
        self._store = store
        self._pull_policy = pull_policy
        self._launching = Launching(run_dir)
        self._oci: OciStarter | None = None
        self._engines: asyncio.Task[engines.Engines] | None = None
        self._image_facts: Mapping[str, str] = {}
        self._images = images
        self._settings = settings or ProcessSettings()
        self._network = network
        self._default_limits = default_limits or DefaultLimitSettings()
        self._bound = bound
        self._machine: Machine | None = None
        self._process: ProcessStarter | None = None
        self.replicas = Replicas(run_dir, logs=logs, network=network, probe_period=probe_period)

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
        found = self._machine = machine or await survey(
            self.replicas.folder, images=self._images, wanted=wanted, scratch=scratch, abilities=abilities
        )
        self._process = ProcessStarter(
            self.replicas,
            found,
            images=self._images,
            default_limits=self._default_limits,
            spares=self._settings.spares,
            bound=self._bound,
        )
        await self._process.open()
        if self._store is not None and self._network is not None:
            can = await survey_images(self.replicas.folder, self._launching, scratch=scratch, user=found.user(0))
            self._engines = spawn(
                engines.survey(
                    self.replicas.folder,
                    self._launching,
                    scratch=scratch,
                    block=found.block(0),
                    writable=can.writable,
                ),
                name="container runtimes",
            )
            self._oci = OciStarter(
                self.replicas,
                found,
                can,
                self._launching,
                self._engines,
                store=self._store,
                dial=self._network.dial_path,
                pull_policy=self._pull_policy,
                default_limits=self._default_limits,
                bound=self._bound,
                spares=SpareNetworks(
                    self._launching,
                    self._network,
                    most=self._settings.spares if found.abilities.own else 0,
                    order=partial(self.replicas.usual_order, called=True),
                ),
            )
            self._image_facts = can.facts()
            await asyncio.to_thread(self._let_go_of_images, self._store)
        self.replicas.open(uplink=found.abilities.uplink, owner=found.user, scratch=scratch)
        if self._oci is not None:
            await self._oci.open()
        _log.info("process runtime", sandbox=found.sandbox.level, **found.shortcomings())
        for name, text in found.facts().items():
            if name.startswith("warning."):
                _log.warning("process runtime", name=name, warning=text)

    async def close(self) -> None:
        """Look after no replica any more. They go on."""
        await cancel(self._engines)
        if self._process is not None:
            await self._process.close()
        if self._oci is not None:
            await self._oci.close()
        await self.replicas.close()
        if self._store is not None:
            await self._store.close()
        await self._launching.close()
        if self._machine is not None:
            self._machine.limiter.close()

    @property
    def machine(self) -> Machine:
        """What `open` found."""
        if self._machine is None:
            raise RuntimeError("the runtime is not open")
        return self._machine

    @property
    def spares(self) -> Spares | None:
        """The spare sandboxes, where there can be some."""
        return None if self._process is None else self._process.spares

    @property
    def spare_networks(self) -> SpareNetworks | None:
        """As `spares`, for images."""
        return None if self._oci is None else self._oci.spares

    # Runtime

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        if spec.limits is not None:
            for what, quantity in (("memory", spec.limits.memory), ("cpu", spec.limits.cpu)):
                if quantity is not None and quantity.amount <= 0:
                    raise InvalidSpec(
                        f"limits.{what}: {quantity} must be more than 0", hint="leave it out for the default limit"
                    )
        self._starter(spec).check_spec(spec, network=network, required=required)

    def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        return self._starter(plan.spec).start(plan)

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        if self.spares is not None:
            await self.spares.settled(handle.replica)
        await self.replicas.stop(handle, grace=grace)
        if self._oci is not None:
            await asyncio.to_thread(self._oci.forget, handle)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        return await self.replicas.check(handles)

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        await self.replicas.update_secrets(handle, secrets)

    # What a runtime may offer besides (`providers.host.extra`)

    async def prepare(self, spec: FunctionSpec, *, generation: int, pull_secret: bytes) -> None:
        starter = self._starter(spec)
        if isinstance(starter, OciStarter):
            await starter.prepare(spec, generation=generation, pull_secret=pull_secret)

    def expect(self) -> None:
        if self.spares is not None:
            self.spares.expect()
        if self._oci is not None:
            self._oci.expect()

    def fetching(self, ref: FunctionRef) -> str:
        return "" if self._oci is None else self._oci.fetching(ref)

    async def freeze(self, handle: Handle) -> None:
        await self.replicas.freeze(handle)

    async def thaw(self, handle: Handle) -> None:
        await self.replicas.thaw(handle)

    def is_frozen(self, handle: Handle) -> bool:
        return self.replicas.is_frozen(handle)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self.replicas.subscribe(changed)

    def pin(self, spec: FunctionSpec) -> str:
        return self._starter(spec).pin(spec)

    def disregarded(self, spec: FunctionSpec) -> Sequence[str]:
        starter = self._starter(spec)
        return starter.disregarded(spec) if isinstance(starter, ProcessStarter) else ()

    def forget_namespace(self, name: NamespaceName) -> None:
        self._images.forget(name)
        if self._store is not None:
            self._store.forget(name)

    def weigh(self, name: NamespaceName, weight: float) -> None:
        self.machine.limiter.weigh(name, weight)

    def measure(self, handles: Sequence[Handle]) -> Mapping[str, Usage]:
        return self.replicas.measure(handles)

    def cpu_times(self, handles: Sequence[Handle]) -> Sequence[CpuTime]:
        return self.replicas.cpu_times(handles)

    async def facts(self) -> Mapping[str, str]:
        found = {**self.machine.facts(), **self._image_facts}
        return found if self._engines is None else {**found, **(await asyncio.shield(self._engines)).facts()}

    def _let_go_of_images(self, store: OciStore) -> None:
        """Of those that replicas used whose end was not noted, because everything was killed. Blocks."""
        for digest, replica in list(store.pins()):
            if not self.replicas.place(replica).exists():
                store.unpin(digest, replica)

    def _starter(self, spec: FunctionSpec) -> ProcessStarter | OciStarter:
        """A bundle's name comes before an image's. Without images, the answer to any other name is that of bundles."""
        if self._process is None:
            raise RuntimeError("the runtime is not open")
        if self._oci is None or self._process.has(spec.image, spec.ref.namespace):
            return self._process
        return self._oci


def _keep_descriptors() -> None:
    """Replicas are not to inherit what this process has inherited itself; all else is never inherited (PEP 446)."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - only their names
        if int(name) > 2:
            with contextlib.suppress(OSError):  # The listing's own is closed by now.
                os.set_inheritable(int(name), False)
