"""A start that is worked out and has changed nothing yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from hilbert.core.ports import Handle, ReplicaPlan
from hilbert.runtimes.network.messages import Attach
from hilbert.runtimes.process.environment import render_environment
from hilbert.runtimes.process.interpreter import Interpreter
from hilbert.runtimes.process.network import without_unix_upstream
from hilbert.runtimes.process.sandbox.contract import Command, Occupant, Sandbox
from hilbert.runtimes.replica.handle import ReplicaData
from hilbert.runtimes.replica.limits import Allowance


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

    def at(self, folder: Path, sandbox: Sandbox) -> Prepared:
        """The same with another folder."""
        occupant = msgspec.structs.replace(self.occupant, folder=folder)
        return msgspec.structs.replace(
            self,
            data=msgspec.structs.replace(self.data, folder=str(folder)),
            occupant=occupant,
            command=sandbox.command(occupant),
        )

    def environment(self, interpreter: Interpreter) -> Mapping[str, str]:
        """Of the replica's watchdog."""
        manifest = self.occupant.bundle.manifest
        found = render_environment(self.plan, manifest, self.command.places, python=interpreter.bin)
        return found if self.command.unix_sockets else without_unix_upstream(found)
