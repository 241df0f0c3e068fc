"""`OciStarter`: how replicas of container images are started. What comes after is `runtimes.replica`'s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from hilbert.core.errors import ImageUnavailable, InvalidSpec
from hilbert.core.isolation import Promise, render_promises
from hilbert.core.model import FunctionSpec, count_annotation
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings
from hilbert.core.values import FunctionRef
from hilbert.images.login import parse_pull_secret
from hilbert.images.model import LocalImage, PullPolicy, Step
from hilbert.images.reference import Reference
from hilbert.images.store import OciStore
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1.ask import safe_path
from hilbert.runtimes.network import files
from hilbert.runtimes.oci.engines import Engines
from hilbert.runtimes.oci.launch import Launching
from hilbert.runtimes.oci.messages import Launch
from hilbert.runtimes.oci.program import SECRETS, program_of
from hilbert.runtimes.oci.sandbox import Bubblewrap
from hilbert.runtimes.oci.spares import SpareNetworks
from hilbert.runtimes.oci.start import start_sandbox
from hilbert.runtimes.oci.survey import Abilities
from hilbert.runtimes.oci.way import Way, Ways
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.errors import start_errors
from hilbert.runtimes.replica.folder import make_folder, put_secrets
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import Allowance
from hilbert.runtimes.replica.replicas import Replicas

_log = structlog.get_logger("hilbert.images")

ANNOTATION_PORT: Final = "com.hilbert.port"
"""Where an image listens, when it is not 8080, the only port that OpenFaaS has."""
_PORT: Final = 8080
_PORT_MOST: Final = 65535
_READY_PATH: Final = "com.openfaas.ready.http.path"
_HEALTH_PATH: Final = "com.openfaas.health.http.path"
_DEFAULT_PATH: Final = "/_/health"


class OciStarter:
    """Starts replicas of container images, each in a sandbox with a network of its own."""

    def __init__(
        self,
        replicas: Replicas,
        machine: Machine,
        abilities: Abilities,
        launching: Launching,
        engines: asyncio.Task[Engines],
        *,
        store: OciStore,
        dial: Path,
        pull_policy: PullPolicy,
        default_limits: DefaultLimitSettings,
        bound: bool,
        spares: SpareNetworks,
    ) -> None:
        """`dial` is where sockets of replicas' networks come from. `bound`: replicas end with this process, too.

        `engines` becomes what OCI runtimes work here.
        """
        self._replicas = replicas
        self._dial = dial
        self._pull_policy = pull_policy
        self._asked: dict[FunctionRef, int] = {}
        """The generation for which a registry was asked last, by function."""
        self._steps: dict[FunctionRef, Step] = {}
        """How far a fetch is that replicas wait for."""
        self._machine = machine
        self._abilities = abilities
        self._launching = launching
        self._ways = Ways(machine, abilities.sandbox, abilities, engines) if abilities.sandbox is not None else None
        self._store = store
        self._default_limits = default_limits
        self._bound = bound
        self.spares = spares
        self._rousing: asyncio.Task[None] | None = None

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        """As the port. An image that is not here yet may still turn out to be nowhere."""
        Reference.parse(spec.image)
        ways = self._get_ways(spec.image)
        if network.kind is NetworkKind.HOST:
            raise InvalidSpec(
                f"image {spec.image}: a container image always has a network of its own, in which it listens on its port",
                hint="remove the namespace's annotation com.hilbert.network: host",
            )
        _port(spec.annotations)
        missing = ways.check(spec.annotations, required)
        if missing:
            raise InvalidSpec(
                f"the function would run without isolation that is required here: {render_promises(missing)} missing",
                hint="; ".join(self._machine.remedies(missing, network)),
            )

    def pin(self, spec: FunctionSpec) -> str:
        """As `Pinning`: empty for an image that is not here yet, new each time for one that the registry is asked about."""
        return self._store.revision(spec.image, spec.ref.namespace)

    async def prepare(self, spec: FunctionSpec, *, generation: int, pull_secret: bytes) -> None:
        """As `Preparing`: replicas of one generation run the same image, whatever the name means meanwhile."""
        self.spares.want()
        asked = self._asked.get(spec.ref) == generation
        before = self._store.find(spec.image, spec.ref.namespace)
        began = time.monotonic()
        ref = spec.ref
        try:
            image = await self._store.ensure(
                spec.image,
                ref.namespace,
                policy=PullPolicy.IF_NOT_PRESENT
                if asked and self._pull_policy is PullPolicy.AUTO
                else self._pull_policy,
                credentials=parse_pull_secret(pull_secret) if pull_secret else None,
                progress=lambda step: self._steps.update({ref: step}),
            )
        finally:
            self._steps.pop(ref, None)
        self._asked[spec.ref] = generation
        if before is None or before.digest != image.digest:
            took = round(time.monotonic() - began, 1)
            _log.info("image fetched", function=str(spec.ref), image=spec.image, digest=image.digest, seconds=took)

    def fetching(self, ref: FunctionRef) -> str:
        """As `providers.host.extra.Fetching`."""
        step = self._steps.get(ref)
        return "" if step is None else step.text()

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        """As the port. The sandbox waits until the handle with its process is stored, and is killed if it never is."""
        ways = self._get_ways(plan.spec.image)
        self.check_spec(plan.spec, network=plan.network, required=plan.required)
        image = await self._store.ensure(
            plan.spec.image, plan.spec.ref.namespace, policy=PullPolicy.IF_NOT_PRESENT, credentials=None
        )
        program = await asyncio.to_thread(program_of, image, plan)
        way = await ways.choose(plan, image, program)
        allowance = Allowance.of(plan.spec.limits, self._default_limits)
        folder = self._replicas.place(plan.replica)
        writable = 0 if plan.spec.read_only_root or not self._abilities.writable else way.sandbox.scratch // 2
        health = plan.spec.annotations.get(_HEALTH_PATH)
        ready = plan.spec.annotations.get(_READY_PATH) or health
        data = ReplicaData(
            folder=str(folder),
            groups=self._machine.limiter.groups(plan.spec.ref.namespace, plan.replica),
            ready=safe_path(ready, _DEFAULT_PATH),
            health=safe_path(health, _DEFAULT_PATH),
            lenient=not (health or ready),
            dial=str(self._dial),
            port=_port(plan.spec.annotations),
            main="child" if way.sandbox.name == "bubblewrap" else "",
            everyone=way.many,
            end=end_signal(image.config.stop_signal),
            tenant=plan.tenant,
            placement=self._placement(plan, image, allowance, way, writable=writable),
        )
        handle = data.put_into(Handle(replica=plan.replica, ref=plan.spec.ref, generation=plan.generation))
        yield handle
        network = self._replicas.order(plan.replica, plan.spec.ref, data)
        resolves = network is not None and network.resolves
        led_out = network is not None and network.gateway
        etc = {
            "hosts": files.hosts(plan.spec.ref.name) if led_out else files.lonely_hosts(plan.spec.ref.name),
            "resolv.conf": files.resolv_conf(resolves=resolves),
            "hostname": f"{plan.spec.ref.name[:64]}\n",
        }
        order = Launch(
            request=0,
            bwrap=way.sandbox.executable if isinstance(way.sandbox, Bubblewrap) else "",
            engine=None if isinstance(way.sandbox, Bubblewrap) else way.sandbox.engine,
            argv=program.argv,
            mark=str(folder),
            image=str(image.root),
            writable=writable,
            covers=((f"{folder}/secrets", SECRETS), *((f"{folder}/etc/{name}", f"/etc/{name}") for name in etc)),
            folder=program.folder,
            user=way.user,
            limits=self._machine.limiter.own(allowance),
            id_map=way.id_map,
            bound=self._bound,
        )
        arguments = way.arguments(program, host=plan.spec.ref.name, writable=writable > 0, bound=self._bound)
        with contextlib.ExitStack() as ours, start_errors():
            spare = ours.enter_context(self.spares.taken(network if way.may_wait else None))
            self.spares.want()
            await asyncio.to_thread(self._store.pin, image.digest, plan.replica)
            make_folder(folder, owner=way.owner, etc=etc)
            put_secrets(folder, plan.secrets, user=way.owner, everyone=way.many)
            output = self._replicas.logs.open(plan.spec.ref, plan.replica, bare=True)
            ours.callback(os.close, output)
            if way.owner is not None:
                os.fchown(output, *way.owner)  # So that it can open /dev/stdout.
            order = msgspec.structs.replace(order, spare=spare.pid if spare is not None else 0)
            async with (
                _meanwhile(asyncio.to_thread(self._make_groups, plan, allowance)) as grouped,
                start_sandbox(
                    self._launching, order, arguments=arguments, output=output, call_filter=way.sandbox.filter
                ) as started,
            ):
                await grouped
                await asyncio.to_thread(self._machine.limiter.join, data.groups, started.pid)
                since = proc.start_time(started.pid)
                descriptor = proc.open_process(started.pid, since)
                if descriptor is None:
                    raise ProcessLookupError(started.pid)
                handle = msgspec.structs.replace(data, pid=started.pid, started=since).put_into(handle)
                ours.callback(os.close, process := os.dup(descriptor))  # The other one is closed as soon as it ends.
                monitor = self._replicas.watch(handle, descriptor, ending=started.ending, held=True)
                attaching = asyncio.get_running_loop().create_task(
                    self._replicas.attach(handle, process, spare=spare.name if spare is not None else ""),
                    name=f"network {plan.replica}",
                )
                try:
                    yield handle
                    await attaching
                finally:
                    await cancel(attaching)
                if monitor.state != "exited":
                    started.release()
                    monitor.let_go()

    def expect(self) -> None:
        """A replica is about to be started: have the kernel prepare for it meanwhile."""
        if self._rousing is None or self._rousing.done():
            work = asyncio.to_thread(self._machine.limiter.rouse_for_new)
            self._rousing = spawn(work, name="prepare control groups")

    async def open(self) -> None:
        """Have spare networks ready for the first start, where there is an image to start."""
        if self._ways is not None and await asyncio.to_thread(self._store.has_any):
            self.spares.want()

    async def close(self) -> None:
        await self.spares.close()

    def forget(self, handle: Handle) -> None:
        """A replica is gone: its image may go, too. Blocks for a moment."""
        digest = handle.data.get("image", "")
        if handle.data.get("runtime") == "oci" and digest:
            self._store.unpin(digest, handle.replica)

    def _make_groups(self, plan: ReplicaPlan, allowance: Allowance) -> None:
        limiter = self._machine.limiter
        limiter.create(plan.spec.ref.namespace, plan.replica, allowance, weight=plan.weight)
        limiter.rouse_for_new()

    def _get_ways(self, image: str) -> Ways:
        if self._ways is None:
            raise ImageUnavailable(
                f"image {image}: container images cannot run on this machine: {self._abilities.why.get('images', '')}",
                hint="see 'hilbert doctor'",
            )
        return self._ways

    def _placement(
        self, plan: ReplicaPlan, image: LocalImage, allowance: Allowance, way: Way, *, writable: int
    ) -> dict[str, str]:
        kind = plan.network.kind if self._machine.abilities.own else NetworkKind.NONE
        found = self._machine.limits_placement(plan, allowance) | {
            "runtime": "oci",
            "sandbox": way.sandbox.name,
            "network": kind.value,
            "image": image.digest,
            "image-size": str(image.size),
            "root": f"writable, {writable >> 20} MiB in memory" if writable else "read-only",
        }
        if way.runs_as:
            found["user"] = way.runs_as
        if kind is NetworkKind.TENANT:
            found["egress"] = str(plan.network.egress) if self._machine.abilities.uplink else "none"
        return found


@contextlib.asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Something that goes on beside the rest, and has come to its end, well or not, when this is left."""
    task = asyncio.get_running_loop().create_task(work, name="beside a start")
    try:
        yield task
    finally:
        await asyncio.wait({task})
        task.exception()  # Seen, also if something else has failed before.


def _port(annotations: Mapping[str, str]) -> int:
    """Raises `InvalidSpec`."""
    port = count_annotation(annotations, ANNOTATION_PORT, _PORT)
    if not 0 < port <= _PORT_MOST:
        raise InvalidSpec(f"annotation {ANNOTATION_PORT}: must be a port from 1 to {_PORT_MOST}")
    return port


def end_signal(text: str) -> int:
    """The image's own signal to end, or SIGTERM."""
    text = text.strip().upper()
    if len(text) <= 2 and text.isascii() and text.isdecimal() and 0 < int(text) <= 64:
        return int(text)
    with contextlib.suppress(KeyError):
        return signal.Signals[text if text.startswith("SIG") else f"SIG{text}"]
    return signal.SIGTERM
