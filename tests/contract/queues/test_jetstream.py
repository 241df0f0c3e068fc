"""The queue in NATS JetStream: the suite and the model, on a real server that syncs before each acknowledgement."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings

from support import nats as real

if reason := real.missing():
    pytest.skip(reason, allow_module_level=True)

from hilbert.queues.jetstream import JetStreamQueue
from hilbert.queues.jetstream.log import Log
from hilbert.testing.queue import BOUNDS, FullQueue, QueueContract
from hilbert.testing.queue_machine import QueueMachine
from hilbert.testing.schedule_marks import MarksContract

NAMES = itertools.count()


@dataclass
class Subject:
    queue: JetStreamQueue


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[real.NatsServer]:
    folder = Path(tempfile.mkdtemp(prefix="nats-"))
    server = real.NatsServer(folder)
    server.start()
    Machine.url = server.url
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture
async def subject(server: real.NatsServer, tmp_path: Path) -> AsyncIterator[Subject]:
    queue = await JetStreamQueue.open(partial(Log.connect, server.url, name=f"q{next(NAMES)}"), tmp_path, BOUNDS)
    try:
        yield Subject(queue)
    finally:
        await queue._log.remove()
        await queue.close()


class TestJetStream(QueueContract):
    pass


class TestJetStreamMarks(MarksContract):
    pass


class Machine(QueueMachine):
    url = ""
    folder: Path | None = None

    async def open(self) -> FullQueue:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="queue-"))
            self.name = f"q{next(NAMES)}"
        log = partial(Log.connect, self.url, name=self.name)
        # A snapshot after every few changes, so that histories begin from them as well.
        self.queue = await JetStreamQueue.open(log, self.folder, BOUNDS, snapshot_after=2_000)
        return self.queue

    async def close(self) -> None:
        await self.queue.close()

    def teardown(self) -> None:
        self.run(self.queue._log.remove())
        super().teardown()
        assert self.folder is not None
        shutil.rmtree(self.folder)


TestAgainstTheModel = Machine.TestCase
TestAgainstTheModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
