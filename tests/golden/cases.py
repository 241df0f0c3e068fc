"""The recorded cases, as plain dictionaries with the fields that `about` in the record describes."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Case = dict[str, Any]

RECORD = Path(__file__).parents[1] / "data" / "openfaas" / "golden.json.gz"


@functools.cache
def every() -> tuple[Case, ...]:
    """All cases, in the order of the record."""
    with gzip.open(RECORD) as file:
        return tuple(json.load(file)["cases"])


def of(*templates: str) -> list[Case]:
    """The cases of some templates."""
    return [case for case in every() if case["template"] in templates]


def kinds(cases: Iterable[Case]) -> list[str]:
    """The groups that cases fall into, in order."""
    return list(dict.fromkeys(case["kind"] for case in cases))


def by_function(cases: Iterable[Case]) -> list[list[Case]]:
    """Cases that one running function can answer, together: those with the same handler and environment."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        key = json.dumps(
            [case.get("handler") or case.get("process"), case.get("env"), case.get("mode")], sort_keys=True
        )
        if "run" in case:
            key += case["id"]  # It does something to the function.
        groups.setdefault(key, []).append(case)
    return list(groups.values())
