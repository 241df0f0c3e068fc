"""Many functions at zero on one host: what each costs, and whether a new one costs more than the first."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psutil

from bench.report import Section
from support.platform import Platform, until

_HANDLER = "ghcr.io/openfaas/nodeinfo:latest"
_IDLE = 20.0
"""Seconds for which the processor time of the idle platform is watched."""


def section(*, functions: int, namespaces: int) -> Section:
    """Deploy them all, and look at what the platform does then."""
    found = Section(
        "Many functions at zero",
        f"{functions:,} functions in {namespaces:,} namespaces of one host, all scaled to zero and with labels of scaling. "
        "Deployed through the REST API by eight clients at once.",
        ["", "with one function", f"with {functions:,}"],
    )
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        before = _figures(platform, "first")
        for number in range(namespaces):
            body = {"name": f"n{number}", "labels": {"openfaas": "1"}}
            assert platform.api("POST", "/system/namespace/", body).status == 201
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: _deploy_at_zero(platform, number, namespaces), range(functions)))
        found.findings.append(
            f"Deploys a second: {functions / (time.monotonic() - began):,.0f}, each with a scaling to zero."
        )
        began = time.monotonic()
        platform.stop()
        platform.start(within=300)
        found.findings.append(f"Stop and start with all of them: {time.monotonic() - began:.1f} s.")
        after = _figures(platform, "last")
        for name, value in before.items():
            found.rows.append((name, value, after[name]))
    finally:
        platform.close()
    return found


def _deploy_at_zero(platform: Platform, number: int, namespaces: int) -> None:
    namespace = f"n{number % namespaces}"
    labels = {"com.openfaas.scale.zero": "true", "com.openfaas.scale.type": "capacity"}
    spec = {"service": f"f{number}", "namespace": namespace, "image": _HANDLER, "labels": labels}
    assert platform.api("POST", "/system/functions", spec).status == 202
    path = f"/system/scale-function/f{number}?namespace={namespace}"
    assert platform.api("POST", path, {"replicas": 0}).status == 202


def _figures(platform: Platform, name: str) -> dict[str, str]:
    """What does not depend on how many there are, or should not."""
    began = time.monotonic()
    spec = {"service": name, "image": _HANDLER}
    assert platform.api("POST", "/system/functions", spec).status == 202
    until(lambda: platform.call(f"/function/{name}", b"").status == 200, within=120, what=f"{name} to answer")
    ready = time.monotonic() - began
    began = time.monotonic()
    assert platform.api("GET", "/system/functions").status == 200
    listed = time.monotonic() - began
    processes = [*platform.children("hilbert.server.control"), *platform.children("hilbert.dataplane.worker")]
    used = [_cpu(process) for process in processes]
    time.sleep(_IDLE)
    shares = [(_cpu(process) - then) / _IDLE for process, then in zip(processes, used, strict=True)]
    memory = [process.memory_info().rss >> 20 for process in processes]
    return {
        "deploy to ready": f"{ready * 1e3:.0f} ms",
        "list of the default namespace": f"{listed * 1e3:.1f} ms",
        "processor share of the control process at rest": f"{shares[0]:.2%}",
        "memory of the control process": f"{memory[0]} MiB",
        "memory of a worker": f"{max(memory[1:])} MiB",
    }


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
