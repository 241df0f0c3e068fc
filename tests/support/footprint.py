"""What replicas' sandboxes and networks are made of on this machine, counted before and after."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from support.processes import ProcessHarness

Footprint = dict[str, int]
"""Counts by kind."""


def footprint(harness: ProcessHarness) -> Footprint:
    """Of one installation, so that others on this machine may come and go: also rules in networks are counted as networks."""
    label = harness.runtime.replicas.network._label  # type: ignore[union-attr]  # the harness has always one
    return {
        "replicas' folders": len(os.listdir(harness.runtime.replicas.folder)),
        "processes": len(harness.processes()),
        "links": sum(name.startswith(f"hb{label}") for _, name in socket.if_nameindex()),
        "networks": len(set(_networks(harness))),
        "mounts": sum(str(harness.folder) in line for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "control groups": sum(1 for top in _groups(harness) for below in top.rglob("*") if below.is_dir()),
        "rules": _rules(f"hilbert-{label}"),
        "descriptors here": len(os.listdir("/proc/self/fd")),
    }


def _groups(harness: ProcessHarness) -> set[Path]:
    return {Path(group).parent.parent for group in harness.runtime.machine.limiter.groups("n", "r")}


def _networks(harness: ProcessHarness) -> Iterator[str]:
    """Of the replicas' processes, and those that the keeper holds; none is this one's."""
    own = os.readlink("/proc/self/ns/net")
    run = f"HILBERT_RUN_DIR={harness.folder / 'run'}\0".encode()
    for process in harness.processes():
        with contextlib.suppress(OSError):
            if (found := os.readlink(f"/proc/{process.pid}/ns/net")) != own:
                yield found
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if run not in Path(f"/proc/{pid}/environ").read_bytes():
                continue
            for name in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(FileNotFoundError):
                    if (found := os.readlink(f"/proc/{pid}/fd/{name}")).startswith("net:"):
                        yield found


def _rules(table: str) -> int:
    """Lines of this machine's table; 0 for none."""
    if shutil.which("nft") is None or os.geteuid() != 0:
        return 0
    done = subprocess.run(["nft", "list", "table", "inet", table], capture_output=True, check=False)
    return len(done.stdout.splitlines()) if done.returncode == 0 else 0
