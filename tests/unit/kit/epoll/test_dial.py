"""Connecting on the small event loop: where to, in which order, and what is told when nobody answers."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hilbert.kit.epoll.dial import Place, dial, places
from hilbert.kit.epoll.loop import EpollLoop


@pytest.fixture
def loop() -> Iterator[EpollLoop]:
    made = EpollLoop()
    yield made
    made.close()


class Hello(asyncio.Protocol):
    """Says a word once it is connected, and leaves."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(b"hello")  # type: ignore[attr-defined]  # a transport of the loop's
        transport.close()


def dialled(loop: EpollLoop, where: list[Place]) -> OSError | None:
    """What `then` was told."""
    told: list[OSError | None] = []

    def then(error: OSError | None) -> None:
        told.append(error)
        loop.call_later(0.01, loop.stop)  # The connection is closed by then.

    dial(loop, where, Hello(), then)
    loop.call_later(20, loop.stop)
    loop.run_forever()
    [error] = told
    return error


def test_the_first_place_that_answers(loop: EpollLoop) -> None:
    """One that refuses is passed over."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = places("127.0.0.1", gone.getsockname()[1])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert dialled(loop, refusing + places("127.0.0.1", listener.getsockname()[1])) is None
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.recv(16) == b"hello"


def test_nobody_there(loop: EpollLoop, tmp_path: Path) -> None:
    """The last reason is told, for either family and for no place at all."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        refusing = places("127.0.0.1", gone.getsockname()[1])
    error = dialled(loop, refusing)
    assert error is not None
    assert error.errno == errno.ECONNREFUSED
    error = dialled(loop, [(socket.AF_UNIX, str(tmp_path / "none.sock"))])
    assert error is not None
    assert error.errno == errno.ENOENT
    assert isinstance(dialled(loop, []), OSError)


def test_a_full_queue_is_waited_for(loop: EpollLoop, tmp_path: Path) -> None:
    """A unix socket whose queue is full takes the connection once there is room."""
    path = str(tmp_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(0)
        waiting = [socket.socket(socket.AF_UNIX)]
        waiting[0].connect(path)
        waiting.append(socket.socket(socket.AF_UNIX))
        waiting[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting[1].connect(path)
        taken = []
        loop.call_later(0.05, lambda: taken.extend(listener.accept()[0] for _ in waiting[:-1]))
        assert dialled(loop, [(socket.AF_UNIX, path)]) is None
        accepted, _ = listener.accept()
        assert accepted.recv(16) == b"hello"
        for one in (*waiting, *taken, accepted):
            one.close()
