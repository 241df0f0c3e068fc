"""Load: `wrk` for rates, an open loop of our own for latency at a fixed rate."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench import ROOT

LOAD_CORE = 1
"""Where the load generator and the upstream run; what is measured runs on core 0."""


@dataclass
class Result:
    """One round."""

    rate: float
    """Requests a second."""
    p50: float
    """Seconds."""
    p99: float
    bytes_rate: float
    """Bytes of answers a second."""
    errors: int
    cpu: float
    """Processor seconds of the measured processes per request."""


def wrk(
    url: str,
    *,
    connections: int = 32,
    seconds: float = 3,
    script: Path | None = None,
    pids: Sequence[int] = (),
    core: int | None = LOAD_CORE,
) -> Result:
    """Run `wrk` with one thread. `pids` are the processes whose processor time counts."""
    words = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "60s"]
    words += ["-s", str(script)] if script else []
    pinned = ["taskset", "-c", str(core)] if core is not None else []
    before = _cpu(pids)
    text = subprocess.run([*pinned, *words, url], capture_output=True, text=True, check=True).stdout
    used = _cpu(pids) - before
    counts = re.search(r"(\d+) requests in ([\d.]+)(\w+),", text)
    assert counts is not None, text
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = (int(bad[1]) if bad else 0) + (sum(map(int, broken.groups())) if broken else 0)
    transfer = re.search(r"Transfer/sec:\s+([\d.]+)(\w+)", text)
    assert transfer is not None, text
    return Result(
        rate=float(re.search(r"Requests/sec:\s+([\d.]+)", text)[1]),  # type: ignore[index]  # wrk always says
        p50=_seconds(text, "50"),
        p99=_seconds(text, "99"),
        bytes_rate=float(transfer[1]) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[transfer[2]],
        errors=errors,
        cpu=used / max(int(counts[1]), 1),
    )


def _seconds(text: str, percentile: str) -> float:
    found = re.search(rf"\s{percentile}%\s+([\d.]+)(us|ms|s)", text)
    return float(found[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[found[2]] if found else float("nan")


def _cpu(pids: Sequence[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def steady(ports: Sequence[int], paths: Sequence[str], *, rate: float, count: int) -> list[list[float]]:
    """Latencies at a fixed rate, each target in turn by single requests over one kept connection, on schedule.

    From a process of its own (`bench.steady`) on the load's core, so that nothing else in this one delays it.
    """
    words = ["taskset", "-c", str(LOAD_CORE), sys.executable, "-m", "bench.steady", str(rate), str(count)]
    targets = [f"{port}{path}" for port, path in zip(ports, paths, strict=True)]
    done = subprocess.run([*words, *targets], cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: list[list[float]] = json.loads(done.stdout)
    return found


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


median = statistics.median
