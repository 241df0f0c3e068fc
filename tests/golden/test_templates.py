"""Handlers answer under the templates that ship with Hilbert as they do under OpenFaaS's, but for the differences that are listed."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golden import cases, raw
from golden.cases import Case
from golden.compare import differences
from golden.functions import TEMPLATES_OF, running
from golden.listed import check, listed, that_count

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "from-openfaas.md"

_AT_ONCE = 3
KINDS = [(name, kind) for name, templates in TEMPLATES_OF.items() for kind in cases.kinds(cases.of(*templates))]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[f"{name}: {kind}" for name, kind in KINDS])
def test_answers_are_those_of_the_original(name: str, kind: str) -> None:
    """Each difference is listed with its reason, and each that is listed is there."""
    if name.startswith("node") and shutil.which("node") is None:
        pytest.skip("Node is not installed")
    functions = cases.by_function(case for case in cases.of(*TEMPLATES_OF[name]) if case["kind"] == kind)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = {case: lines for answered in pool.map(_replay, functions) for case, lines in answered.items()}
    check(found)


def _replay(function: list[Case]) -> dict[str, list[str]]:
    """The differences of each case of one function."""
    with running(function[0]) as replica:
        if replica is None:
            return {case["id"]: [] if case["answer"].get("not_started") else ["not started"] for case in function}
        answers = {case["id"]: raw.send(replica.connect(), case["request"]) for case in function}
    return {case["id"]: that_count(case, differences(case, answers[case["id"]])) for case in function}


def test_every_listed_difference_has_its_case_and_its_sentence_in_the_guide() -> None:
    """Whoever comes from OpenFaaS is told."""
    known = {case["id"] for case in cases.every()}
    assert listed().keys() <= known
    guide = GUIDE.read_text()
    assert [reason for reason in sorted(set(listed().values())) if reason not in guide] == []
