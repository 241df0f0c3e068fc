"""What came of attempts, counted by function and by the minute."""

from __future__ import annotations

from hilbert.control.delivery.outcomes import Outcomes
from hilbert.core.values import FunctionRef

F, G = FunctionRef.parse("f"), FunctionRef.parse("g")


def test_totals_stay_when_functions_go() -> None:
    outcomes = Outcomes()
    for ref, word in ((F, "succeeded"), (F, "retried"), (G, "dead")):
        outcomes.count(ref, word, 1.0)
    assert outcomes.functions == {F: {"succeeded": 1, "retried": 1}, G: {"dead": 1}}
    outcomes.keep_only([G])
    assert outcomes.functions == {G: {"dead": 1}}
    assert outcomes.totals == {"succeeded": 1, "retried": 1, "dead": 1}
    assert outcomes.per_minute(F, 1.0) == 0


def test_a_minute_is_the_last_one() -> None:
    """To the nearest five seconds."""
    outcomes = Outcomes()
    for second in range(0, 120, 2):
        outcomes.count(F, "succeeded", float(second))
        outcomes.count(F, "retried", float(second))
    assert outcomes.per_minute(F, 118.0) in (29, 30)
    assert outcomes.per_minute(F, 150.0) < 20
    assert outcomes.per_minute(F, 200.0) == 0
    assert outcomes.per_minute(G, 118.0) == 0
