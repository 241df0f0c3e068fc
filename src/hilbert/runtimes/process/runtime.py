"""`ProcessStarter`: how replicas of bundles are started. What comes after is `runtimes.replica`'s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSpec, StartFailed
from hilbert.core.isolation import Promise, render_promises
from hilbert.core.model import FunctionSpec, Resources
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.http1.ask import safe_path
from hilbert.runtimes.network import files
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.process.environment import disregarded
from hilbert.runtimes.process.images import ImageStore, open_to_others, open_way
from hilbert.runtimes.process.launch import abandon, launch
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.process.prepared import Prepared
from hilbert.runtimes.process.sandbox.contract import Occupant, own_etc
from hilbert.runtimes.process.sockets import listen
from hilbert.runtimes.process.spares import Spare, Spares, hand_over, remove_left
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.errors import start_errors
from hilbert.runtimes.replica.folder import make_folder, put_secrets, rewrite_folder
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import Allowance
from hilbert.runtimes.replica.monitor import EndOfChild
from hilbert.runtimes.replica.replicas import Replicas
from hilbert.runtimes.replica.scratch import ON_DISK

_READY_PATH: Final = "com.openfaas.ready.http.path"
_HEALTH_PATH: Final = "com.openfaas.health.http.path"


class ProcessStarter:
    """Starts replicas of bundles: each is a watchdog in the strongest sandbox that this machine offers."""

    def __init__(
        self,
        replicas: Replicas,
        machine: Machine,
        *,
        images: ImageStore,
        default_limits: DefaultLimitSettings,
        spares: int,
        bound: bool,
    ) -> None:
        """`spares`: how many spare sandboxes wait. `bound`: replicas end with this process, too."""
        self._replicas = replicas
        self._machine = machine
        self._images = images
        self._default_limits = default_limits
        self._bound = bound
        self.spares: Spares | None = None
        """Where they can be made."""
        if spares and replicas.network is not None and machine.network(NetworkUse()) is NetworkKind.TENANT:
            usual = msgspec.structs.replace(self._allowance(None), memory=0, cpu=0)
            self.spares = Spares(
                replicas.folder, machine, replicas.network,
                most=spares, order=replicas.usual_order, allowance=usual, bound=bound,
            )  # fmt: skip

    async def open(self) -> None:
        """Remove spare sandboxes that an earlier process has left."""
        await asyncio.to_thread(remove_left, self._replicas.folder, self._machine.limiter)

    async def close(self) -> None:
        """End what nobody has moved into. Replicas go on."""
        if self.spares is not None:
            await self.spares.close()

    def has(self, image: str, namespace: str) -> bool:
        """Whether the name means a bundle there. Raises `ImageUnavailable` for one that is damaged."""
        return self._images.get(image, namespace) is not None

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        """As the port."""
        self._images.find(spec.image, spec.ref.namespace)
        self._check_promises(required, network)
        if self.spares is not None:
            self.spares.want()

    def disregarded(self, spec: FunctionSpec) -> Sequence[str]:
        """As `Disregarding`."""
        bundle = self._images.get(spec.image, spec.ref.namespace)
        return disregarded(spec, bundle.manifest) if bundle is not None else ()

    def pin(self, spec: FunctionSpec) -> str:
        """As `Pinning`."""
        return self._images.find(spec.image, spec.ref.namespace).pin

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        """As the port: in a spare sandbox if there is one, else in a new one."""
        prepared = self._prepare(plan)
        with start_errors():
            await self._open_ways(prepared.occupant)
        spare = None
        if self.spares is not None:
            spare = None if prepared.network is None else self.spares.take(prepared.network, prepared.allowance)
            self.spares.want()
        if spare is not None and self.spares is not None:
            moving, moved = prepared.in_spare(spare.folder, spare.groups, self._machine), False
            furnishing = asyncio.get_running_loop().create_task(self.spares.furnish(spare, moving), name="furnish")
            try:
                yield moving.running(spare.pid, spare.started)
                with start_errors():
                    await self._make_room(moving, spare, self.spares)
                    moved = await furnishing
            finally:
                if not moved:
                    await cancel(furnishing)
                    await self.spares.discard(spare)
            if moved:
                try:
                    self._move_in(moving, spare)
                finally:
                    self.spares.settle(spare, moving)
                return
        async with contextlib.aclosing(self._start_new(prepared)) as handles:
            async for handle in handles:
                yield handle

    async def _start_new(self, prepared: Prepared) -> AsyncGenerator[Handle, None]:
        """The process waits at its gate until the handle with its id is stored, and ends if it never is."""
        machine, occupant, data = self._machine, prepared.occupant, prepared.data
        yield prepared.handle
        with contextlib.ExitStack() as ours, start_errors():
            make_folder(
                occupant.folder,
                owner=occupant.user,
                etc=own_etc(occupant),
                shared=machine.sandbox.level != "bubblewrap",
            )
            put_secrets(occupant.folder, prepared.plan.secrets, user=occupant.user)
            listener = ours.enter_context(listen(occupant.folder / "sock"))
            output = self._open_output(ours, prepared)
            prepared.create_groups(machine.limiter)
            launched = await launch(
                machine.interpreter,
                prepared.command,
                listen=listener.fileno(),
                output=output,
                environment=prepared.environment(machine.interpreter),
            )
            ours.callback(os.close, launched.gate)
            try:
                await asyncio.to_thread(machine.limiter.enter, data.groups, launched.pid, prepared.allowance)
                started = proc.start_time(launched.pid)
                descriptor = proc.open_process(launched.pid, started)
                if descriptor is None:
                    raise ProcessLookupError(launched.pid)
            except BaseException:
                abandon(launched.child)
                raise
            finally:
                os.close(launched.block)
            handle = prepared.running(launched.pid, started)
            ending = EndOfChild(launched.child, through_parent=launched.child != launched.pid)
            ours.callback(os.close, process := os.dup(descriptor))  # The other one is closed as soon as it ends.
            monitor = self._replicas.watch(handle, descriptor, ending=ending)
            yield handle
            await self._replicas.attach(handle, process)
            if monitor.state != "exited":
                with contextlib.suppress(BrokenPipeError):
                    os.write(launched.gate, b"+")

    async def _make_room(self, prepared: Prepared, spare: Spare, spares: Spares) -> None:
        """What a replica has outside of its sandbox; meanwhile the keeper sees to what it has inside."""
        machine, occupant = self._machine, prepared.occupant
        # The kernel may take its time for this, in which the rest is done.
        limiting = spawn(spares.take_over(spare, prepared), name="control groups")
        try:
            shared = machine.sandbox.level != "bubblewrap"
            rewrite_folder(occupant.folder, owner=occupant.user, etc=own_etc(occupant), shared=shared)
            put_secrets(occupant.folder, prepared.plan.secrets, user=occupant.user)
        finally:
            await limiting

    def _move_in(self, prepared: Prepared, spare: Spare) -> None:
        """Let the spare sandbox, which waits at its gate and is furnished, become the replica. It is used up."""
        machine = self._machine
        with contextlib.ExitStack() as ours:
            ours.callback(spare.gate.close)
            ours.callback(spare.listener.close)
            ours.enter_context(start_errors())
            handle = prepared.running(spare.pid, spare.started)
            ending = EndOfChild(spare.child, through_parent=spare.child != spare.pid)
            monitor = self._replicas.watch(handle, spare.process, ending=ending)
            output = self._open_output(ours, prepared)
            environment = prepared.environment(machine.interpreter)
            if monitor.state != "exited":
                own = machine.limiter.own(prepared.allowance)
                entry = msgspec.structs.replace(
                    prepared.command.entry,
                    own_network=False,  # It has it.
                    limits={kind: most for kind, most in own.items() if kind == resource.RLIMIT_DATA},
                )
                with contextlib.suppress(ConnectionError):  # It has ended, which its monitor sees.
                    hand_over(spare, entry, output=output, environment=environment)

    async def _open_ways(self, occupant: Occupant) -> None:
        """Let the replica's user read the bundle."""
        if occupant.user is not None:
            for path in (occupant.bundle.path, *occupant.bundle.layers):
                await asyncio.to_thread(open_to_others, path)
                if self._machine.sandbox.level != "bubblewrap":  # Their own paths are those that the replica uses.
                    open_way(path, top=self._images.path)

    def _open_output(self, ours: contextlib.ExitStack, prepared: Prepared) -> int:
        output = self._replicas.logs.open(prepared.plan.spec.ref, prepared.plan.replica)
        ours.callback(os.close, output)
        if prepared.occupant.user is not None:
            os.fchown(output, *prepared.occupant.user)  # So that it can open /dev/stdout.
        return output

    def _prepare(self, plan: ReplicaPlan) -> Prepared:
        """Raises `InvalidSpec`, `ImageUnavailable` and `StartFailed`."""
        machine = self._machine
        bundle = self._images.find(plan.spec.image, plan.spec.ref.namespace)
        self._check_promises(plan.required, plan.network)
        kind = machine.network(plan.network)
        if kind is NetworkKind.NONE and not machine.own_network:
            raise StartFailed(
                "the function may use no network, and this machine cannot make network namespaces",
                hint="run Hilbert as root, or allow unprivileged user namespaces",
            )
        allowance = self._allowance(plan.spec.limits)
        data = ReplicaData(
            folder=str(self._replicas.place(plan.replica)),
            groups=machine.limiter.groups(plan.spec.ref.namespace, plan.replica),
            ready=safe_path(plan.spec.annotations.get(_READY_PATH), "/_/ready"),
            health=safe_path(plan.spec.annotations.get(_HEALTH_PATH), "/_/health"),
            tenant=plan.tenant,
            placement=machine.placement(plan, allowance),
        )
        network = self._replicas.order(plan.replica, plan.spec.ref, data)
        occupant = Occupant(
            folder=Path(data.folder),
            host=plan.spec.ref.name,
            bundle=bundle,
            user=machine.user(plan.tenant),
            network=kind is NetworkKind.HOST,
            etc=_names(plan.spec.ref.name, network),
            read_only=plan.spec.read_only_root,
            bound=self._bound,
        )
        return Prepared(
            plan=plan,
            allowance=allowance,
            data=data,
            network=network,
            occupant=occupant,
            command=machine.sandbox.command(occupant),
        )

    def _allowance(self, limits: Resources | None) -> Allowance:
        allowance = Allowance.of(limits, self._default_limits)
        if self._machine.sandbox.level in ON_DISK:
            allowance = msgspec.structs.replace(allowance, file_bytes=self._default_limits.scratch.units)
        return allowance

    def _check_promises(self, required: frozenset[Promise], use: NetworkUse) -> None:
        missing = required - self._machine.promises(use)
        if missing:
            raise InvalidSpec(
                f"the function would run without isolation that is required here: {render_promises(missing)} missing",
                detail="; ".join(self._machine.shortcomings().values()),
                hint="; ".join(self._machine.remedies(missing, use)),
            )


def _names(host: str, network: Attach | None) -> dict[str, str]:
    """Files of `/etc` by which a replica with a network of its own finds the gateway and a name server."""
    if network is None:
        return {}
    return {"hosts": files.hosts(host), "resolv.conf": files.resolv_conf(resolves=network.resolves)}
