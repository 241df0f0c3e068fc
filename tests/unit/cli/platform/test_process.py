"""What is said of a platform that did not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from hilbert.cli.platform import process


@pytest.mark.parametrize(
    ("log", "message", "hint"),
    [
        ("", "", ""),
        ("error: the port is taken\nhint: choose another\n", "the port is taken", "choose another"),
        (
            (
                '{"event": "starting", "level": "info"}\n'
                '{"event": "cannot start", "level": "error", "reason": "no sandbox", "hint": "install one"}\n'
                '{"event": "stopped", "level": "info"}\n'
            ),
            "the platform did not start: no sandbox",
            "install one",
        ),
        (
            'Traceback (most recent call last):\n  File "x"\nValueError: oops\n{"event": "stopped", "level": "info"}\n',
            "the platform did not start: ValueError: oops",
            "",
        ),
        ("{half of a line", "", ""),
    ],
)
def test_the_line_that_says_why(tmp_path: Path, log: str, message: str, hint: str) -> None:
    """Whoever wrote it."""
    path = tmp_path / "log"
    path.write_text("error: of another time\n" + log)
    assert process._last_words(path, len("error: of another time\n")) == (message, hint)
