"""The oracle of the attacks on the wire: somebody else's calls, while an attack goes on."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

from support.dataplane import Plane, until
from support.replicas import Call
from support.wire import Wire

MIB: Final = 1024 * 1024
_PAUSE: Final = 0.005
"""Seconds between two calls of a victim."""


def _own(call: Call) -> None:
    """Answers with what only this request holds."""
    call.answer(b"for " + call.head.get("X-Token"))


class Victim:
    """A tenant with a function, and a client that calls it over one connection for as long as that lives."""

    def __init__(self, plane: Plane, source: str = "127.0.0.1", *, pause: float = _PAUSE) -> None:
        """`source` is the address that it calls from; `pause` the seconds between two calls of `run`."""
        self._pause = pause
        self._plane = plane
        self._source = source
        self._tokens = itertools.count(1)
        self.name, _ = plane.function(_own)
        self.wrong: list[str] = []
        self.took: list[float] = []
        """Seconds of each call."""

    def call(self, wire: Wire) -> None:
        """One call; what is wrong with its answer is noted."""
        token = b"t%d" % next(self._tokens)
        began = time.monotonic()
        wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\nX-Token: %b\r\n\r\n" % (self.name.encode(), token))
        answer = wire.response()
        self.took.append(time.monotonic() - began)
        if (answer.status, answer.body) != (200, b"for " + token):
            self.wrong.append(f"{answer.start!r} {answer.body[:200]!r} instead of an answer to {token!r}")

    def call_on_another(self) -> None:
        """One call on a connection of its own."""
        with self.connect() as wire:
            self.call(wire)

    def connect(self) -> Wire:
        return self._plane.connect_from(self._source)

    def run(self, until: threading.Event) -> None:
        try:
            with self.connect() as wire:
                while not until.is_set():
                    self.call(wire)
                    until.wait(self._pause)
        except Exception as exc:
            self.wrong.append(repr(exc))


@contextlib.contextmanager
def unharmed(plane: Plane, *, grows: int = 24 * MIB, source: str = "127.0.0.1") -> Iterator[Victim]:
    """An attack goes on inside. Afterwards: every call of the victim got its own answer, and the worker grew by less than `grows`."""
    victim = Victim(plane, source)
    done = threading.Event()
    thread = threading.Thread(target=victim.run, args=(done,))
    before = plane.memory()
    most = before
    thread.start()
    try:
        until(lambda: victim.took or victim.wrong, what="the victim's first call")
        yield victim
        most = max(most, plane.memory())
        calls = len(victim.took)
        until(lambda: len(victim.took) > calls or victim.wrong, what="another call of the victim")
    finally:
        done.set()
        thread.join(30)
    assert not thread.is_alive(), "the victim's call was never answered"
    assert not victim.wrong, victim.wrong[:3]
    assert most - before < grows, f"the worker grew by {(most - before) // 1024} KiB"


_CALLER = """
import json, socket, sys, time
host, port, name, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
sock = socket.create_connection((host, port), timeout=20)
sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
took = []
for _ in range(count):
    began = time.monotonic()
    sock.sendall(f"GET /function/{name} HTTP/1.1\\r\\nHost: x\\r\\nX-Token: t\\r\\n\\r\\n".encode())
    data = b""
    while not data.endswith(b"for t"):
        part = sock.recv(4096)
        assert part and not data.startswith(b"HTTP/1.1 5"), data + part
        data += part
    took.append(time.monotonic() - began)
    time.sleep(0.002)
took.sort()
print(json.dumps(took[-max(1, count // 100) - 1]))
"""
"""A client in a process of its own: what it waits for is the worker, not the attack that runs in the test's process."""

_CALLS: Final = (200, 400, 800, 400, 400, 400, 400)
"""Calls of each round. An attack that makes others wait does so in every round; what else this machine does, in some."""


def p99s(*planes: tuple[Plane, str], calls: int) -> list[float]:
    """For each plane and a function there, called at the same time: the seconds that its slowest calls but one in a hundred take."""
    clients = []
    for plane, name in planes:
        host, port = plane.address
        command = [sys.executable, "-I", "-c", _CALLER, host, str(port), name, str(calls)]
        clients.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    try:
        ended = [client.communicate(timeout=120) for client in clients]
    finally:
        for client in clients:
            client.kill()
            client.wait()
    for client, (_, errors) in zip(clients, ended, strict=True):
        assert client.returncode == 0, errors
    return [float(json.loads(output)) for output, _ in ended]


def assert_nobody_waits(plane: Plane, attack: Callable[[], None]) -> None:
    """While `attack` is made again and again, another function's p99 stays under twice that of a plane that nobody attacks, plus 10 ms.

    The two are called at the same time: whatever else makes this machine slow makes both slow.
    """
    calm = Plane()
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(_PAUSE):
            attack()

    thread = threading.Thread(target=repeat)
    try:
        compared = (plane, Victim(plane).name), (calm, Victim(calm).name)
        thread.start()
        seen: list[tuple[float, float]] = []
        for calls in _CALLS:
            attacked, untouched = p99s(*compared, calls=calls)
            if attacked <= 2 * untouched + 0.010:
                return
            seen.append((attacked, untouched))
    finally:
        done.set()
        if thread.ident is not None:
            thread.join(60)
        calm.close()
    raise AssertionError(f"another function's p99 with an attack and without, in seconds: {seen}")
