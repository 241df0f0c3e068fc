"""Two tenants: a function that attacks, and a victim with a secret in another namespace."""

from __future__ import annotations

import os
from pathlib import Path

from hilbert.core.model import Endpoint, Namespace, Secret
from hilbert.core.values import NamespaceName, SecretName
from hilbert.testing.harness import spec_of, watching
from support.processes import ProcessHarness

DEV = NamespaceName("dev")
TOKEN = SecretName("token")


class Scene:
    attacker: Endpoint
    victim: Endpoint

    def __init__(self, harness: ProcessHarness) -> None:
        self.harness = harness
        self.level = harness.level
        self.separate_users = harness.runtime.machine.user(1) is not None

    async def open(self) -> None:
        provider = self.harness.provider
        await provider.create_namespace(Namespace(name=DEV))
        await provider.create_secret(Secret(DEV, TOKEN, b"the victim's"))
        async with watching(provider) as table:
            for name, spec in {
                "victim": spec_of(self.harness, "victim", "dev", image="run", secrets=(TOKEN,)),
                "attacker": spec_of(self.harness, "attacker", image="run"),
            }.items():
                await provider.apply(spec)
                (endpoint,) = await table.ready(spec.ref)
                setattr(self, name, endpoint)

    @property
    def others(self) -> tuple[int, int]:
        """A victim's process and the platform's, by their numbers outside."""
        return self.harness.pid_of(self.victim), os.getpid()

    @property
    def closed(self) -> tuple[Path, ...]:
        victim = self.harness.folder / "run" / "r" / self.victim.replica.rpartition("-")[2]
        return (
            victim / "secrets" / "token",
            victim / "secrets",
            *(() if self.harness.images else (victim / "sock",)),
            self.harness.folder / "state" / "hilbert.db",
            self.harness.folder / "state",
            self.harness.folder / "run",
        )
