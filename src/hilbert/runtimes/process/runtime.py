"""`ProcessStarter`: how replicas of bundles are started. What comes after is `runtimes.replica`'s."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import msgspec

from hilbert.core.errors import InvalidSpec, StartFailed
from hilbert.core.isolation import Promise, render_promises
from hilbert.core.model import FunctionSpec
from hilbert.core.network import NetworkKind, NetworkUse
from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.core.settings import DefaultLimitSettings
from hilbert.kit.http1.ask import safe_path
from hilbert.runtimes.network import files
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.process.environment import render_environment
from hilbert.runtimes.process.images import ImageStore, open_to_others, open_way
from hilbert.runtimes.process.launch import abandon, launch
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.process.network import without_unix_upstream
from hilbert.runtimes.process.sandbox.contract import Occupant, own_etc
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.errors import start_errors
from hilbert.runtimes.replica.folder import make_folder, put_secrets
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import Allowance
from hilbert.runtimes.replica.monitor import EndOfChild
from hilbert.runtimes.replica.replicas import Replicas
from hilbert.runtimes.replica.scratch import ON_DISK

_READY_PATH: Final = "com.openfaas.ready.http.path"
_HEALTH_PATH: Final = "com.openfaas.health.http.path"
_SOCKET_MOST: Final = 107
"""Bytes of a unix socket's path (unix(7))."""
_BACKLOG: Final = 4096


class ProcessStarter:
    """Starts replicas of bundles: each is a watchdog in the strongest sandbox that this machine offers."""

    def __init__(
        self,
        replicas: Replicas,
        machine: Machine,
        *,
        images: ImageStore,
        default_limits: DefaultLimitSettings,
        bound: bool,
    ) -> None:
        """`bound`: replicas end with this process, too."""
        self._replicas = replicas
        self._machine = machine
        self._images = images
        self._default_limits = default_limits
        self._bound = bound

    def has(self, image: str, namespace: str) -> bool:
        """Whether the name means a bundle there. Raises `ImageUnavailable` for one that is damaged."""
        return self._images.get(image, namespace) is not None

    def check_spec(self, spec: FunctionSpec, *, network: NetworkUse, required: frozenset[Promise]) -> None:
        """As the port."""
        self._images.find(spec.image, spec.ref.namespace)
        self._check_promises(required, network)

    def pin(self, spec: FunctionSpec) -> str:
        """As `Pinning`."""
        return self._images.find(spec.image, spec.ref.namespace).pin

    async def start(self, plan: ReplicaPlan) -> AsyncIterator[Handle]:
        """As the port. The process waits at its gate until the handle with its id is stored, and ends if it never is."""
        machine = self._machine
        bundle = self._images.find(plan.spec.image, plan.spec.ref.namespace)
        self._check_promises(plan.required, plan.network)
        kind = machine.network(plan.network)
        if kind is NetworkKind.NONE and not machine.own_network:
            raise StartFailed(
                "the function may use no network, and this machine cannot make network namespaces",
                hint="run Hilbert as root, or allow unprivileged user namespaces",
            )
        folder = self._replicas.place(plan.replica)
        allowance = Allowance.of(plan.spec.limits, self._default_limits)
        if machine.sandbox.level in ON_DISK:
            allowance = msgspec.structs.replace(allowance, file_bytes=self._default_limits.scratch.units)
        data = ReplicaData(
            folder=str(folder),
            groups=machine.limiter.groups(plan.spec.ref.namespace, plan.replica),
            ready=safe_path(plan.spec.annotations.get(_READY_PATH), "/_/ready"),
            health=safe_path(plan.spec.annotations.get(_HEALTH_PATH), "/_/health"),
            tenant=plan.tenant,
            placement=machine.placement(plan, allowance),
        )
        network = self._replicas.order(plan.replica, plan.spec.ref, data)
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
        with contextlib.ExitStack() as ours, start_errors():
            if occupant.user is not None:
                for path in (bundle.path, *bundle.layers):
                    await asyncio.to_thread(open_to_others, path)
                    if machine.sandbox.level != "bubblewrap":  # Their own paths are those that the replica uses.
                        open_way(path, top=self._images.path)
            make_folder(
                folder, owner=occupant.user, etc=own_etc(occupant), shared=machine.sandbox.level != "bubblewrap"
            )
            put_secrets(folder, plan.secrets, user=occupant.user)
            listener = ours.enter_context(_listen(folder / "sock"))
            output = self._replicas.logs.open(plan.spec.ref, plan.replica)
            ours.callback(os.close, output)
            if occupant.user is not None:
                os.fchown(output, *occupant.user)  # So that it can open /dev/stdout.
            machine.limiter.create(plan.spec.ref.namespace, plan.replica, allowance, weight=plan.weight)
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
            ending = EndOfChild(launched.child, through_parent=launched.child != launched.pid)
            monitor = self._replicas.watch(handle, descriptor, ending=ending)
            yield handle
            await self._replicas.attach(handle, descriptor)
            if monitor.state != "exited":
                with contextlib.suppress(BrokenPipeError):
                    os.write(launched.gate, b"+")

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
