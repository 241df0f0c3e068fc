"""Starts from zero of one namespace at once."""

from __future__ import annotations

from hilbert.control.limits.starts import Starts
from hilbert.core.model import Endpoint, EndpointSet, FunctionSpec, StartFault
from hilbert.core.values import FunctionName, FunctionRef, NamespaceName
from hilbert.kit.aio import ManualClock

DEV, PROD = NamespaceName("dev"), NamespaceName("prod")


def ref(name: str, namespace: NamespaceName = DEV) -> FunctionRef:
    return FunctionRef(namespace, FunctionName(name))


def ready(one: FunctionRef) -> EndpointSet:
    return EndpointSet(one, FunctionSpec(ref=one, image="i"), (Endpoint("r", "unix:/r"),))


def make(most: int) -> tuple[Starts, list[FunctionRef], ManualClock]:
    clock, turns = ManualClock(), list[FunctionRef]()
    starts = Starts(clock=clock)
    starts.on_turn = turns.append
    starts.limit(DEV, most)
    return starts, turns, clock


def test_those_beyond_wait_for_their_turn_in_order() -> None:
    starts, turns, _ = make(2)
    assert [starts.may_begin(ref(name)) for name in "abcd"] == [True, True, False, False]
    assert starts.may_begin(ref("a")), "it has its place"
    assert not starts.may_begin(ref("c")), "asking again does not count twice"
    assert starts.used(DEV) == (2, 2)
    assert starts.may_begin(ref("a", PROD)), "another namespace has no such limit"
    starts.seen(ready(ref("b")))
    assert turns == [ref("c")]
    assert starts.may_begin(ref("c"))
    assert not starts.may_begin(ref("d"))


def test_a_start_ends_when_it_fails_or_its_function_is_gone() -> None:
    starts, turns, _ = make(1)
    assert starts.may_begin(ref("a"))
    assert not starts.may_begin(ref("b"))
    assert not starts.may_begin(ref("c"))
    starts.seen(EndpointSet(ref("a"), FunctionSpec(ref=ref("a"), image="i"), fault=StartFault("CrashLoop", "no")))
    assert turns == [ref("b")]
    assert starts.may_begin(ref("b"))
    starts.seen(EndpointSet(ref("b"), None))
    assert turns == [ref("b"), ref("c")]


async def test_a_start_that_comes_to_nothing_gives_its_place_back() -> None:
    starts, _, clock = make(1)
    assert starts.may_begin(ref("a"))
    await clock.advance(119)
    assert not starts.may_begin(ref("b"))
    await clock.advance(2)
    assert starts.may_begin(ref("b"))


def test_without_a_limit_all_start_and_nothing_is_kept() -> None:
    starts, turns, _ = make(1)
    assert starts.may_begin(ref("a"))
    assert not starts.may_begin(ref("b"))
    starts.limit(DEV, 0)
    assert turns == [ref("b")]
    starts.seen(ready(ref("a")))
    assert (starts._open, starts._waiting) == ({}, {})
