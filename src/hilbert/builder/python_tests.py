"""Runs the tests of a Python function: `python3 -m hilbert.builder.python_tests FOLDER PATTERN...`.

With pytest in the function's requirements, pytest runs them. Without it the standard library does, and plain functions `test_*`
and plain classes `Test*` count as tests too, since that is how most people write them. Exit status: 0 passed, 1 failed, 5 no test was found.
"""

from __future__ import annotations

import asyncio
import fnmatch
import importlib.util
import inspect
import sys
import unittest
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Final

NO_TESTS_RUN: Final = 5
"""As pytest says it, and unittest from Python 3.12 on."""


def main(arguments: list[str]) -> int:
    folder, *patterns = arguments
    sys.path.insert(0, "")
    if _is_required("pytest"):
        return _with_pytest(folder, patterns)
    suite = unittest.TestSuite(_suites(Path(folder), patterns))
    if not suite.countTestCases():
        return NO_TESTS_RUN
    return 0 if unittest.TextTestRunner(verbosity=1).run(suite).wasSuccessful() else 1


def _is_required(package: str) -> bool:
    """Whether the function's own dependencies have it, not only this interpreter's."""
    spec = importlib.util.find_spec(package)
    own = (sys.prefix, sys.base_prefix)
    return spec is not None and spec.origin is not None and not spec.origin.startswith(own)


def _with_pytest(folder: str, patterns: Sequence[str]) -> int:
    import pytest

    return int(pytest.main(["-q", "-p", "no:cacheprovider", "-o", f"python_files={' '.join(patterns)}", folder]))


def _suites(folder: Path, patterns: Sequence[str]) -> Iterator[unittest.TestSuite]:
    for file in sorted(folder.rglob("*.py")):
        if any(fnmatch.fnmatch(file.name, pattern) for pattern in patterns):
            name = ".".join(file.with_suffix("").parts)
            loaded = unittest.defaultTestLoader.loadTestsFromName(name)
            yield loaded
            if name in sys.modules:
                yield unittest.TestSuite(_functions(sys.modules[name]))


def _functions(module: ModuleType) -> Iterator[unittest.TestCase]:
    for name, value in vars(module).items():
        if name.startswith("test") and inspect.isfunction(value) and value.__module__ == module.__name__:
            yield unittest.FunctionTestCase(_callable(value), description=f"{module.__name__}.{name}")
        elif name.startswith("Test") and inspect.isclass(value) and value.__module__ == module.__name__:
            yield from () if issubclass(value, unittest.TestCase) else _methods(value)


def _methods(kind: type[Any]) -> Iterator[unittest.TestCase]:
    """Tests of a plain class: each has an instance of its own, between `setup_method` and `teardown_method`."""
    for name in (name for name in dir(kind) if name.startswith("test")):
        made = kind()
        steps = [getattr(made, step, None) for step in ("setup_method", "teardown_method")]
        before, after = (_callable(step) if step is not None else None for step in steps)
        description = f"{kind.__module__}.{kind.__qualname__}.{name}"
        yield unittest.FunctionTestCase(_callable(getattr(made, name)), before, after, description)


def _callable(test: Callable[..., Any]) -> Callable[[], Any]:
    def run() -> None:
        if inspect.signature(test).parameters:
            raise TypeError(f"{test.__name__} takes fixtures, which only pytest has: add pytest to requirements.txt")
        result = test()
        if inspect.iscoroutine(result):
            asyncio.run(result)

    return run


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
