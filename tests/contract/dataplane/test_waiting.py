"""Calls that wait for a replica, calls that take too long, calls that go elsewhere."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hilbert.core.model import CallPolicy, Endpoint, Route, StartFault
from support.dataplane import Call, Plane, until
from support.replicas import Replica, echo
from support.wire import Closed


class Gate:
    """A script that answers once it is opened, and knows how many calls are inside."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __call__(self, call: Call) -> None:
        with self.lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.opened.wait(20)
        with self.lock:
            self.inside -= 1
        call.answer(call.body() or b"through")


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as executor:
        yield executor


def test_function_at_zero_is_woken_and_the_call_waits(plane: Plane) -> None:
    """One wake-up; the call, body and all, goes through when the replica is there."""
    plane.put("cold")
    plane.on_wake = lambda ref: plane.feed.put(route)
    route = Route("openfaas-fn", "cold", (plane.replica().endpoint,))
    assert plane.call("/function/cold", b"x" * 200_000).body == b"x" * 200_000
    assert plane.wakes == ["cold.openfaas-fn"]
    until(
        lambda: [one.cold_starts for ref, one in plane.totals.functions().items() if ref.name == "cold"] == [1],
        what="the count",
    )


def test_a_thousand_calls_at_zero(plane: Plane) -> None:
    """One wake-up, no failure."""
    plane.wakes.clear()
    plane.put("crowd")
    plane.on_wake = lambda ref: None
    began = time.monotonic()
    wires = [plane.connect() for _ in range(1000)]
    try:
        for number, wire in enumerate(wires):
            body = b"n%d" % number
            wire.send(b"POST /function/crowd HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        until(lambda: plane.waiting("crowd") == 1000, what="all calls to wait")
        # Wake-ups are repeated each second while calls wait, since one may be lost; never one for each call.
        assert 1 <= len(plane.wakes) <= 2 + time.monotonic() - began
        plane.put("crowd", plane.replica().endpoint, plane.replica().endpoint)
        for number, wire in enumerate(wires):
            answer = wire.response()
            assert (answer.status, answer.body) == (200, b"n%d" % number)
    finally:
        for wire in wires:
            wire.close()


@pytest.mark.bound("queue-length")
def test_queue_is_bounded(plane: Plane) -> None:
    """What is beyond the bound gets 503 and Retry-After at once; the rest still gets through."""
    policy = CallPolicy(queue_length=3)
    plane.put("full", policy=policy)
    wires = [plane.connect() for _ in range(3)]
    for wire in wires:
        wire.send(b"GET /function/full HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: plane.waiting("full") == 3, what="three calls to wait")
    answer = plane.call("/function/full", headers="Accept: application/json")
    assert (answer.status, answer.get("Retry-After"), answer.get("X-Hilbert-Error")) == (503, b"1", b"queue-full")
    assert "com.hilbert.queue-length" in json.loads(answer.body)["error"]["hint"]
    plane.put("full", plane.replica().endpoint, policy=policy)
    assert [wire.response().status for wire in wires] == [200, 200, 200]
    for wire in wires:
        wire.close()


def test_waiting_client_that_leaves_frees_its_place(plane: Plane) -> None:
    """Its call never reaches the function."""
    policy = CallPolicy(queue_length=1)
    plane.put("left", policy=policy)
    wire = plane.connect()
    wire.send(b"GET /function/left HTTP/1.1\r\nHost: x\r\n\r\n")
    until(lambda: plane.waiting("left") == 1, what="the call to wait")
    wire.close()
    until(lambda: plane.waiting("left") == 0, what="the place to be free")
    replica = plane.replica()
    plane.put("left", replica.endpoint, policy=policy)
    assert plane.call("/function/left").status == 200
    assert len(replica.calls) == 1


@pytest.mark.bound("activation")
def test_wait_has_an_end(plane: Plane) -> None:
    """503 that names the limit, and what to change."""
    plane.put("never", policy=CallPolicy(activation=0.2))
    answer = plane.call("/function/never")
    assert (answer.status, answer.get("X-Hilbert-Error")) == (503, b"activation-timeout")
    assert b"there is no replica" in answer.body
    assert b"0.2 s" in answer.body
    assert b"com.hilbert.timeout.activation" in answer.body


def test_function_removed_while_calls_wait(plane: Plane) -> None:
    """404 at once instead of a wait for nothing."""
    plane.put("doomed")
    with plane.connect() as wire:
        wire.send(b"GET /function/doomed HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: plane.waiting("doomed") == 1, what="the call to wait")
        plane.drop("doomed")
        assert wire.response().status == 404


def test_a_function_that_cannot_start_is_refused_with_the_reason(plane: Plane) -> None:
    """The call that waits when it becomes known, and those after; once a replica is there, calls flow at once."""
    fault = StartFault("SecretNotFound", "a secret that it needs does not exist")
    plane.put("broken")
    with plane.connect() as wire:
        wire.send(b"GET /function/broken HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: plane.waiting("broken") == 1, what="the call to wait")
        plane.put("broken", fault=fault)
        for answer in (wire.response(), plane.call("/function/broken")):
            assert (answer.status, answer.get("X-Hilbert-Error")) == (503, b"not-starting")
            assert b"SecretNotFound: a secret that it needs does not exist" in answer.body
            assert b"broken.openfaas-fn" in answer.body
    plane.put("broken", plane.replica().endpoint)
    assert plane.call("/function/broken", b"x").body == b"x"


def test_a_fault_hinders_no_call_while_a_replica_is_there(plane: Plane) -> None:
    plane.put("half", plane.replica().endpoint, fault=StartFault("CrashLoop", "a replica exited with status 1"))
    assert plane.call("/function/half", b"x").body == b"x"


def test_max_inflight_queues_instead_of_failing(plane: Plane, pool: ThreadPoolExecutor) -> None:
    """No replica ever has more than its limit; every call gets through."""
    gate = Gate()
    name, replicas = plane.function(gate, replicas=2, policy=CallPolicy(max_inflight=3))
    calls = [pool.submit(plane.call, f"/function/{name}", b"%d" % number) for number in range(40)]
    until(lambda: gate.inside == 6, what="both replicas to be full")
    until(lambda: plane.waiting(name) == 34, what="the rest to wait")
    gate.opened.set()
    assert sorted(int(call.result().body) for call in calls) == list(range(40))
    assert gate.most == 6
    assert min(len(replica.calls) for replica in replicas) > 3


def test_load_goes_to_the_less_busy(plane: Plane, pool: ThreadPoolExecutor) -> None:
    """A replica that is stuck with calls gets few more."""
    gate = Gate()
    name, (stuck,) = plane.function(gate)
    calls = [pool.submit(plane.call, f"/function/{name}") for _ in range(20)]
    until(lambda: gate.inside == 20, what="the first replica to be busy")
    free = plane.replica()
    plane.put(name, stuck.endpoint, free.endpoint)
    for _ in range(20):
        assert plane.call(f"/function/{name}", b"x").body == b"x"
    gate.opened.set()
    for call in calls:
        assert call.result().status == 200
    assert (len(free.calls), len(stuck.calls)) == (20, 20)


def test_new_replicas_take_load_at_once(plane: Plane) -> None:
    """Connections that are kept alive do not pin calls to old replicas."""
    name, (first,) = plane.function()
    with plane.connect() as wire:
        ask = f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        wire.send(ask)
        wire.response()
        second = plane.replica()
        plane.put(name, first.endpoint, second.endpoint)
        for _ in range(60):
            wire.send(ask)
            assert wire.response().status == 200
    assert len(second.calls) > 5
    assert len(first.calls) > 5


# Time limits


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (
            CallPolicy(first_byte=0.2),
            [
                b"the first byte of the response",
                b"0.2 s",
                b"com.hilbert.timeout.first-byte",
                b"gateway.first_byte_timeout",
            ],
        ),
        (CallPolicy(total=0.2), [b"the call", b"0.2 s", b"com.hilbert.timeout.total", b"gateway.total_timeout"]),
    ],
)
def test_slow_answer(plane: Plane, policy: CallPolicy, words: list[bytes]) -> None:
    """504 that names the limit that struck, its value and what to change; the function's connection closes."""
    gone = threading.Event()

    def slow(call: Call) -> None:
        if not call.wire.some():
            gone.set()

    name, _ = plane.function(slow, policy=policy)
    answer = plane.call(f"/function/{name}")
    assert (answer.status, answer.get("X-Hilbert-Error")) == (504, b"upstream-timeout")
    for word in words:
        assert word in answer.body
    assert gone.wait(20)


@pytest.mark.bound("first-byte")
def test_function_that_takes_no_body(plane: Plane) -> None:
    """The limit on the first byte counts from when it stops reading."""
    stop = threading.Event()
    name, _ = plane.function(lambda call: stop.wait(20) and None, policy=CallPolicy(first_byte=0.3))
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n".encode())
        feeder = threading.Thread(target=_feed, args=(wire,))
        feeder.start()
        answer = wire.response()
        assert answer.status == 504
        assert b"request's body" in answer.body
        wire.close()
        feeder.join()
    stop.set()


def _feed(wire: object) -> None:
    try:
        while True:
            wire.send(bytes(100_000))  # type: ignore[attr-defined]
    except OSError:
        pass


@pytest.mark.bound("idle-answer")
def test_response_that_stops(plane: Plane) -> None:
    """Idle too long: the client sees that it is not whole."""

    def stops(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        call.wire.some()

    name, _ = plane.function(stops, policy=CallPolicy(idle=0.2))
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert wire.head().status == 200
        assert wire.chunk() == b"abc"
        with pytest.raises(Closed):
            wire.chunk()


def test_living_stream_is_never_cut(plane: Plane) -> None:
    """It lasts many times the idle limit and the limit on the first byte."""

    def drips(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            threading.Event().wait(0.05)
            call.wire.send(b"1\r\nx\r\n")
        call.wire.send(b"0\r\n\r\n")

    name, _ = plane.function(drips, policy=CallPolicy(idle=0.4, first_byte=0.4))
    assert plane.call(f"/function/{name}").body == b"x" * 20


@pytest.mark.bound("total")
def test_total_limit_cuts_a_stream(plane: Plane) -> None:
    """When the user has set one."""

    def endless(call: Call) -> None:
        call.wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            call.wire.send(b"1\r\nx\r\n")
            threading.Event().wait(0.02)

    name, _ = plane.function(endless, policy=CallPolicy(total=0.4))
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        with pytest.raises(Closed):
            wire.response()


# Replicas that fail


def dies(call: Call) -> None:
    """Reads the request, and closes without a word."""
    call.body()
    call.wire.close()


def test_replica_that_refuses_is_passed_over(plane: Plane) -> None:
    """Every call is answered by the other one, bodies and all; it is tried again when it is back."""
    name, (good, bad) = plane.function(replicas=2)
    bad.stop()
    for number in range(30):
        assert plane.call(f"/function/{name}", b"%d" % number).body == b"%d" % number
    assert len(good.calls) == 30


def test_only_replica_that_refuses_is_waited_for(plane: Plane) -> None:
    """It crashed and comes back under the same address, before the platform has noticed."""
    name, (replica,) = plane.function()
    path = replica.address[5:]
    assert plane.call(f"/function/{name}").status == 200
    replica.stop()
    with plane.connect() as wire:
        wire.send(f"POST /function/{name} HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi".encode())
        until(lambda: plane.waiting(name) == 1, what="the call to wait")
        Path(path).unlink()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        replica._listener = listener
        threading.Thread(target=replica._accept, daemon=True).start()
        assert wire.response().body == b"hi"


def test_refusing_replicas_are_named_when_the_wait_ends(plane: Plane) -> None:
    """The error says what was tried."""
    plane.put("dead", Endpoint("gone", "unix:/nowhere/s"), policy=CallPolicy(activation=0.3))
    answer = plane.call("/function/dead", b"x")
    assert answer.status == 503
    assert b"no replica took the call (No such file" in answer.body


def test_connection_closed_while_idle_is_replaced_silently(plane: Plane) -> None:
    """Also for a POST, which nobody may send twice."""
    name, (replica,) = plane.function()
    for method in ("GET", "POST", "PATCH"):
        assert plane.call(f"/function/{name}", b"x", method=method).status == 200
        replica.close_idle()
        assert plane.call(f"/function/{name}", b"y", method=method).body == b"y"
    assert len(replica.calls) == 6


def test_replica_that_dies_before_its_answer(plane: Plane) -> None:
    """A call that may be repeated goes to the other replica; one that may not is 502, and runs once."""
    bad = plane.replica(dies)
    good = plane.replica()
    name = "half-dead"
    plane.put(name, bad.endpoint, good.endpoint)
    for _ in range(10):
        assert plane.call(f"/function/{name}", b"x", method="PUT").body == b"x"
    only, (alone,) = plane.function(dies)
    answer = plane.call(f"/function/{only}", b"x")
    assert (answer.status, answer.get("X-Hilbert-Error")) == (502, b"upstream-unreachable")
    assert answer.body.startswith(b"Can't reach service for: ")
    assert len(alone.calls) == 1


def test_replica_that_dies_in_its_answer(plane: Plane) -> None:
    """The client sees that it is not whole, and nothing is tried again."""

    def half(call: Call) -> None:
        framing = {
            b"/length": b"Content-Length: 10",
            b"/chunks": b"Transfer-Encoding: chunked",
            b"/close": b"Transfer-Encoding: chunked\r\nConnection: close",
        }
        call.wire.send(b"HTTP/1.1 200 OK\r\n" + framing[call.head.target] + b"\r\n\r\n3\r\nabc\r\n")
        call.wire.close()

    name, (replica,) = plane.function(half)
    for path in ("/length", "/chunks", "/close"):
        with plane.connect() as wire:
            wire.send(f"GET /function/{name}{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            with pytest.raises(Closed):
                wire.response()
    assert len(replica.calls) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
    ],
)
def test_replica_that_speaks_no_http(plane: Plane, answer: bytes) -> None:
    """502, not its bytes."""
    name, _ = plane.function(lambda call: call.wire.send(answer))
    assert plane.call(f"/function/{name}", b"x").status == 502


def test_draining_replica_finishes_its_calls(plane: Plane) -> None:
    """Out of the table first: new calls go elsewhere, the one under way ends in peace."""
    gate = Gate()
    name, (old,) = plane.function(gate)
    with plane.connect() as wire:
        wire.send(f"GET /function/{name} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        until(lambda: gate.inside == 1, what="the call to arrive")
        plane.put(name, plane.replica(echo).endpoint)
        for _ in range(5):
            assert plane.call(f"/function/{name}").body == b"hello"
        gate.opened.set()
        assert wire.response().body == b"through"
    assert isinstance(old, Replica)
    assert len(old.calls) == 1
