"""The run does not depend on the signal dispositions that it was started with."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

INNER = """
import signal, subprocess, sys

def test_a_child_has_defaults():
    code = "import signal; print([int(signal.getsignal(n)) for n in (signal.SIGHUP, signal.SIGQUIT)], signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[0, 0] True\\n"
"""


def _ignore() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)


def test_signals_that_were_ignored_are_not_for_what_a_test_starts(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_inner.py").write_text(INNER)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ended = subprocess.run(command, cwd=tmp_path, preexec_fn=_ignore, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stdout
