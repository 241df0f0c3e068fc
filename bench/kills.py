"""The kill suite at length: every process killed, stopped and restarted at random under calls and changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping

from bench import ROOT
from bench.report import Section


class KillsFailed(Exception):
    """The suite has failed; the message has the end of its output, with the seed."""


def section(*, rounds: int) -> Section:
    """Run `tests/e2e/kills`. Raises `KillsFailed`."""
    said = run("tests/e2e/kills", "kills: ", {"HILBERT_KILL_ROUNDS": str(rounds)})
    return Section(
        "Kills",
        "`tests/e2e/kills`: in each round one process, chosen at random, gets SIGKILL, or SIGSTOP for a while, or the platform a rolling restart, under 400 calls/s and changes through the API. "
        "After it, every acknowledged change is compared with what the platform says. Only a kill of the supervisor, of a worker or of a function's own replica may cost calls.",
        (),
        findings=[f"{line}." for line in said],
    )


def run(suite: str, prefix: str, environment: Mapping[str, str]) -> list[str]:
    """Run a suite of tests; the lines that it said with a prefix. Raises `KillsFailed`."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", suite],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise KillsFailed(f"{done.stdout[-8000:]}{done.stderr[-2000:]}")
    return [line.removeprefix(prefix) for line in done.stdout.splitlines() if line.startswith(prefix)]
