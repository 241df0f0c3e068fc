"""Spare sandboxes: made ahead, each with an interpreter that has imported the platform's code and read nothing of any function.

A replica that moves into one starts in a third of the time. Each is a process of its own, started like any replica's, and is
used once. It has what no tenant decides on: the namespaces, the system call filter, a network with the usual rules. What is
the replica's comes when it moves in, before any of its code: user, files, secrets, environment, limits, host name, Landlock.

A spare ends by itself with the control process, whose end of its gate is closed then.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from hilbert.core.bundle import Manifest, Mode
from hilbert.core.errors import HilbertError, StartFailed
from hilbert.kit import handover
from hilbert.kit.aio import cancel, spawn
from hilbert.kit.process import has_ended
from hilbert.kit.trees import NotFinished, remove_tree
from hilbert.runtimes.network import files
from hilbert.runtimes.network.client import Network
from hilbert.runtimes.network.messages import Attach, Room
from hilbert.runtimes.process.images import Bundle
from hilbert.runtimes.process.launch import abandon, launch, memory
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.process.prepared import Prepared
from hilbert.runtimes.process.sandbox.contract import ENVIRONMENT, GATE, Entry, Occupant, own_etc
from hilbert.runtimes.process.sockets import listen
from hilbert.runtimes.replica import proc
from hilbert.runtimes.replica.folder import make_folder
from hilbert.runtimes.replica.groups import end_groups
from hilbert.runtimes.replica.limits import Allowance, Limiter
from hilbert.runtimes.replica.lull import Lull

_PREFIX: Final = "spare-"
_NOBODY: Final = "-spares"
"""In place of a namespace, for control groups; no namespace can have this name."""
_MARK: Final = "spare"
"""A file in the folder of one that nobody has moved into."""
_MEMORY_LEAST: Final = 32 << 20
"""Bytes that a replica must be allowed to use to move in: the kernel refuses a limit below what a spare uses, some 9 MiB."""
_WARM_MOST: Final = 30.0
"""Seconds for an interpreter to have imported all."""

_log = structlog.get_logger("hilbert.process")


class Spare(msgspec.Struct, kw_only=True):
    """One that waits."""

    name: str
    folder: Path
    groups: tuple[str, ...]
    pid: int
    started: str
    child: int
    """The process to wait for."""
    process: int
    """A pidfd of `pid`."""
    gate: socket.socket
    listener: socket.socket


class Spares:
    """`close` it at the end: what nobody has moved into ends."""

    def __init__(
        self,
        folder: Path,
        machine: Machine,
        network: Network,
        *,
        most: int,
        order: Callable[[str], Attach | None],
        allowance: Allowance,
        bound: bool,
    ) -> None:
        """`folder` is where replicas live; `most` how many wait at a time.

        `order` gives the network of most replicas, for a name; None: they have none of their own, and there are no spares.
        `allowance` is what no function decides on.
        """
        self._folder = folder
        self._machine = machine
        self._network = network
        self._most = most
        self._order = order
        self._allowance = allowance
        self._bound = bound
        self._waiting: list[Spare] = []
        self._task: asyncio.Task[None] | None = None
        self._rousing: asyncio.Task[None] | None = None
        self._settling: dict[str, asyncio.Task[None]] = {}
        self._lull = Lull()

    async def close(self) -> None:
        self._most = 0
        await cancel(self._task, self._rousing)
        await self.settled(*self._settling)
        while self._waiting:
            await self.discard(self._leave())

    @property
    def waiting(self) -> int:
        """How many are ready."""
        return len(self._waiting)

    def want(self) -> None:
        """A replica may be started soon, or has been: see to it that there are spares, once no more are started for a moment."""
        self._lull.stir()
        if self._task is None and len(self._waiting) < self._most and self._order(_PREFIX) is not None:
            self._task = spawn(self._fill(), name="spare sandboxes")

    def expect(self) -> None:
        """A replica is about to move in: have the kernel prepare for it meanwhile."""
        if self._waiting:
            self._rouse(self._waiting[0])

    def take(self, order: Attach, allowance: Allowance) -> Spare | None:
        """One with exactly that network, if there is one that is small enough, which is the caller's then."""
        if 0 < allowance.memory < _MEMORY_LEAST:
            return None
        usual = self._order(order.replica)
        if usual is None or msgspec.structs.replace(usual, namespace=order.namespace) != order or not self._waiting:
            return None
        found = self._leave()
        self._rouse(found)
        return found

    async def take_over(self, spare: Spare, prepared: Prepared) -> None:
        """Put what is in one that was taken under the replica's limits. Raises `OSError`."""
        if self._rousing is not None:
            await asyncio.wait({self._rousing})  # Else it might put a process back.
        plan = prepared.plan
        await asyncio.to_thread(
            self._machine.limiter.take_over,
            spare.groups, plan.spec.ref.namespace, plan.replica, prepared.allowance, weight=plan.weight,
        )  # fmt: skip

    def settle(self, spare: Spare, prepared: Prepared) -> None:
        """The replica runs: see to the rest of its limits. Ends before `settled` returns."""
        plan = prepared.plan
        work = asyncio.to_thread(
            self._machine.limiter.settle,
            spare.groups, plan.spec.ref.namespace, plan.replica, prepared.allowance, weight=plan.weight,
        )  # fmt: skip
        task = self._settling[plan.replica] = spawn(work, name=f"settle {plan.replica}")
        task.add_done_callback(lambda _: self._settling.pop(plan.replica, None))

    async def settled(self, *replicas: str) -> None:
        """Wait until nothing is done to the groups of these any more."""
        under_way = [self._settling[replica] for replica in replicas if replica in self._settling]
        if under_way:
            await asyncio.wait(under_way)

    async def furnish(self, spare: Spare, prepared: Prepared) -> bool:
        """Give the spare's network to that replica, and its sandbox the replica's bundle.

        False: that does not work. If it had not ended by itself, there will be no more. Raises `StartFailed` and `OSError`.
        """
        why = await self._furnish(spare, prepared, prepared.network)
        if why and not has_ended(spare.process):
            self._most = 0
            _log.warning("spare sandboxes do not work here; replicas start without", reason=why)
        return not why

    async def _furnish(self, spare: Spare, prepared: Prepared, network: Attach | None) -> str:
        occupant, places, room = prepared.occupant, prepared.command.places, None
        if network is None or has_ended(spare.process):
            return "there is no network to give"
        if prepared.command.isolated:
            for path in occupant.bundle.layers:
                (spare.folder / "layers" / path.name).mkdir(exist_ok=True)
            mounts = [(str(occupant.bundle.path), places.bundle)]
            mounts += [(str(path), at) for path, at in zip(occupant.bundle.layers, places.layers, strict=True)]
            room = Room(host=occupant.host[:64], mounts=tuple(mounts), read_only=occupant.read_only)
        return await self._network.move_in(spare.name, network, spare.pid, spare.process, room)

    async def discard(self, spare: Spare) -> None:
        """End one that waits no more and that nobody moves into."""
        self._end(spare)
        await asyncio.to_thread(_remove, self._folder, spare.name, spare.groups)

    async def _fill(self) -> None:
        try:
            while len(self._waiting) < self._most:
                await self._lull.come()
                self._keep(await self._make())
        except (HilbertError, OSError) as exc:
            why = (exc.detail or exc.message) if isinstance(exc, HilbertError) else str(exc)
            _log.warning("a spare sandbox could not be made", reason=why)
        finally:
            self._task = None

    def _keep(self, spare: Spare) -> None:
        def ended() -> None:
            self._leave(spare)
            spawn(self.discard(spare), name=f"remove {spare.name}")

        self._waiting.append(spare)
        asyncio.get_running_loop().add_reader(spare.process, ended)

    def _rouse(self, spare: Spare) -> None:
        if self._rousing is None or self._rousing.done():
            work = asyncio.to_thread(self._machine.limiter.rouse, spare.groups)
            self._rousing = spawn(work, name="prepare control groups")

    def _leave(self, spare: Spare | None = None) -> Spare:
        """It waits no more; by default the one that has waited longest."""
        found = spare or self._waiting[0]
        self._waiting.remove(found)
        asyncio.get_running_loop().remove_reader(found.process)
        return found

    async def _make(self) -> Spare:
        """One that has imported everything, in its network. Raises `StartFailed` and `OSError`."""
        machine, name = self._machine, f"{_PREFIX}{secrets.token_hex(4)}"
        folder, groups = self._folder / name, machine.limiter.groups(_NOBODY, name)
        order = self._order(name)
        if order is None:
            raise StartFailed("replicas have no network of their own")
        bundle = Bundle(path=folder / "bundle", manifest=Manifest(mode=Mode.STATIC), layers=(), pin="")
        occupant = Occupant(
            folder=folder, host="spare", bundle=bundle, user=machine.user(0), network=False,
            etc={"hosts": files.hosts("spare"), "resolv.conf": files.resolv_conf(resolves=order.resolves)},
            read_only=False, bound=self._bound, spare=True,
        )  # fmt: skip
        with contextlib.ExitStack() as undo:
            undo.callback(_remove, self._folder, name, groups)
            make_folder(folder, owner=None, etc=own_etc(occupant))
            for made in ("bundle", "layers"):
                (folder / made).mkdir(mode=0o755)
            (folder / _MARK).touch()
            listener = undo.enter_context(listen(folder / "sock"))
            machine.limiter.create(_NOBODY, name, self._allowance)
            said = undo.enter_context(os.fdopen(os.memfd_create("spare", os.MFD_CLOEXEC), "w+b", buffering=0))
            launched = await launch(machine.interpreter, machine.sandbox.command(occupant), output=said.fileno())
            gate = undo.enter_context(socket.socket(fileno=launched.gate))
            undo.callback(abandon, launched.child)
            try:
                await asyncio.to_thread(machine.limiter.enter, groups, launched.pid, self._allowance)
                started = proc.start_time(launched.pid)
                process = proc.open_process(launched.pid, started)
                if process is None:
                    raise ProcessLookupError(launched.pid)
                undo.callback(os.close, process)
            finally:
                os.close(launched.block)
            undo.callback(self._network.forget, name)
            await self._network.attach(order, launched.pid, process)
            gate.setblocking(False)
            async with asyncio.timeout(_WARM_MOST):
                if await asyncio.get_running_loop().sock_recv(gate, 16) != b"ready":
                    raise StartFailed("its interpreter has ended", detail=_last(said.fileno()))
            undo.pop_all()
            said.close()
            return Spare(
                name=name, folder=folder, groups=groups, pid=launched.pid, started=started, child=launched.child,
                process=process, gate=gate, listener=listener,
            )  # fmt: skip

    def _end(self, spare: Spare) -> None:
        self._network.forget(spare.name)
        spare.gate.close()
        spare.listener.close()
        abandon(spare.child)
        os.close(spare.process)


