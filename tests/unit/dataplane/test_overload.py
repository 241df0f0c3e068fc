"""What is refused when a worker has nearly as many calls as it can have, and how shares are found."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.dataplane.overload import Demand, Overload, shares

MANY = st.dictionaries(
    st.sampled_from("abcdefgh"), st.tuples(st.integers(1, 1000), st.sampled_from((0.5, 1.0, 2.0))), min_size=1
)


@given(most=st.integers(1, 5000), demand=MANY)
def test_shares_are_weighted_max_min(most: int, demand: dict[str, tuple[int, float]]) -> None:
    """Nobody who wants no more than its part is held below what it has; those who are get the same by weight."""
    found = shares(most, demand)
    total = sum(weight for _, weight in demand.values())
    given_out = sum(min(found[name], wants) for name, (wants, _) in demand.items())
    assert given_out <= most + 1e-6
    held = []
    for name, (wants, weight) in demand.items():
        assert found[name] >= most * weight / total - 1e-6, "never less than its part of all"
        if wants > found[name] + 1e-6:
            held.append(found[name] / weight)
    assert not held or max(held) == pytest.approx(min(held)), "those who want more get the same by weight"
    if held:
        assert given_out == pytest.approx(most), "nothing is left over while somebody wants it"


def make(demand: Demand, *, most: int = 160) -> Overload:
    found = Overload(most, lambda: demand)
    found.under_way = sum(count for count, _ in demand.values())
    return found


def refused(found: Overload, namespace: str, *, queued: bool = False, cold: bool = False) -> bool:
    failure = found.refuses(namespace, queued=queued, cold=cold)
    assert failure is None or (failure.status, failure.code, failure.retry_after) == (503, "overloaded", 1)
    return failure is not None


@pytest.mark.bound("crowded-calls")
def test_the_order_in_which_calls_are_refused() -> None:
    """Queued ones, starts from zero, and then those of whoever has most; a modest namespace is served to the end."""
    quiet = make({"greedy": (119, 1.0)})
    assert not any(refused(quiet, "greedy", queued=queued, cold=True) for queued in (False, True))
    some = make({"greedy": (125, 1.0)})
    assert refused(some, "modest", queued=True)
    assert not refused(some, "greedy", cold=True)
    more = make({"greedy": (132, 1.0)})
    assert refused(more, "modest", cold=True)
    assert not refused(more, "greedy")
    most = make({"greedy": (140, 1.0), "modest": (3, 1.0)})
    assert refused(most, "greedy")
    assert not refused(most, "modest")
    assert not refused(most, "new")


def test_weight_counts_and_one_alone_has_all() -> None:
    both = make({"heavy": (100, 3.0), "light": (50, 1.0)})
    assert not refused(both, "heavy")
    assert refused(both, "light")
    assert not refused(make({"alone": (159, 1.0)}), "alone")
