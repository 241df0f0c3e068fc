"""How long the command line takes to start, beside an interpreter that does nothing."""

from __future__ import annotations

import compileall
import subprocess
import sys
import time
from collections.abc import Mapping

from bench import ROOT, load
from bench.report import Section
from support.platform import HILBERT, Platform


def section(*, runs: int) -> Section:
    """Start a platform, time commands against it in turn, stop it."""
    found = Section(
        "Start of the command line",
        f"Each command {runs} times, in turn; from starting the process to its end. The package is compiled to bytecode first, as `pip` does.",
        ["command", "best", "median", "median over bare Python"],
    )
    compileall.compile_dir(str(ROOT / "src"), quiet=1)
    platform = Platform("log.level=warning").start()
    commands = {
        "`python3 -c pass`": [sys.executable, "-c", "pass"],
        "`hilbert --help`": [HILBERT, "--help"],
        "`hilbert list`": [HILBERT, "list"],
    }
    times: dict[str, list[float]] = {title: [] for title in commands}
    try:
        for _ in range(runs):
            for title, command in commands.items():
                times[title].append(_run(command, platform.environ))
    finally:
        platform.close()
    bare = load.median(times["`python3 -c pass`"])
    for title, seconds in times.items():
        middle = load.median(seconds)
        found.rows.append(
            (title, f"{min(seconds) * 1e3:.0f} ms", f"{middle * 1e3:.0f} ms", f"{(middle - bare) * 1e3:+.0f} ms")
        )
    return found


def _run(command: list[str], environ: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environ, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - began
