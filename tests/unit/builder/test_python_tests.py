"""How the tests of a Python function are found and run without pytest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hilbert.builder.python_tests import NO_TESTS_RUN

FALSE = "assert 1 == 2"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("handler_test.py", f"def test_it():\n    {FALSE}\n"),
        ("test_handler.py", f"def test_it():\n    {FALSE}\n"),
        ("tests/test_it.py", f"def test_it():\n    {FALSE}\n"),
        ("handler_test.py", f"async def test_it():\n    {FALSE}\n"),
        ("handler_test.py", f"class TestIt:\n    def test_it(self):\n        {FALSE}\n"),
        ("handler_test.py", f"class TestIt:\n    async def test_it(self):\n        {FALSE}\n"),
        (
            "handler_test.py",
            f"class TestIt:\n    def setup_method(self):\n        {FALSE}\n    def test_it(self): ...\n",
        ),
        (
            "handler_test.py",
            f"import unittest\nclass It(unittest.TestCase):\n    def test_it(self):\n        {FALSE}\n",
        ),
        ("handler_test.py", "def test_it(tmp_path): ...\n"),
        ("handler_test.py", "import nothing_like_it\n"),
    ],
)
def test_a_false_assertion_fails_however_it_is_written(tmp_path: Path, file: str, source: str) -> None:
    """A build must not be green with it."""
    assert run(tmp_path, file, source).returncode == 1


FRESH = """
class TestIt:
    x = 0

    def setup_method(self):
        self.x += 1

    def test_a(self):
        assert self.x == 1

    def test_b(self):
        assert self.x == 1
"""


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("def test_one(): ...\ndef test_two(): ...\ndef helper(): assert 0\n", 2),
        (FRESH, 2),
        ("import unittest\nclass TestIt(unittest.TestCase):\n    def test_a(self): ...\n", 1),
    ],
)
def test_the_count_is_printed(tmp_path: Path, source: str, count: int) -> None:
    """Each instance of a class serves one test; a class of unittest's runs once."""
    done = run(tmp_path, "handler_test.py", source)
    assert done.returncode == 0, done.stderr
    assert f"Ran {count} test" in done.stderr


@pytest.mark.parametrize("source", ["", "x = 1\n", "class Testing: ...\n", "def check_it(): assert 0\n"])
def test_that_there_are_none_is_an_exit_status_of_its_own(tmp_path: Path, source: str) -> None:
    assert run(tmp_path, "handler_test.py", source).returncode == NO_TESTS_RUN


def run(folder: Path, file: str, source: str) -> subprocess.CompletedProcess[str]:
    path = folder / "function" / file
    path.parent.mkdir(parents=True)
    path.write_text(source)
    command = [sys.executable, "-m", "hilbert.builder.python_tests", "function", "*_test.py", "test_*.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
