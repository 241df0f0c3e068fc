"""The runtime's question whether a replica is ready, which may be held until it is."""

from __future__ import annotations

import pytest

from hilbert.watchdog.call import Call, Work
from hilbert.watchdog.config import read_config
from hilbert.watchdog.front import Front
from support.transports import ManualLoop, MemoryTransport


class Slow:
    """A mode that becomes ready when the test says so."""

    ready = False

    def accept(self, call: Call) -> Work:
        raise NotImplementedError

    def close(self, *, at_once: bool) -> None: ...


class Bench:
    def __init__(self, **env: str) -> None:
        self.loop = ManualLoop()
        self.mode = Slow()
        config = read_config({"HILBERT_MODE": "http", "fprocess": "true", "upstream_url": "unix:x", **env})
        self.front = Front(config, self.mode, self.loop, lock=False)  # type: ignore[arg-type]  # what it uses of a loop

    def ask(self) -> MemoryTransport:
        transport = MemoryTransport()
        connection = self.front.connection()
        connection.connection_made(transport)  # type: ignore[arg-type]  # what it uses of a transport
        connection.data_received(b"GET /_/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        self.connection = connection
        return transport


RUNTIMES = {"HILBERT_LISTEN_FD": "3"}


def test_it_is_answered_when_the_mode_is_ready() -> None:
    bench = Bench(**RUNTIMES)
    asked = bench.ask()
    assert asked.sent == b""
    bench.mode.ready = True
    bench.front.tell_ready()
    assert asked.sent.startswith(b"HTTP/1.1 200 ")
    bench.connection.data_received(b"GET /_/health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert asked.sent.count(b"HTTP/1.1 200 ") == 2, "the connection goes on"


def test_after_a_second_it_is_not_ready() -> None:
    bench = Bench(**RUNTIMES)
    asked = bench.ask()
    bench.loop.advance(1.0)
    assert asked.sent.startswith(b"HTTP/1.1 503 ")
    bench.mode.ready = True
    bench.front.tell_ready()
    assert asked.sent.count(b"HTTP/1.1 ") == 1


def test_one_that_leaves_is_forgotten_and_the_end_answers_the_others() -> None:
    bench = Bench(**RUNTIMES)
    gone = bench.ask()
    bench.connection.connection_lost(None)
    asked = bench.ask()
    bench.front.unready()
    assert gone.sent == b""
    assert asked.sent.startswith(b"HTTP/1.1 503 ")


@pytest.mark.bound("readiness-held")
def test_so_many_are_held_and_others_answered_at_once() -> None:
    bench = Bench(**RUNTIMES)
    asked = [bench.ask() for _ in range(20)]
    assert [bool(one.sent) for one in asked] == [False] * 16 + [True] * 4


@pytest.mark.parametrize("env", [{}, {**RUNTIMES, "ready_path": "/up"}])
def test_in_a_container_and_with_a_path_of_its_own_it_is_answered_at_once(env: dict[str, str]) -> None:
    """A probe of Kubernetes has a second, and the function's own path is the function's to answer."""
    assert Bench(**env).ask().sent.startswith(b"HTTP/1.1 503 ")
