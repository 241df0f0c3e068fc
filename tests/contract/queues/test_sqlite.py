"""The queue in SQLite: the suite, the model, and what happens to its file."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

from hilbert.queues.sqlite import SqliteQueue
from hilbert.testing.queue import BOUNDS, FullQueue, QueueContract
from hilbert.testing.queue_machine import QueueMachine
from hilbert.testing.schedule_marks import MarksContract


@dataclass
class Subject:
    queue: SqliteQueue


@pytest.fixture
async def subject(tmp_path: Path) -> AsyncIterator[Subject]:
    queue = await SqliteQueue.open(tmp_path, BOUNDS, reserve_bytes=0)
    try:
        yield Subject(queue)
    finally:
        queue.close()


class TestSqlite(QueueContract):
    pass


class TestSqliteMarks(MarksContract):
    pass


class Machine(QueueMachine):
    gives_back = True
    folder: Path | None = None

    async def open(self) -> FullQueue:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="queue-"))
        self.queue = await SqliteQueue.open(self.folder, BOUNDS, reserve_bytes=0)
        return self.queue

    async def close(self) -> None:
        self.queue.close()

    def teardown(self) -> None:
        super().teardown()
        assert self.folder is not None
        shutil.rmtree(self.folder)


TestAgainstTheModel = Machine.TestCase
TestAgainstTheModel.settings = settings(max_examples=80, stateful_step_count=40)
