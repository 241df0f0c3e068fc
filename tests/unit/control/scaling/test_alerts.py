"""How many replicas an alert asks for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hilbert.control.scaling.alerts import REPEATED_WITHIN, Steps, decide_replicas
from hilbert.core.values import FunctionRef

BOUNDS = {"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "10"}


@pytest.mark.parametrize(
    ("current", "factor", "firing", "replicas"),
    [
        (2, None, True, 4),
        (9, None, True, 10),
        (10, None, True, 10),
        (0, None, True, 2),
        (2, "1", True, 3),
        (2, "100", True, 10),
        (7, "0", True, 2),
        (2, "101", True, 4),
        (2, "x", True, 4),
        (7, None, False, 2),
        (2, None, False, 2),
        (0, None, False, 0),
        (0, "0", True, 0),
        (50, None, True, 10),
    ],
)
def test_steps(current: int, factor: str | None, firing: bool, replicas: int) -> None:
    labels = BOUNDS if factor is None else {**BOUNDS, "com.openfaas.scale.factor": factor}
    assert decide_replicas(current, labels, firing=firing) == replicas


def test_without_labels() -> None:
    assert decide_replicas(1, {}, firing=True) == 5
    assert decide_replicas(20, {}, firing=False) == 1


@given(st.integers(0, 50), st.integers(1, 30), st.integers(1, 30), st.integers(0, 120), st.booleans())
def test_the_bounds_hold(current: int, low: int, high: int, factor: int, firing: bool) -> None:
    labels = {
        "com.openfaas.scale.min": str(low),
        "com.openfaas.scale.max": str(high),
        "com.openfaas.scale.factor": str(factor),
    }
    found = decide_replicas(current, labels, firing=firing)
    assert found == 0 == current or low <= found <= max(low, high)


def test_a_repetition_is_known_for_a_while_and_for_each_alert() -> None:
    steps, one, two = Steps(), FunctionRef.parse("f.dev"), FunctionRef.parse("f.prod")
    assert not steps.is_repeated(one, "Busy", 100.0)
    steps.followed(one, "Busy", 100.0)
    assert steps.is_repeated(one, "Busy", 100.0 + REPEATED_WITHIN - 0.1)
    assert not steps.is_repeated(one, "Busy", 100.0 + REPEATED_WITHIN)
    assert not steps.is_repeated(one, "Slow", 100.1)
    assert not steps.is_repeated(two, "Busy", 100.1)
    steps.ended(one, "Busy")
    assert not steps.is_repeated(one, "Busy", 100.1)
