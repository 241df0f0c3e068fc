"""A limit in one worker: never more than it says over any time, and exact about when a call may come again."""

from __future__ import annotations

import gc

from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.limits.shares import divide
from hilbert.core.limits import CallLimits
from hilbert.core.model import Endpoint, Route
from hilbert.dataplane.feed.messages import Entry
from hilbert.dataplane.gates import Gate, connect, disconnect, enter, hold, leave, let_go
from hilbert.dataplane.table import Table
from hilbert.kit.http1 import Pool, TimerWheel


def gate(rate: float = 0.0, burst: int = 0, concurrency: int = 0, *, workers: int = 1, name: str = "") -> Gate:
    return Gate(("dev", name), CallLimits(rate, burst, concurrency), [], workers=workers, now=0.0)


@given(
    rate=st.floats(0.1, 1000),
    burst=st.integers(1, 100),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_never_more_than_burst_and_rate_allow(rate: float, burst: int, gaps: list[float]) -> None:
    found, now, let_in = gate(rate, burst), 0.0, []
    for gap in gaps:
        now += gap
        if enter((found,), now) is None:
            let_in.append(now)
    for first in range(len(let_in)):
        for last in range(first, len(let_in)):
            assert last - first + 1 <= burst + rate * (let_in[last] - let_in[first]) + 1e-6


@given(rate=st.floats(0.05, 50), burst=st.integers(1, 10))
def test_a_refused_call_may_come_when_it_was_told(rate: float, burst: int) -> None:
    found = gate(rate, burst)
    now = 0.0
    while (failure := enter((found,), now)) is None:
        pass
    assert failure.status == 429
    assert failure.retry_after >= 1
    assert enter((found,), now + failure.retry_after) is None


def test_a_new_worker_grants_no_whole_burst_again() -> None:
    found = gate(rate=10, burst=1000)
    let_in = sum(enter((found,), 0.0) is None for _ in range(2000))
    assert let_in == 10
    assert sum(enter((found,), 99.5) is None for _ in range(2000)) >= 990


def test_calls_at_once() -> None:
    found = gate(concurrency=2)
    assert enter((found,), 0.0) is None
    assert enter((found,), 0.0) is None
    failure = enter((found,), 0.0)
    assert failure is not None
    assert failure.message == "namespace dev has reached its limit of 2 calls at once"
    assert "an administrator can raise its annotation com.hilbert.limits.concurrency" in failure.hint
    leave((found,))
    assert enter((found,), 0.0) is None


def test_all_gates_or_none() -> None:
    """A call that one limit refuses uses up nothing of the other."""
    own, shared = gate(concurrency=1, name="f"), gate(rate=1, burst=5)
    enter((own, shared), 100.0)
    for _ in range(50):
        assert enter((own, shared), 100.0) is not None
    assert shared.refused == {}
    assert [enter((shared,), 100.0) is None for _ in range(5)] == [True] * 4 + [False]
    assert own.inflight == shared.inflight - 4 == 1


def test_the_headers_say_which_limit_and_when() -> None:
    found = gate(rate=0.5, burst=2, concurrency=9, name="f")
    while (failure := enter((found,), 1000.0)) is None:
        pass
    headers = dict(failure.headers)
    assert headers[b"RateLimit"].startswith(b'"function-rate";r=0;t=')
    assert (
        headers[b"RateLimit-Policy"] == b'"function-rate";q=2;w=4, "function-concurrency";q=9;qu="concurrent-requests"'
    )
    assert failure.message == "function f.dev has reached its limit of 0.5 calls a second"
    assert "its owner can raise" in failure.hint


def test_a_lower_limit_holds_at_once_and_calls_under_way_are_not_cut() -> None:
    found = gate(rate=100, burst=100, concurrency=10)
    for _ in range(8):
        enter((found,), 1000.0)
    found.change(CallLimits(1.0, 1, 3), workers=1, now=1000.0)
    assert enter((found,), 1000.0) is not None
    assert found.inflight == 8


def test_clocks_that_stand_still_or_jump_forward_do_no_harm() -> None:
    found = gate(rate=5, burst=5)
    assert sum(enter((found,), 50.0) is None for _ in range(100)) == 5
    assert sum(enter((found,), 50.0 + 3600 * 24 * 365) is None for _ in range(100)) == 5


async def test_limits_of_routes_that_are_gone_take_no_memory() -> None:
    wheel = TimerWheel()
    table = Table("openfaas-fn", lambda address: Pool(address, wheel), workers=2)
    limits = CallLimits(10.0, 10, 4)
    for number in range(1000):
        route = Route(f"n{number}", "f", (Endpoint("r", "unix:/r"),), namespace_limits=limits, limits=limits)
        state, _ = table.put(Entry(number, route))
        assert len(state.gates) == 2
        assert enter(state.gates, 1e9) is None
        leave(state.gates)
    assert len(table.take_used()) == 2000
    assert table.take_used() == []
    for number in range(1000):
        table.drop((f"n{number}", "f"))
    state = None  # type: ignore[assignment]
    gc.collect()
    assert len(table._gates) == 0
    wheel.close()


async def test_functions_of_a_namespace_share_its_limit() -> None:
    wheel = TimerWheel()
    table = Table("openfaas-fn", lambda address: Pool(address, wheel), workers=1)
    limits = CallLimits(0.0, 0, 1)
    one, _ = table.put(Entry(1, Route("dev", "a", namespace_limits=limits)))
    two, _ = table.put(Entry(2, Route("dev", "b", namespace_limits=limits)))
    other, _ = table.put(Entry(3, Route("prod", "a", namespace_limits=limits)))
    assert enter(one.gates, 1.0) is None
    assert enter(two.gates, 1.0) is not None
    assert enter(other.gates, 1.0) is None
    wheel.close()


def test_held_calls_and_their_bytes_are_counted_together_or_not_at_all() -> None:
    own = Gate(("dev", "f"), CallLimits(held=2), [], workers=1, now=0.0)
    shared = Gate(("dev", ""), CallLimits(held_bytes=100), [], workers=1, now=0.0)
    assert hold((own, shared), 60) is None
    failure = hold((own, shared), 60)
    assert failure is not None
    assert failure.message == "namespace dev has reached its limit of 100 bytes of calls that wait for a replica"
    assert "com.hilbert.limits.held-bytes" in failure.hint
    assert own.used["held"] == 1
    assert hold((own, shared), 40) is None
    failure = hold((own, shared), 0)
    assert failure is not None
    assert failure.message == "function f.dev has reached its limit of 2 calls that wait for a replica"
    assert failure.status == 429
    let_go((own, shared), 60)
    assert hold((own, shared), 60) is None
    assert shared.report().used["held-bytes"] == 100
    assert shared.refused == {"held-bytes": 1}


def test_open_connections() -> None:
    found = (Gate(("dev", ""), CallLimits(connections=1), [], workers=1, now=0.0),)
    assert connect(found) is None
    failure = connect(found)
    assert failure is not None
    assert dict(failure.headers)[b"RateLimit-Policy"] == b'"namespace-connections";q=1;qu="connections"'
    disconnect(found)
    assert connect(found) is None


@given(st.data())
def test_workers_together_are_off_by_one_seconds_worth_at_most(data: st.DataObject) -> None:
    """However the demand moves between them: over any time no more than burst and rate, and what a second allows."""
    rate, burst, workers = data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)), data.draw(st.integers(2, 4))
    limits = CallLimits(float(rate), burst)
    gates = [Gate(("dev", ""), limits, [], workers=workers, now=0.0) for _ in range(workers)]
    let_in = 0
    seconds = data.draw(st.integers(1, 12))
    for second in range(seconds):
        asked = [data.draw(st.sampled_from((0, 1, rate, 3 * rate))) for _ in gates]
        for gate, count in zip(gates, asked, strict=True):
            for number in range(count):
                let_in += enter((gate,), second + number / max(1, count)) is None
        for gate, part in zip(gates, divide(limits.rate, [float(count) for count in asked]), strict=True):
            gate.take(part, {}, second + 1.0)
    assert let_in <= burst + rate * seconds + max(rate, burst) + workers
