"""A start that is worked out and has changed nothing yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.process.environment import render_environment
from hilbert.runtimes.process.interpreter import Interpreter
from hilbert.runtimes.process.machine import Machine
from hilbert.runtimes.process.network import without_unix_upstream
from hilbert.runtimes.process.sandbox.contract import Command, Occupant
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import Allowance, Limiter


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """Of one replica."""

    plan: ReplicaPlan
    allowance: Allowance
    data: ReplicaData
    network: Attach | None
    """None: it has no network that is ours to make."""
    occupant: Occupant
    command: Command

    @property
    def handle(self) -> Handle:
        return self.data.put_into(
            Handle(replica=self.plan.replica, ref=self.plan.spec.ref, generation=self.plan.generation)
        )

    def running(self, pid: int, started: str) -> Handle:
        """The handle once there is a process, and when that was started."""
        return msgspec.structs.replace(self.data, pid=pid, started=started).put_into(self.handle)

    def in_spare(self, folder: Path, groups: Sequence[str], machine: Machine) -> Prepared:
        """The same in a spare sandbox with that folder and those control groups."""
        occupant = msgspec.structs.replace(self.occupant, folder=folder)
        own = machine.limiter.of_spare(groups, self.plan.spec.ref.namespace, self.plan.replica)
        return msgspec.structs.replace(
            self,
            data=msgspec.structs.replace(self.data, folder=str(folder), groups=own),
            occupant=occupant,
            command=machine.sandbox.command(occupant),
        )

    def create_groups(self, limiter: Limiter) -> None:
        """Its control groups. Blocks, since the kernel changes groups one at a time. Raises `OSError`."""
        plan = self.plan
        limiter.create(plan.spec.ref.namespace, plan.replica, self.allowance, weight=plan.weight)

    def environment(self, interpreter: Interpreter) -> Mapping[str, str]:
        """Of the replica's watchdog."""
        manifest = self.occupant.bundle.manifest
        found = render_environment(self.plan, manifest, self.command.places, python=interpreter.bin)
        return found if self.command.unix_sockets else without_unix_upstream(found)
