"""The queue in memory passes the suite that it specifies."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hilbert.queues.memory import MemoryQueue
from hilbert.testing.queue import BOUNDS, QueueContract
from hilbert.testing.schedule_marks import MarksContract


@dataclass
class Subject:
    queue: MemoryQueue


@pytest.fixture
def subject() -> Subject:
    return Subject(MemoryQueue(BOUNDS))


class TestMemory(QueueContract):
    pass


class TestMemoryMarks(MarksContract):
    pass
