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
from support.replicas import Call
from support.wire import Closed, Wire


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
        told = ended = 0
        for _ in range(300):
            wire = plane.connect()
            wires.append(wire)
            wire.send(b"POST /function/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" % stalled.encode())
        for wire in wires:
            wire.sock.settimeout(0.05)
            try:
                assert wire.head().status == 503
                told += 1
            except TimeoutError:
                continue
            except Closed:  # Its call stalled, and it made room for a later one.
                ended += 1
        assert told + ended > 150
        assert told > 50
        assert plane.open_files() < 256
        for _ in range(20):
            victim.call_on_another()
        assert not victim.wrong, victim.wrong
        assert "connections turned away" in plane.log.read_text()
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.bound("descriptors")
def test_descriptors_are_kept_for_calls_when_all_requests_come_at_once(few: Plane) -> None:
    """Connections that wait first, each of which then makes a call that stalls, and needs another descriptor."""
    wires: list[Wire] = []
    try:
        victim = Victim(few, "127.0.0.2")
        stalled, _ = few.function(lambda call: call.body())
        wires = [few.connect_from("127.0.0.1") for _ in range(150)]
        until(lambda: few.open_files() >= 140, what="them to be there")
        for wire in wires:
            wire.send(b"POST /function/%b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n" % stalled.encode())
        for _ in range(50):
            victim.call_on_another()
            assert few.open_files() < 256
        assert not victim.wrong, victim.wrong
    finally:
        for wire in wires:
            wire.close()


GET = b"GET /function/%b HTTP/1.1\r\nHost: x\r\n\r\n"
UPGRADE = b"GET /function/%b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def idle(plane: Plane, source: str, name: str, count: int) -> list[Wire]:
    """Connections that have made one call each, and wait."""
    wires = [plane.connect_from(source) for _ in range(count)]
    for wire in wires:
        wire.send(GET % name.encode())
        assert wire.response().status == 200
    return wires


@pytest.mark.bound("idle-connections")
def test_idle_connections_make_room() -> None:
    """Those of whoever has most, the longest idle first; what is under way, and whoever has less, stays."""
    plane = Plane(max_connections=12, max_source_connections=10)
    try:
        victim = Victim(plane, "127.0.0.3")
        name, _ = plane.function()
        with victim.connect() as kept, plane.connect() as busy:
            victim.call(kept)
            busy.send(GET[:-2] % name.encode())
            hoard = idle(plane, "127.0.0.1", name, 9)
            with contextlib.ExitStack() as stack:
                stack.callback(lambda: [wire.close() for wire in hoard])
                wires = [stack.enter_context(plane.connect_from("127.0.0.2")) for _ in range(5)]
                for wire in wires:
                    wire.send(GET % name.encode())
                    assert wire.response().status == 200
                assert [wire.rest() for wire in hoard[:4]] == [b""] * 4, "the first four had been idle longest"
                for wire in hoard[4:]:
                    wire.send(GET % name.encode())
                    assert wire.response().status == 200
                busy.send(b"\r\n")
                assert busy.response().status == 200
                victim.call(kept)
        assert not victim.wrong, victim.wrong
    finally:
        plane.close()


def test_a_flood_of_idle_connections_keeps_nobody_out() -> None:
    """One address opens connections and keeps them, faster than others come: it only ever closes its own."""
    plane = Plane(max_connections=40)
    wires: list[Wire] = []
    try:
        victim = Victim(plane, "127.0.0.2")
        for number in range(200):
            wires.append(plane.connect())
            if number % 10 == 0:
                victim.call_on_another()
        assert not victim.wrong, victim.wrong
    finally:
        for wire in wires:
            wire.close()
        plane.close()


@pytest.mark.bound("tunnels", "source-places")
def test_tunnels_have_places_of_their_own() -> None:
    """One address gets its share of them, all have so many, and a place is free again when a tunnel ends."""
    plane = Plane(max_tunnels=8)

    def hold(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        call.wire.rest()
        call.wire.close()

    try:
        name, _ = plane.function(hold)
        victim = Victim(plane)

        def upgrade(source: str) -> Wire:
            wire = plane.connect_from(source)
            wire.send(UPGRADE % name.encode())
            return wire

        with contextlib.ExitStack() as stack:
            tunnels = [stack.enter_context(upgrade("127.0.0.1")) for _ in range(7)]
            assert [wire.head().status for wire in tunnels] == [101] * 7
            with upgrade("127.0.0.1") as extra:
                answer = extra.response()
                assert (answer.status, answer.get("X-Hilbert-Error")) == (503, b"too-many-tunnels")
                assert b"from your address" in answer.body
                assert b"gateway.max_tunnels" in answer.body
            tunnels.append(stack.enter_context(upgrade("127.0.0.2")))
            assert tunnels[-1].head().status == 101
            with upgrade("127.0.0.3") as extra:
                assert b"in each worker" in extra.response().body
            victim.call_on_another()
            tunnels[0].close()

            def again() -> bool:
                with upgrade("127.0.0.1") as wire:
                    return wire.head().status == 101

            until(again, what="a place")
        assert not victim.wrong, victim.wrong
    finally:
        plane.close()


@pytest.mark.bound("api-calls", "source-places")
def test_one_address_does_not_take_the_api_from_others() -> None:
    """As many slow requests as it gets; others are answered, and it is again once they have ended."""
    plane = Plane(max_api_calls=16)
    go = threading.Event()

    def control(call: Call) -> None:
        if call.head.start.startswith(b"GET /slow"):
            go.wait(30)
        call.answer(b"the API")

    plane.start_control(control)
    wires: list[Wire] = []
    try:
        wires = [plane.connect() for _ in range(20)]
        for wire in wires:
            wire.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        answers = [wire.response() for wire in wires[14:]]
        assert [answer.get("X-Hilbert-Error") for answer in answers] == [b"too-many-api-calls"] * 6
        assert answers[0].get("Retry-After") == b"1"
        with plane.connect_from("127.0.0.2") as other:
            other.send(b"GET /system/info HTTP/1.1\r\nHost: x\r\n\r\n")
            assert other.response().body == b"the API"
        go.set()
        assert {wire.response().body for wire in wires[:14]} == {b"the API"}
        assert plane.call("/system/info").body == b"the API"
    finally:
        go.set()
        for wire in wires:
            wire.close()
        plane.close()
