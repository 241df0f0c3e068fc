"""`HostRuntime`: the `Runtime` port of a single host, for every kind of image that it can run."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import structlog

from hilbert.core.errors import InvalidSpec
from hilbert.core.isolation import Promise
from hilbert.core.model import FunctionSpec, Usage
from hilbert.core.network import NetworkUse
from hilbert.core.ports import Handle, Observed, ReplicaLogs, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings, ProcessSettings
from hilbert.core.values import Duration, NamespaceName
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.survey import SHARED
from hilbert.runtimes.process.images import ImageStore
from hilbert.runtimes.process.machine import Machine, survey
from hilbert.runtimes.process.runtime import ProcessStarter
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
    ) -> None:
        """`run_dir` holds one folder for each replica, in `r/`. `bound`: replicas end with this process, too.

        Without a `network`, replicas share this machine's, unless they are to have none.
        """
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
            self.replicas, found, images=self._images, default_limits=self._default_limits, bound=self._bound
        )
        self.replicas.open(uplink=found.abilities.uplink, owner=found.user, scratch=scratch)
        _log.info("process runtime", sandbox=found.sandbox.level, **found.shortcomings())
        for name, text in found.facts().items():
            if name.startswith("warning."):
                _log.warning("process runtime", name=name, warning=text)

    async def close(self) -> None:
        """Look after no replica any more. They go on."""
        await self.replicas.close()
        if self._machine is not None:
            self._machine.limiter.close()

    @property
    def machine(self) -> Machine:
        """What `open` found."""
        if self._machine is None:
            raise RuntimeError("the runtime is not open")
        return self._machine

    # Runtime

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        if spec.limits is not None:
            for quantity in (spec.limits.memory, spec.limits.cpu):
                if quantity is not None and quantity.amount <= 0:
                    raise InvalidSpec(f"limits: {quantity} must be more than nothing")
        self._starter(spec).check_spec(spec, network=network, required=required)

    def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        return self._starter(plan.spec).start(plan)

    async def stop(self, handle: Handle, *, grace: Duration) -> None:
        await self.replicas.stop(handle, grace=grace)

    async def check(self, handles: Sequence[Handle]) -> Sequence[Observed]:
        return await self.replicas.check(handles)

    async def update_secrets(self, handle: Handle, secrets: Mapping[str, bytes]) -> None:
        await self.replicas.update_secrets(handle, secrets)

    # What a runtime may offer besides (`providers.host.extra`)

    def subscribe(self, changed: Callable[[str], None]) -> None:
        self.replicas.subscribe(changed)

    def pin(self, spec: FunctionSpec) -> str:
        return self._starter(spec).pin(spec)

    def forget_namespace(self, name: NamespaceName) -> None:
        self._images.forget(name)

    def measure(self, handles: Sequence[Handle]) -> Mapping[str, Usage]:
        return self.replicas.measure(handles)

    async def facts(self) -> Mapping[str, str]:
        return self.machine.facts()

    def _starter(self, spec: FunctionSpec) -> ProcessStarter:  # noqa: ARG002
        if self._process is None:
            raise RuntimeError("the runtime is not open")
        return self._process


def _keep_descriptors() -> None:
    """Replicas are not to inherit what this process has inherited itself; all else is never inherited (PEP 446)."""
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - only their names
        if int(name) > 2:
            with contextlib.suppress(OSError):  # The listing's own is closed by now.
                os.set_inheritable(int(name), False)
