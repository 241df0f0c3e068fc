"""What `doctor` says of what killed platforms have left on this machine, and having it removed."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from hilbert.cli.frame.failures import Failed
from hilbert.cli.platform.finding import Finding, Level
from hilbert.cli.terminal.confirm import confirm
from hilbert.cli.terminal.wording import count
from hilbert.client import running
from hilbert.core import settings as core_settings
from hilbert.core.environment import environment
from hilbert.core.errors import InvalidSettings

_SHOWN: Final = 10
"""Names in one finding."""


class Stray(msgspec.Struct, frozen=True):
    """As `hilbert.server.strays` tells it."""

    kind: str
    name: str


class _Report(msgspec.Struct, frozen=True):
    found: list[Stray]
    left: list[Stray]


def check_strays(environ: Mapping[str, str], *, fix: bool, yes: bool) -> Iterator[Finding]:
    """List them, or have them removed after a question. Raises `Failed`. Without valid settings, nobody knows whose they are."""
    try:
        paths = core_settings.load(environ=environ).settings.paths
    except InvalidSettings:
        return
    state = Path(paths.state_dir)
    known = running.read(state)
    # A killed platform's run folder may have been another than the settings say now.
    run = Path((known.run_dir if known is not None else "") or paths.run_dir)
    report = _ask(state, run)
    if not report.found:
        yield Finding(Level.OK, "nothing is left on this machine of platforms that were killed")
        return
    if not fix:
        todo = "remove it: hilbert doctor --fix"
        if any(stray.kind == "sandbox" for stray in report.found):
            todo = "start the platform, which takes its replicas back, or remove it: hilbert doctor --fix"
        yield Finding(
            Level.WARNING,
            f"left on this machine by platforms that were killed: {_counts(report.found)}",
            todo,
            _names(report.found),
        )
        return
    confirm(f"Remove {_counts(report.found)}?", yes=yes)
    report = _ask(state, run, "fix")
    removed = [stray for stray in report.found if stray not in report.left]
    if removed:
        yield Finding(Level.OK, f"removed what platforms that were killed had left: {_counts(removed)}")
    if report.left:
        yield Finding(
            Level.BROKEN,
            f"could not be removed: {_counts(report.left)}",
            "try it again as the user who ran that platform, or as root",
            _names(report.left),
        )


def _ask(state: Path, run: Path, *words: str) -> _Report:
    command = [sys.executable, "-P", "-m", "hilbert.server.strays", str(state), str(run), *words]
    done = subprocess.run(command, env=dict(environment()), stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Failed(f"cannot look for what killed platforms have left: {''.join(last)}")
    return msgspec.json.decode(done.stdout, type=_Report)


def _counts(strays: Sequence[Stray]) -> str:
    kinds = Counter(stray.kind for stray in strays)
    return ", ".join(count(number, kind) for kind, number in kinds.items())


def _names(strays: Sequence[Stray]) -> tuple[str, ...]:
    shown = tuple(f"{stray.kind} {stray.name}" for stray in strays[:_SHOWN])
    return shown if len(strays) <= _SHOWN else (*shown, f"and {len(strays) - _SHOWN} more")
