"""The differences that stay, each with its reason."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from golden.cases import Case, every

LISTED = Path(__file__).with_name("differences.json")

_NO_TAG = "header etag: "
"""Ours makes no ETag of an answer: a difference of all answers alike, listed once."""


@functools.cache
def listed() -> dict[str, str]:
    """The reason for each case that answers otherwise."""
    return {case: entry["reason"] for entry in json.loads(LISTED.read_text()) for case in entry["cases"]}


@functools.cache
def _racing() -> frozenset[str]:
    """Cases in which two things race, here as there: what comes may differ or not."""
    return frozenset(case["id"] for case in every() if "or" in case["answer"])


def that_count(case: Case, lines: list[str]) -> list[str]:
    """The differences of a case without the one that all have."""
    return lines if "etag" in case["note"].lower() else [line for line in lines if not line.startswith(_NO_TAG)]


def check(found: dict[str, list[str]]) -> None:
    """Each case that differs is listed, and each that is listed differs."""
    unlisted = {case: lines for case, lines in found.items() if lines and case not in listed()}
    assert not unlisted, json.dumps(unlisted, indent=1, ensure_ascii=False)
    mended = [case for case, lines in found.items() if not lines and case in listed() and case not in _racing()]
    assert not mended, f"listed in {LISTED.name}, and yet the same: {mended}"
