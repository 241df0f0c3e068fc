"""A hostile client comes in numbers: one address has its share, and descriptors are kept for calls."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from attack.victim import Victim
from support.dataplane import Plane, until
from support.wire import Wire


@pytest.mark.bound("source-connections")
def test_a_source_has_its_share_of_the_connections() -> None:
    """One address takes all it can; another is served, and the first again once it has let go."""
    plane = Plane(max_connections=40, max_source_connections=30)
    try:
        victim = Victim(plane, "127.0.0.2")
        wires = [plane.connect() for _ in range(30)]
        for wire in wires:
            wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\n" % victim.name.encode())
        with plane.connect() as extra:
            answer = extra.response()
        assert (answer.status, answer.get("X-Hilbert-Error")) == (503, b"too-many-connections")
        assert b"gateway.max_source_connections" in answer.body
        for _ in range(20):
            victim.call_on_another()
        for wire in wires:
            wire.close()
        again = Victim(plane)
        until(lambda: plane.call(f"/function/{again.name}").status == 200, what="room")
        assert not victim.wrong, victim.wrong
        assert "connections turned away" in plane.log.read_text()
    finally:
        plane.close()


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Plane]:
    """A worker that may open 256 descriptors."""
    wrapper = tmp_path / "few"
    wrapper.write_text(f'#!/bin/sh\nexec prlimit --nofile=256:256 {sys.executable} "$@"\n')
    wrapper.chmod(0o755)

    class Few(Plane):
        python = str(wrapper)

    made = Few()
    yield made
    made.close()


@pytest.mark.bound("idle-upstreams")
def test_connections_that_wait_do_not_take_all_descriptors(few: Plane) -> None:
    """Many functions, each called by many at once: what is left over of it is closed while descriptors are few."""
    names = []
    gates = [threading.Event() for _ in range(6)]
    for gate in gates:
        name, _ = few.function(lambda call, gate=gate: (gate.wait(30), call.answer(b"done")))
        names.append(name)
    wires = [few.connect() for _ in range(50)]
    try:
        for name, gate, replica in zip(names, gates, few.replicas, strict=True):
            for wire in wires:
                wire.send(b"GET /function/%b HTTP/1.1\r\nHost: x\r\n\r\n" % name.encode())
            until(lambda replica=replica: len(replica.calls) == 50, what="all calls to arrive")  # type: ignore[misc]
            gate.set()
            assert {wire.response().body for wire in wires} == {b"done"}
        assert few.open_files() < 220
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.bound("descriptors")
def test_descriptors_are_kept_for_calls(few: Plane) -> None:
    """Few descriptors, and a client with stalled connections: it is turned away with an answer before they are spent."""
    plane = few
    wires: list[Wire] = []
    try:
        victim = Victim(plane, "127.0.0.2")
        stalled, _ = plane.function(lambda call: call.body())
        told = 0
        for _ in range(300):
            wire = plane.connect()
            wires.append(wire)
            wire.send(b"POST /function/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" % stalled.encode())
        for wire in wires:
            wire.sock.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                answer = wire.head()
                assert answer.status == 503
                told += 1
        assert told > 150
        assert plane.open_files() < 256
        for _ in range(20):
            victim.call_on_another()
        assert not victim.wrong, victim.wrong
        assert "connections turned away" in plane.log.read_text()
    finally:
        for wire in wires:
            wire.close()
