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


@pytest.mark.bound("name-questions", "name-time")
def test_questions_that_wait_are_bounded_and_given_up(scene: Scene) -> None:
    askers = set()
    for number in range(100):
        scene.asker.send(b"%d" % number)
        scene.turn()
    scene.upstream.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            askers.add(scene.upstream.recvfrom(100)[1])
    assert len(askers) == names.PENDING_MOST, "each from a port of its own"
    scene.server.tidy(time.monotonic() + names.ANSWER_MOST + 1)
    assert len(scene.selector.get_map()) == 2
    scene.asker.send(b"again")
    scene.turn()
    assert scene.upstream.recv(100) == b"again"


@pytest.mark.bound("name-question")
def test_a_long_question_is_cut(scene: Scene) -> None:
    scene.asker.send(b"q" * (names.QUESTION_MOST + 1000))
    scene.turn()
    assert len(scene.upstream.recv(65536)) == names.QUESTION_MOST


@pytest.mark.bound("name-rate")
def test_who_asks_without_end_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions stay in the kernel's buffer for the rest of the second; streams and other replicas have their turn."""
    monkeypatch.setattr(names, "RATE_MOST", 5)
    monkeypatch.setattr(time, "monotonic", lambda: 100.5)
    for _ in range(20):
        scene.asker.send(b"again")
    assert [scene.turn() for _ in range(7)] == [1, 1, 1, 1, 1, 0, 0]
    scene.server.tidy(100.9)
    assert scene.turn() == 0
    monkeypatch.setattr(time, "monotonic", lambda: 101.0)
    scene.server.tidy(101.0)
    assert scene.turn() == 1


@pytest.mark.bound("name-descriptors")
def test_questions_leave_descriptors_for_calls(scene: Scene) -> None:
    scene.server._descriptors = 2
    scene.asker.send(b"question")
    assert scene.turn() == 1
    scene.upstream.setblocking(False)
    with pytest.raises(BlockingIOError):
        scene.upstream.recv(100)
    scene.server._descriptors = 1024
    scene.asker.send(b"another")
    scene.turn()
    scene.upstream.settimeout(5)
    assert scene.upstream.recv(100) == b"another"


@pytest.mark.bound("name-streams")
def test_streams_pass_both_ways_and_are_bounded(scene: Scene) -> None:
    clients = [socket.create_connection(scene.stream_place, 5) for _ in range(names.STREAMS_MOST + 1)]
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
