"""Processes are run by the watchdog as OpenFaaS's two watchdogs run them, but for the differences that are listed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from golden import cases, watchdogs
from golden.cases import Case
from golden.compare import differences
from golden.listed import check, that_count

_AT_ONCE = 4

KINDS = [(name, kind) for name in watchdogs.TEMPLATES for kind in cases.kinds(cases.of(name))]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[f"{name}: {kind}" for name, kind in KINDS])
def test_answers_are_those_of_the_original(name: str, kind: str) -> None:
    """The environment of a process, its input and output, limits, health, signals and the log."""
    functions = cases.by_function(case for case in cases.of(name) if case["kind"] == kind)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        check({case: lines for answered in pool.map(_replay, functions) for case, lines in answered.items()})


def _replay(function: list[Case]) -> dict[str, list[str]]:
    """The differences of each case of one function."""
    with watchdogs.running(function[0]) as replica:
        if replica is None:
            return {case["id"]: [] if case["answer"].get("not_started") else ["not started"] for case in function}
        answers = {case["id"]: watchdogs.answer(replica, case) for case in function}
    return {case["id"]: that_count(case, differences(case, answers[case["id"]])) for case in function}
