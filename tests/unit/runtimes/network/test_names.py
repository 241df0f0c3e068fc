"""The name server in a replica: what it passes on, and what bounds it."""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Iterator

import pytest

from hilbert.runtimes.network import names
from hilbert.runtimes.network.names import NameServer


class Scene:
    """A name server between an asker and a server of the test's, all on the loopback."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.upstream, self.streams = _both()
        self.upstream.settimeout(5)
        monkeypatch.setattr(names, "_PORT", self.upstream.getsockname()[1])
        datagrams, listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
        datagrams.bind(("127.0.0.1", 0))
        self.place, self.stream_place = datagrams.getsockname(), listener.getsockname()
        self.selector = selectors.DefaultSelector()
        self.server = NameServer(datagrams, listener, self.selector, servers=lambda: ["127.0.0.1"])
        self.asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.asker.settimeout(5)
        self.asker.connect(self.place)

    def turn(self) -> int:
        """One round of the keeper's loop; how many sockets had something to say."""
        ready = self.selector.select(0.2)
        for key, _ in ready:
            key.data()
        return len(ready)

    def close(self) -> None:
        self.server.close()
        self.selector.close()
        for sock in (self.upstream, self.streams, self.asker):
            sock.close()


def _both() -> tuple[socket.socket, socket.socket]:
    """A socket for datagrams and one that listens, on one port: as it may be taken for either, until one is free for both."""
    while True:
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", 0))
        try:
            return datagrams, socket.create_server(datagrams.getsockname())
        except OSError:
            datagrams.close()


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene = Scene(monkeypatch)
    yield scene
    scene.close()


def test_questions_and_answers_pass_as_they_are(scene: Scene) -> None:
    scene.asker.send(b"question")
    assert scene.turn() == 1
    question, asker = scene.upstream.recvfrom(100)
    assert question == b"question"
    scene.upstream.sendto(b"answer", asker)
    assert scene.turn() == 1
    assert scene.asker.recv(100) == b"answer"
    scene.upstream.sendto(b"another", asker)
    assert scene.turn() == 0, "one answer to each question"


def test_questions_that_wait_are_bounded_and_given_up(scene: Scene) -> None:
    askers = set()
    for number in range(100):
        scene.asker.send(b"%d" % number)
        scene.turn()
    scene.upstream.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            askers.add(scene.upstream.recvfrom(100)[1])
    assert len(askers) == names._PENDING_MOST, "each from a port of its own"
    scene.server.tidy(time.monotonic() + names._ANSWER_MOST + 1)
    assert len(scene.selector.get_map()) == 2
    scene.asker.send(b"again")
    scene.turn()
    assert scene.upstream.recv(100) == b"again"


def test_streams_pass_both_ways_and_are_bounded(scene: Scene) -> None:
    clients = [socket.create_connection(scene.stream_place, 5) for _ in range(names._STREAMS_MOST + 1)]
    for _ in clients:
        scene.turn()
    first, _ = scene.streams.accept()
    clients[0].send(b"question")
    while not scene.turn():
        pass
    assert first.recv(100) == b"question"
    first.send(b"answer")
    scene.turn()
    assert clients[0].recv(100) == b"answer"
    assert clients[-1].recv(100) == b"", "one too many"
    first.close()
    scene.turn()
    assert clients[0].recv(100) == b""
    for client in clients:
        client.close()
