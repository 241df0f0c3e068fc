"""Handlers answer under the templates that ship with Hilbert as they do under OpenFaaS's, but for the differences that are listed."""

from __future__ import annotations

import functools
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from golden import cases, raw
from golden.cases import Case
from golden.compare import differences
from golden.functions import TEMPLATES_OF, running

LISTED = Path(__file__).with_name("differences.json")
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "from-openfaas.md"

_AT_ONCE = 3
_NO_TAG = "header etag: "
"""Ours makes no ETag of an answer: a difference of all answers alike, listed once."""


@functools.cache
def listed() -> dict[str, str]:
    """The reason for each case that answers otherwise."""
    return {case: entry["reason"] for entry in json.loads(LISTED.read_text()) for case in entry["cases"]}


KINDS = [(name, kind) for name, templates in TEMPLATES_OF.items() for kind in cases.kinds(cases.of(*templates))]


@pytest.mark.parametrize(("name", "kind"), KINDS, ids=[f"{name}: {kind}" for name, kind in KINDS])
def test_answers_are_those_of_the_original(name: str, kind: str) -> None:
    """Each difference is listed with its reason, and each that is listed is there."""
    if name.startswith("node") and shutil.which("node") is None:
        pytest.skip("Node is not installed")
    functions = cases.by_function(case for case in cases.of(*TEMPLATES_OF[name]) if case["kind"] == kind)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = {case: lines for answered in pool.map(_replay, functions) for case, lines in answered.items()}
    unlisted = {case: lines for case, lines in found.items() if lines and case not in listed()}
    assert not unlisted, json.dumps(unlisted, indent=1, ensure_ascii=False)
    mended = [case for case, lines in found.items() if not lines and case in listed()]
    assert not mended, f"listed in {LISTED.name}, and yet the same: {mended}"


def _replay(function: list[Case]) -> dict[str, list[str]]:
    """The differences of each case of one function."""
    with running(function[0]) as replica:
        if replica is None:
            return {case["id"]: [] if case["answer"].get("not_started") else ["not started"] for case in function}
        answers = {case["id"]: raw.send(replica.connect(), case["request"]) for case in function}
    return {
        case["id"]: [line for line in differences(case, answers[case["id"]]) if not line.startswith(_NO_TAG)]
        for case in function
    }


def test_every_listed_difference_has_its_case_and_its_sentence_in_the_guide() -> None:
    """Whoever comes from OpenFaaS is told."""
    known = {case["id"] for case in cases.every()}
    assert listed().keys() <= known
    guide = GUIDE.read_text()
    assert [reason for reason in sorted(set(listed().values())) if reason not in guide] == []
