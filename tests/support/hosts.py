"""A host provider on a fake runtime, with a life that a test can end and begin again."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from hilbert.core.model import Endpoint
from hilbert.core.settings import ProviderSettings
from hilbert.core.values import Duration
from hilbert.kit.aio import Clock
from hilbert.providers.host import HostProvider, open_database
from hilbert.runtimes.logs.memory import MemoryLogs
from hilbert.testing.harness import Alone
from support.runtimes import AnnouncingRuntime, FakeRuntime, World

QUICK = ProviderSettings(drain_delay=Duration.of(0.02), start_timeout=Duration.of(30))


class HostHarness(Alone):
    """For the contract, and for tests that look behind it."""

    image = "any"

    def __init__(
        self,
        make: Callable[[World], FakeRuntime] = FakeRuntime,
        *,
        settings: ProviderSettings = QUICK,
        clock: Clock | None = None,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hb-"))
        self.logs = MemoryLogs()
        self.world = World(self.logs)
        self.settings = settings
        self.clock = clock
        self._make = make

    async def start(self, make: Callable[[World], FakeRuntime] | None = None) -> HostProvider:
        self.database = open_database(self.folder / "hilbert.db")
        self.runtime = (make or self._make)(self.world)
        self.provider = HostProvider(
            self.database, self.runtime, logs=self.logs, settings=self.settings, clock=self.clock
        )
        await self.provider.start()
        return self.provider

    async def die(self) -> None:
        """What is in memory is lost; what is stored, and the replicas, stay."""
        await self.provider.close()
        await asyncio.to_thread(self.database.close)

    async def restart(self) -> bool:
        await self.die()
        await self.start()
        return True

    async def crash(self, endpoint: Endpoint) -> bool:
        self.world.die(endpoint.replica)
        if isinstance(self.runtime, AnnouncingRuntime):
            self.runtime.announce(endpoint.replica)
        return True

    async def close(self) -> None:
        await self.close_all(keep_folder=False)

    async def close_all(self, *, keep_folder: bool) -> None:
        """With `keep_folder` the state directory is somebody else's to remove."""
        await self.die()
        self.world.close()
        self.logs.forget()
        for folder in (self.world.folder, *([] if keep_folder else [self.folder])):
            shutil.rmtree(folder)
