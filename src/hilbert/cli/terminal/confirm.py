"""A question before something is destroyed."""

from __future__ import annotations

import sys

from hilbert.cli.frame.failures import Failed


def confirm(question: str, *, yes: bool) -> None:
    """Ask at a terminal. Raises `Failed` unless the answer is yes.

    `yes` answers beforehand. Without a terminal nobody can answer and nothing is asked: scripts written for OpenFaaS's
    command line, which never asks, go on working.
    """
    if yes or not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()):
        return
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Failed("not confirmed; nothing was removed")