def hand_over(spare: Spare, entry: Entry, *, output: int, environment: Mapping[str, str]) -> None:
    """Let the replica that has moved in begin. Raises `ConnectionError` when its process has ended."""
    (spare.folder / _MARK).unlink(missing_ok=True)
    entry = msgspec.structs.replace(entry, gate=GATE, environment=ENVIRONMENT)
    with contextlib.ExitStack() as ours:
        given = memory(ours, msgspec.json.encode(environment)).fileno()
        handover.send(
            spare.gate, msgspec.json.encode(entry), [spare.listener.fileno(), given, output]
        )  # As in `HANDED`.


def remove_left(folder: Path, limiter: Limiter) -> None:
    """Remove spare sandboxes in `folder` whose control process was killed, and nobody has moved into. Blocks."""
    for place in list(folder.glob(f"{_PREFIX}*")):
        if (place / _MARK).exists():
            _remove(folder, place.name, limiter.groups(_NOBODY, place.name))


def _remove(folder: Path, name: str, groups: tuple[str, ...]) -> None:
    """The folder and the groups of one that has ended, or is about to. Blocks."""
    end_groups(groups)
    with contextlib.suppress(OSError, NotFinished):
        top = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            remove_tree(name, dir_fd=top)
        finally:
            os.close(top)


def _last(output: int) -> str:
    lines = os.pread(output, 65536, 0).decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
