"""The status of a Function, over whatever stands there already."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from hilbert.core.model import Phase
from hilbert.providers.kubernetes.cluster.objects import FunctionObject, Meta
from hilbert.providers.kubernetes.keep.function_status import function_status
from hilbert.providers.kubernetes.view.status import Condensed, stalled

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "known",
    [{}, {"conditions": None}, {"conditions": []}, {"conditions": [{"type": "Ready", "status": "True"}]}],
    ids=["nothing", "null", "none", "without a time"],
)
def test_a_status_that_is_null_or_half_is_replaced(known: dict[str, Any]) -> None:
    function = FunctionObject(metadata=Meta(name="f", namespace="n", generation=2), status=known)
    written = function_status(
        function,
        known=known,
        replicas=1,
        available=0,
        seen=Condensed(Phase.STARTING, 0),
        problem=("QuotaExceeded", "no room"),
        profiles_used=(),
        now=NOW,
    )
    conditions = {item["type"]: item for item in written["conditions"]}
    assert (conditions["Stalled"]["status"], conditions["Stalled"]["reason"]) == ("True", "QuotaExceeded")
    assert all(item["lastTransitionTime"] for item in written["conditions"])
    told = FunctionObject(metadata=function.metadata, status=written)
    assert stalled(told) == ("QuotaExceeded", "no room")


@pytest.mark.parametrize("status", [None, {}, {"conditions": None}, {"conditions": ["x", {"type": "Stalled"}]}])
def test_nothing_is_told_of_a_status_that_says_nothing(status: dict[str, Any] | None) -> None:
    assert stalled(FunctionObject(metadata=Meta(name="f", generation=1), status=status)) is None
