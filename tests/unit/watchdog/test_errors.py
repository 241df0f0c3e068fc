"""The standard error of one process: given to the log's thread once it says something, and closed when it never does."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from hilbert.kit.epoll.loop import EpollLoop
from hilbert.watchdog.errors import Errors
from hilbert.watchdog.logs import Log, Pump


@dataclass
class Standing:
    """All that takes part, and the log's reading end."""

    loop: EpollLoop
    errors: Errors
    pump: Pump
    log: int

    def turn(self) -> None:
        """Let the loop see what has come."""
        self.loop.call_later(0.02, self.loop.stop)
        self.loop.run_forever()

    def logged(self) -> bytes:
        """Everything; to be asked last."""
        self.errors.close()
        self.pump.stop()
        return os.read(self.log, 65536)


@pytest.fixture
def standing() -> Iterator[Standing]:
    read, write = os.pipe()
    loop, pump = EpollLoop(), Pump(line_limit=100)
    log = Log(write, stamp=False, date=False)
    pump.start()
    yield Standing(loop, Errors(loop, log, pump, origin=b"stderr: "), pump, read)
    if not pump.stopped:
        pump.stop()
    loop.close()
    os.close(read)
    os.close(write)


def test_what_is_written_is_logged(standing: Standing) -> None:
    """From the first byte to the end, however many pieces it comes in."""
    end = standing.errors.pipe(b"one")
    os.write(end, b"first\nsec")
    standing.turn()
    os.write(end, b"ond\n")
    os.close(end)
    standing.turn()
    assert standing.logged() == b"stderr: first\nstderr: second\n"


def test_what_is_written_just_before_the_end_is_logged(standing: Standing) -> None:
    """The loop sees both at once."""
    end = standing.errors.pipe(b"one")
    os.write(end, b"last words")
    os.close(end)
    standing.turn()
    assert standing.logged() == b"stderr: last words\n"


def test_a_silent_process_leaves_nothing(standing: Standing) -> None:
    """Its pipe is closed by the loop alone."""
    before = len(os.listdir("/proc/self/fd"))
    ends = [standing.errors.pipe(b"one") for _ in range(5)]
    for end in ends:
        os.close(end)
    standing.turn()
    assert len(os.listdir("/proc/self/fd")) == before
    os.set_blocking(standing.log, False)
    with pytest.raises(BlockingIOError):
        standing.logged()


def test_nothing_is_lost_when_the_loop_has_stopped(standing: Standing) -> None:
    """What was written after its last turn."""
    end = standing.errors.pipe(b"one")
    os.write(end, b"too late?\n")
    os.close(end)
    assert standing.logged() == b"stderr: too late?\n"
