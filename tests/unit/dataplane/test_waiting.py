"""The room for calls that wait, without sockets: who enters, who leaves and how."""

from __future__ import annotations

from typing import Any

import pytest

from hilbert.core.model import CallPolicy, Endpoint, StartFault
from hilbert.dataplane.failures import Failure
from hilbert.dataplane.table import Replica, RouteState
from hilbert.dataplane.waiting import WaitingRoom
from support.transports import ManualLoop


class Waiting:
    """A call that notes what becomes of it."""

    def __init__(self, state: RouteState, free: list[int], held: int) -> None:
        self.state = state
        self.free = free
        self.failure: Failure | None = None
        self.waits = False
        self.sent = False
        self.held = held
        self.gates = state.gates

    def wait(self) -> None:
        self.waits = True

    def dispatch(self, now: float) -> bool:
        del now
        if not self.free:
            return False
        self.free.pop()
        self.sent = True
        return True

    def fail(self, failure: Failure) -> None:
        self.failure = failure


class Room:
    def __init__(self) -> None:
        self.loop = ManualLoop()
        self.woken: list[str] = []
        self.free: list[int] = []
        loop: Any = self.loop
        self.room = WaitingRoom(loop, lambda state: self.woken.append(str(state)), max_bytes=100)
        self.state = RouteState("ns", "f", 1, lambda state: None)
        self.state.policy = CallPolicy(queue_length=3, activation=7, max_inflight=2)

    def enter(self, held: int = 0) -> Waiting:
        call = Waiting(self.state, self.free, held)
        self.room.enter(call)
        return call

    def replica(self) -> Replica:
        pool: Any = None
        made = Replica(Endpoint("r", "unix:/x"), pool)
        self.state.replicas.append(made)
        return made


@pytest.fixture
def room() -> Room:
    return Room()


def test_a_function_at_zero_is_woken_once_for_all_that_wait(room: Room) -> None:
    calls = [room.enter() for _ in range(3)]
    assert room.woken == ["f.ns"]
    assert all(call.waits for call in calls)


def test_a_wake_up_is_repeated_while_calls_wait(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been lost; not a moment longer than there is somebody to wait."""
    monkeypatch.setattr("hilbert.dataplane.waiting.monotonic", room.loop.time)
    call = room.enter()
    room.loop.advance(3.5)
    assert len(room.woken) == 4
    room.room.leave(call)
    room.loop.advance(10)
    assert len(room.woken) == 4


def test_the_line_is_bounded(room: Room) -> None:
    """The one too many is refused at once; one that leaves makes room."""
    calls = [room.enter() for _ in range(3)]
    late = room.enter()
    assert late.failure is not None
    assert (late.failure.code, late.waits) == ("queue-full", False)
    room.room.leave(calls[1])
    assert room.enter().failure is None


def test_the_bytes_that_are_held_are_bounded_over_all_functions(room: Room) -> None:
    """However a call leaves, what it held is free again."""
    one, two = room.enter(60), room.enter(40)
    late = room.enter(1)
    assert late.failure is not None
    assert "gateway.max_waiting_bytes" in late.failure.hint
    room.room.leave(one)
    room.room.leave(one)
    assert room.enter(60).failure is None
    room.free.append(1)
    room.room.release(room.state)
    assert two.sent
    assert room.enter(40).failure is None
    room.room.gone(room.state)
    assert room.enter(100).failure is None


def test_calls_are_released_in_order_and_as_many_as_find_room(room: Room) -> None:
    one, two, three = (room.enter() for _ in range(3))
    room.free += [1, 2]
    room.room.release(room.state)
    assert [one.sent, two.sent, three.sent] == [True, True, False]
    assert list(room.state.waiting) == [three]


def test_the_one_that_found_no_room_stays_first(room: Room) -> None:
    one, two = room.enter(), room.enter()
    room.room.release(room.state)
    room.free.append(1)
    room.room.release(room.state)
    assert (one.sent, two.sent) == (True, False)


def test_all_are_refused_when_what_they_wait_for_will_not_come(room: Room) -> None:
    calls = [room.enter() for _ in range(3)]
    room.room.gone(room.state)
    assert [call.failure.status if call.failure else 0 for call in calls] == [404, 404, 404]
    assert not room.state.waiting


@pytest.mark.parametrize(
    ("replicas", "reason", "said"),
    [
        (0, "", "there is no replica"),
        (2, "refused", "no replica took the call (refused)"),
        (2, "", "all replicas are busy"),
    ],
)
def test_an_expired_call_hears_what_it_has_waited_for(room: Room, replicas: int, reason: str, said: str) -> None:
    for _ in range(replicas):
        room.replica()
    call = room.enter()
    room.room.expire(call, reason)
    assert call.failure is not None
    assert said in call.failure.hint
    assert "within 7 s" in call.failure.hint


def test_a_replica_that_refuses_is_tried_again_while_calls_wait(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilbert.dataplane.waiting.monotonic", room.loop.time)
    room.replica().refuse(room.loop.time())
    call = room.enter()
    room.free.append(1)
    room.loop.advance(0.1)
    assert call.sent
    assert room.woken == []


FAULT = StartFault("CrashLoop", "a replica exited with status 1 (KeyError)")


def test_a_function_that_is_known_not_to_start_refuses_at_once_and_says_why(room: Room) -> None:
    """Those that wait when it becomes known, and those that come; nobody is woken for it."""
    before = room.enter(50)
    room.woken.clear()
    room.state.fault = FAULT
    room.room.release(room.state)
    after = room.enter(50)
    for call in (before, after):
        assert call.failure is not None
        assert (call.failure.status, call.failure.code) == (503, "not-starting")
        assert call.failure.message == "f.ns does not start: CrashLoop: a replica exited with status 1 (KeyError)"
        assert "'hilbert describe f.ns'" in call.failure.hint
    assert (after.waits, room.woken, len(room.state.waiting)) == (False, [], 0)
    room.state.fault = None
    assert room.enter(100).failure is None
