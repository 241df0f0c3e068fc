"""A worker's route table and the choice of a replica."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.core.model import CallPolicy, Endpoint, Route
from hilbert.dataplane.feed.messages import Entry, route_digest
from hilbert.dataplane.table import RouteState, Table
from hilbert.kit.http1 import Pool, TimerWheel
from support.transports import ManualLoop


def make(default: str = "openfaas-fn") -> Table:
    wheel = TimerWheel(loop=ManualLoop())  # type: ignore[arg-type]  # what it uses of a loop
    return Table(default, lambda address: Pool(address, wheel))


def route(name: str, *replicas: str, namespace: str = "openfaas-fn", policy: CallPolicy | None = None) -> Route:
    return Route(namespace, name, tuple(Endpoint(one, f"unix:/{one}") for one in replicas), policy or CallPolicy())


def state(table: Table, *replicas: str, policy: CallPolicy | None = None) -> RouteState:
    return table.put(Entry(1, route("f", *replicas, policy=policy)))[0]


def test_segments() -> None:
    """The full name finds every function, the bare name those of the default namespace."""
    table = make("dev")
    table.put(Entry(1, route("f", namespace="dev")))
    table.put(Entry(2, route("f", namespace="prod")))
    assert table.by_segment[b"f"] is table.by_segment[b"f.dev"]
    assert table.by_segment[b"f.prod"].namespace == "prod"
    table.drop(("dev", "f"))
    assert list(table.by_segment) == [b"f.prod"]
    assert table.full_name("x") == "x.dev"


def test_replicas_that_stay_keep_their_state() -> None:
    """Calls in flight and connections survive a change of the others."""
    table = make()
    first = state(table, "a", "b").replicas[0]
    first.inflight = 3
    assert state(table, "a", "c").replicas[0] is first
    assert [one.endpoint.replica for one in state(table, "c").replicas] == ["c"]


def test_calls_are_told_by_the_replica_that_has_them_until_they_end() -> None:
    """Also once it has left the route."""
    table = make()
    one = state(table, "a", "b", "c")
    one.replicas[0].inflight, one.replicas[1].inflight = 2, 1
    leaving = one.replicas[0]
    assert one.busy() == {"unix:/a": 2, "unix:/b": 1}
    assert state(table, "b").busy() == {"unix:/a": 2, "unix:/b": 1}
    leaving.inflight = 0
    assert one.busy() == {"unix:/b": 1}
    assert one.leaving == ()


def test_another_function_of_the_same_name_is_another() -> None:
    """Its counters start from zero; the old one is handed back."""
    table = make()
    old = state(table, "a")
    old.counters.begin()
    new, gone = table.put(Entry(2, route("f", "a")))
    assert gone == [old]
    assert new.counters.started == 0
    assert table.by_segment[b"f"] is new


def test_births_of_another_control_process_count_anew() -> None:
    """What it knows by name is what it was."""
    table = make()
    table.replace([Entry(7, route("f", "a"))], epoch="one", version=3)
    kept = table.by_segment[b"f"]
    kept.counters.begin()
    assert table.replace([Entry(1, route("f", "a"))], epoch="two", version=1) == []
    assert table.by_segment[b"f"] is kept
    assert table.replace([Entry(2, route("f", "a"))], epoch="two", version=2) == [kept]


names = st.sampled_from(["a", "b", "c"])
steps = st.lists(st.tuples(names, st.integers(0, 3)), max_size=20)


@given(steps, steps)
def test_digest_tells_what_is_in_the_table(first: list[tuple[str, int]], second: list[tuple[str, int]]) -> None:
    """The same whatever way led there; the exclusive-or of the routes' own."""
    tables = []
    for changes in (first, second):
        table = make()
        for number, (name, replicas) in enumerate(changes):
            if replicas == 3:
                table.drop(("openfaas-fn", name))
            else:
                table.put(Entry(number, route(name, *"xyz"[:replicas])))
        digest = 0
        for one in table.states():
            digest ^= route_digest(Route(one.namespace, one.name, tuple(r.endpoint for r in one.replicas), one.policy))
        assert table.digest == digest
        tables.append({str(one): [r.endpoint for r in one.replicas] for one in table.states()} | {"": digest})
    assert (tables[0] == tables[1]) == (tables[0][""] == tables[1][""])


def test_nothing_to_choose() -> None:
    """No replica, or none with room."""
    assert state(make()).choose(0.0) is None
    full = state(make(), "a", policy=CallPolicy(max_inflight=1))
    full.replicas[0].inflight = 1
    assert full.choose(0.0) is None


def test_less_busy_of_two() -> None:
    """Always the idle one of two; with many, the busiest is never taken."""
    two = state(make(), "a", "b")
    two.replicas[0].inflight = 1
    assert {two.choose(0.0) for _ in range(50)} == {two.replicas[1]}
    many = state(make(), *"abcdefgh")
    for number, replica in enumerate(many.replicas):
        replica.inflight = number
    taken = Counter(many.choose(0.0) for _ in range(2000))
    assert many.replicas[-1] not in taken
    assert taken[many.replicas[0]] > taken[many.replicas[3]] > taken[many.replicas[6]]


def test_room_is_found_wherever_it_is() -> None:
    """Also if neither of the two that were looked at has any."""
    many = state(make(), *"abcdefgh", policy=CallPolicy(max_inflight=2))
    for replica in many.replicas[1:]:
        replica.inflight = 2
    assert {many.choose(0.0) for _ in range(50)} == {many.replicas[0]}


def test_avoided_replica_is_the_last_resort() -> None:
    """Another one if there is one."""
    two = state(make(), "a", "b")
    assert {two.choose(0.0, avoid=two.replicas[0]) for _ in range(50)} == {two.replicas[1]}
    one = state(make(), "a")
    assert one.choose(0.0, avoid=one.replicas[0]) is one.replicas[0]


@pytest.mark.parametrize("count", [1, 3])
def test_replica_that_refuses_gets_one_call_now_and_then(count: int) -> None:
    """Until it takes a connection again."""
    some = state(make(), *"abc"[:count])
    bad = some.replicas[0]
    for replica in some.replicas[1:]:
        replica.refuse(10.0)
    bad.refuse(10.0)
    assert some.choose(10.01) is None
    assert some.next_try() == pytest.approx(10.05)
    tried = some.choose(10.06)
    assert tried is not None
    assert tried.try_at == pytest.approx(10.56)
    tried.refuse(10.07)
    assert tried.try_at == pytest.approx(10.57)
    tried.accept()
    assert tried.may_take(10.08, 0)
    assert count > 1 or some.choose(10.08) is tried
