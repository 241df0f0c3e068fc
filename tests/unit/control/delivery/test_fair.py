"""Who is next: tables of cases, and shares over long runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.delivery.fair import Charge, Tags, Work, correct, pick
from hilbert.core.values import FunctionRef


def ref(text: str) -> FunctionRef:
    return FunctionRef.parse(text)


def work(text: str, ready: int = 1, *, due: float = 0.0, running: int = 0, limit: int = 100, cost: float = 1.0, weight: float = 1.0) -> Work:  # fmt: skip
    return Work(ref=ref(text), ready=ready, due=due, running=running, limit=limit, cost=cost, weight=weight)


def names(now: float, items: Sequence[Work], *, slots: int = 10, space_slots: int = 100, tags: Tags | None = None) -> list[str]:  # fmt: skip
    return [str(found) for found in pick(now, tags or Tags(), items, slots=slots, space_slots=space_slots)[0]]


@pytest.mark.parametrize(
    ("items", "slots", "expected"),
    [
        ([], 10, []),
        ([work("f.a", 3)], 0, []),
        ([work("f.a", 3)], 2, ["f.a", "f.a"]),
        ([work("f.a", 3)], 10, ["f.a"] * 3),
        ([work("f.a", 5, due=100)], 10, []),
        ([work("f.a", 5, running=3, limit=5)], 10, ["f.a", "f.a"]),
        ([work("f.a", 5, running=5, limit=5), work("g.a")], 10, ["g.a"]),
        ([work("f.a", 9), work("f.b", 9)], 4, ["f.a", "f.b", "f.a", "f.b"]),
        ([work("f.a", 9, due=2), work("f.b", 9, due=1)], 1, ["f.b"]),
        ([work("f.a", 9), work("g.a", 9), work("f.b", 9)], 6, ["f.a", "f.b", "g.a", "f.b", "f.a", "f.b"]),
        ([work("f.a", 9, weight=2), work("f.b", 9)], 6, ["f.a", "f.b", "f.a", "f.a", "f.b", "f.a"]),
        ([work("f.a", 9, cost=3), work("g.a", 9)], 6, ["f.a", "g.a", "g.a", "g.a", "f.a", "g.a"]),
    ],
)
def test_cases(items: list[Work], slots: int, expected: list[str]) -> None:
    assert names(5.0, items, slots=slots) == expected


def test_a_namespace_has_a_bound_with_what_runs_already() -> None:
    items = [work("f.a", 9, running=2), work("g.a", 9, running=1), work("f.b", 1)]
    assert Counter(name[-1] for name in names(0, items, space_slots=5)) == {"a": 2, "b": 1}


def test_many_functions_do_not_make_a_namespace_larger() -> None:
    """OpenFaaS serves each function alike, so that a tenant with 50 of them gets 50 shares."""
    items = [*(work(f"f{n}.many", 100) for n in range(50)), work("f.one", 100)]
    assert Counter(name.partition(".")[2] for name in names(0, items, slots=40)) == {"many": 20, "one": 20}


def shares(items: list[Work], rounds: int) -> Counter[str]:
    """Seconds of slots that each namespace gets, one slot at a time."""
    tags, got = Tags(), Counter[str]()
    costs = {item.ref: item.cost for item in items}
    for _ in range(rounds):
        (chosen,), tags = pick(0, tags, items, slots=1, space_slots=100)
        got[chosen.namespace] += costs[chosen]  # type: ignore[assignment]
    return got


def test_slow_calls_are_charged_for_their_time() -> None:
    got = shares([work("slow.a", 1000, cost=10), work("fast.b", 1000, cost=0.1)], 5000)
    assert 0.95 < got["a"] / got["b"] < 1.05


def test_one_that_was_idle_goes_first_but_has_saved_nothing() -> None:
    noisy, quiet = work("f.noisy", 10_000, cost=5), work("f.quiet", 10_000, cost=5)
    tags = Tags()
    for _ in range(200):
        _, tags = pick(0, tags, [noisy], slots=1, space_slots=100)
    chosen, tags = pick(0, tags, [noisy, quiet], slots=20, space_slots=100)
    assert Counter(found.namespace for found in chosen) == {"noisy": 10, "quiet": 10}
    assert "quiet" in {found.namespace for found in chosen[:2]}


def test_slots_that_nobody_else_wants_are_used() -> None:
    assert len(names(0, [work("f.a", 100), work("f.b", 2)], slots=50)) == 50


def test_what_a_call_really_took_is_charged_later() -> None:
    items = [work("f.a", 100), work("f.b", 100)]
    _, tags = pick(0, Tags(), items, slots=2, space_slots=100)
    tags = correct(tags, [Charge(ref("f.a"), 10)])
    assert Counter(name[-1] for name in names(0, items, slots=10, tags=tags)) == {"b": 10}


def test_those_that_have_gone_are_forgotten() -> None:
    _, tags = pick(0, Tags(), [work(f"f.n{n}", 5, cost=0.5) for n in range(100)], slots=300, space_slots=9)
    _, tags = pick(0, tags, [work("f.last", 500)], slots=400, space_slots=999)
    assert set(tags.spaces) == {"last"}
    assert len(tags.functions) == len(tags.clocks) == 1


refs = st.builds(lambda f, n: ref(f"f{f}.n{n}"), st.integers(0, 3), st.integers(0, 3))
items_of = st.lists(
    st.builds(
        Work,
        ref=refs,
        ready=st.integers(0, 5),
        due=st.sampled_from([0.0, 9.0]),
        running=st.integers(0, 3),
        limit=st.integers(1, 6),
        cost=st.sampled_from([0.001, 1.0, 300.0]),
    ),
    unique_by=lambda item: item.ref,
)


@given(items_of, st.integers(0, 20), st.integers(1, 8))
def test_bounds_hold_and_no_slot_idles_that_could_be_used(items: list[Work], slots: int, space_slots: int) -> None:
    chosen, _ = pick(5.0, Tags(), items, slots=slots, space_slots=space_slots)
    assert len(chosen) <= slots
    took = Counter(chosen)
    room = {}
    for item in items:
        allowed = min(item.ready, max(0, item.limit - item.running)) if item.due <= 5 else 0
        assert took[item.ref] <= allowed
        room[item.ref] = allowed - took[item.ref]
    for space in {item.ref.namespace for item in items}:
        mine = [item for item in items if item.ref.namespace == space]
        new = sum(took[item.ref] for item in mine)
        total = new + sum(item.running for item in mine)
        assert not new or total <= space_slots
        assert len(chosen) == slots or total >= space_slots or not any(room[item.ref] for item in mine)
