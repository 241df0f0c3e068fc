"""Every bound in the table is tried by a test, and is what the code has."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

from hilbert.core.settings import known_settings
from hilbert.server.bounds import BOUNDS, Bound, render_page

TESTS = Path(__file__).parents[2]


@functools.cache
def marks() -> dict[str, list[str]]:
    """Names of bounds with the tests that are marked with them."""
    found: dict[str, list[str]] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for name in _bounds_of(node):
                    found.setdefault(name, []).append(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def _bounds_of(test: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    calls = [
        one for one in test.decorator_list if isinstance(one, ast.Call) and ast.unparse(one.func) == "pytest.mark.bound"
    ]
    return [str(ast.literal_eval(argument)) for call in calls for argument in call.args]


@pytest.mark.parametrize("bound", BOUNDS, ids=[bound.name for bound in BOUNDS])
def test_each_bound_is_tried(bound: Bound) -> None:
    """By a test that is marked with its name."""
    assert marks().get(bound.name), f"no test has pytest.mark.bound({bound.name!r})"


def test_no_test_tries_a_bound_that_is_not_there() -> None:
    assert set(marks()) <= {bound.name for bound in BOUNDS}


def test_names_are_unique_and_settings_exist() -> None:
    names = [bound.name for bound in BOUNDS]
    assert len(set(names)) == len(names)
    assert {bound.setting for bound in BOUNDS if bound.setting} <= set(known_settings())


@pytest.mark.parametrize(
    "line", ["| 64 KiB | request | 431, closed | `gateway.max_header_bytes` |", "| 64 KiB | request | 502, cut |  |"]
)
def test_defaults_come_from_the_code(line: str) -> None:
    """From a setting, or from where the bound is kept."""
    assert line in render_page()
