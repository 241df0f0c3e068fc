"""The control plane: deploying, listing, logs and the way from a deployment to the first answer, alone and beside a crowd.

`HILBERT_BENCH_BEFORE` names the interpreter of a virtual environment with an earlier version, to be measured in the same run.
"""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import psutil

import hilbert
from bench import load
from bench.report import Section
from support.platform import Platform, until

_HANDLER: Final = "ghcr.io/openfaas/nodeinfo:latest"
_LISTED: Final = 1_000
"""Functions of the namespace that is listed."""
_LINES: Final = 20_000
_TIMES: Final = 5
"""How often each thing is done; the median counts."""
_CLIENTS: Final = 8


def section(*, functions: int) -> Section:
    """Measure each version with few functions, then with many."""
    versions = {f"this version ({hilbert.__version__})": ""}
    if before := os.environ.get("HILBERT_BENCH_BEFORE"):
        versions["before"] = before
    found = Section(
        "Control plane",
        f"One host, default settings. First with nothing else present, then with {functions:,} functions at zero in other namespaces. "
        f"Deployments through the REST API by {_CLIENTS} clients at once, each with a scaling to zero; the list is of a namespace of {_LISTED:,} functions; "
        f"log lines: one call writes {_LINES:,}, until the last can be read; from a deployment to the first answer of a Python handler.",
        ["", *(f"{title}, {present}" for title in versions for present in ("alone", f"beside {functions:,}"))],
    )
    columns = [figures for interpreter in versions.values() for figures in _version(interpreter, functions)]
    for name in columns[0]:
        found.rows.append((name, *(figures[name] for figures in columns)))
    return found


def _version(interpreter: str, functions: int) -> tuple[dict[str, str], dict[str, str]]:
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    if interpreter:
        platform.command = (interpreter,)
        platform.environ.pop("HILBERT_PROCESS__SPARES", None)  # It may be too old to know it.
    platform.start()
    try:
        alone = _figures(platform, "alone")
        _deploy(platform, "crowd", functions)
        return alone, _figures(platform, "beside")
    finally:
        platform.close()


def _figures(platform: Platform, mark: str) -> dict[str, str]:
    seconds = _deploy(platform, mark, _LISTED)
    control = platform.children("hilbert.server.control")[0]
    cpu = _cpu(control)
    listed = _median(lambda: _listed(platform, mark))
    list_cpu = (_cpu(control) - cpu) / _TIMES
    return {
        "deployments a second": f"{_LISTED / seconds:,.0f}",
        f"list of {_LISTED:,} functions": f"{listed * 1e3:.0f} ms",
        "processor time of it": f"{list_cpu * 1e3:.0f} ms",
        "log lines a second": f"{_LINES / _median(lambda: _logged(platform, mark)):,.0f}",
        "from deployment to answer": f"{_median(lambda: _ready(platform, mark)) * 1e3:.0f} ms",
        "memory of the control process": f"{control.memory_info().rss >> 20} MiB",
    }


def _deploy(platform: Platform, namespace: str, count: int) -> float:
    """Seconds for that many functions at zero."""
    assert platform.api("POST", "/system/namespace/", {"name": namespace, "labels": {"openfaas": "1"}}).status == 201

    def deploy(number: int) -> None:
        spec = {"service": f"f{number}", "namespace": namespace, "image": _HANDLER}
        assert platform.api("POST", "/system/functions", spec).status == 202
        path = f"/system/scale-function/f{number}?namespace={namespace}"
        assert platform.api("POST", path, {"replicas": 0}).status == 202

    began = time.perf_counter()
    with ThreadPoolExecutor(_CLIENTS) as pool:
        list(pool.map(deploy, range(count)))
    return time.perf_counter() - began


def _listed(platform: Platform, namespace: str) -> float:
    began = time.perf_counter()
    answer = platform.api("GET", f"/system/functions?namespace={namespace}")
    seconds = time.perf_counter() - began
    assert len(json.loads(answer.body)) == _LISTED
    return seconds


def _logged(platform: Platform, mark: str) -> float:
    name = f"talker-{mark}"
    if platform.api("GET", f"/system/function/{name}").status != 200:
        spec = {
            "service": name,
            "image": "functions/alpine:latest",
            "envProcess": "sh",
            "envVars": {"combine_output": "false"},
        }
        assert platform.api("POST", "/system/functions", spec).status == 202
        until(lambda: platform.call(f"/function/{name}", b"true").status == 200, within=120, what=f"{name} to answer")
    last = f"line {time.monotonic_ns()}"
    began = time.perf_counter()
    script = f"seq -f 'a line of the log of some fifty characters %g' {_LINES - 1} >&2; echo {last} >&2"
    assert platform.call(f"/function/{name}", script.encode()).status == 200
    until(lambda: last in _tail(platform, name), within=120, what="the last line")
    return time.perf_counter() - began


def _tail(platform: Platform, name: str) -> str:
    return platform.api("GET", f"/system/logs?name={name}&tail=3&follow=false").body.decode()


def _ready(platform: Platform, mark: str) -> float:
    name = f"new-{mark}-{time.monotonic_ns()}"
    began = time.perf_counter()
    assert platform.api("POST", "/system/functions", {"service": name, "image": _HANDLER}).status == 202
    with urllib.request.urlopen(f"{platform.url}/function/{name}", data=b"", timeout=60) as answer:
        answer.read(1)
    return time.perf_counter() - began


def _median(measure: Callable[[], float]) -> float:
    return load.median([measure() for _ in range(_TIMES)])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
