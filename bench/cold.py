"""Cold starts of a Python handler through the gateway: at each sandbox level, with and without spare sandboxes, as root and not."""

from __future__ import annotations

import base64
import json
import os
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Final

import psutil

from bench import load
from bench.report import Section
from bench.whole import HANDLER
from support.networks import interpreter_for
from support.platform import Platform, until
from support.processes import LEVELS, missing_here

_ORDINARY: Final = 1001
_PAUSE: Final = 0.5
"""Seconds between two starts, in which spare sandboxes are made."""


def section(*, runs: int) -> Section:
    """`runs` starts at the default level with the default settings, and two fifths as many of each other kind."""
    found = Section(
        "Cold start",
        "A Python handler (`nodeinfo`) is scaled to zero; half a second after its replica has gone it is called. "
        "Time from sending the request to the first byte of the answer, and memory of the idle replica with its sandbox (PSS).",
        ["user", "sandbox", "spare sandboxes", "starts", "p50", "p95", "most", "memory"],
    )
    with tempfile.TemporaryDirectory(prefix="hb-") as folder:
        Path(folder).chmod(0o755)
        users = {"root": 0, "ordinary": _ORDINARY} if os.geteuid() == 0 else {"ordinary": os.geteuid()}
        for name, user in users.items():
            interpreter = interpreter_for(user, Path(folder)) if os.geteuid() == 0 and user else ""
            if os.geteuid() == 0 and user and not interpreter:
                found.findings.append("No interpreter here that an ordinary user can run.")
                continue
            for level in LEVELS:
                if missing_here(level):
                    continue
                for spares in (2, 0):
                    count = runs if level == LEVELS[0] and spares else max(2, runs * 2 // 5)
                    times, memory = _starts(level, spares, count, user=user, interpreter=interpreter)
                    figures = (load.median(times), load.percentile(times, 0.95), max(times))
                    found.rows.append(
                        (
                            name, level, str(spares or "none"), str(count),
                            *(f"{seconds * 1e3:.0f} ms" for seconds in figures), f"{memory / 2**20:.1f} MiB",
                        )
                    )  # fmt: skip
    found.findings.append(_crowd(min(100, 2 * runs)))
    return found


def _starts(level: str, spares: int, count: int, *, user: int, interpreter: str) -> tuple[list[float], int]:
    """Seconds of each start, and bytes of the last replica."""
    platform = Platform("log.level=warning", f"process.sandbox={level}", f"process.spares={spares}")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    if interpreter:
        os.chown(platform.folder, user, user)
        platform.environ["HOME"] = str(platform.folder)
        platform.command = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", interpreter)
    platform.start()
    try:
        platform.hilbert("deploy", "--image", HANDLER, "--name", "handler")
        times = []
        for _ in range(count):
            _scale_to_zero(platform, "handler")
            time.sleep(_PAUSE)
            began = time.perf_counter()
            with urllib.request.urlopen(f"{platform.url}/function/handler", timeout=60) as answer:
                answer.read(1)
                times.append(time.perf_counter() - began)
        return times, _memory(platform)
    finally:
        platform.close()


def _memory(platform: Platform) -> int:
    """Of all processes of the only replica, bubblewrap's own included: their pages, those that are shared in part."""
    while (
        len(found := platform.replicas()) != 1
    ):  # One that was scaled away ends a while after it is out of the routes.
        time.sleep(_PAUSE)
    return _tree_memory(found[0])


def _tree_memory(first: psutil.Process) -> int:
    tree = [first, *first.children(recursive=True)]
    return sum(process.memory_full_info().pss for process in tree if process.status() != psutil.STATUS_ZOMBIE)


def _scale_to_zero(platform: Platform, name: str) -> None:
    credentials = base64.b64encode(f"admin:{platform.password}".encode()).decode()
    headers = {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"}
    body = json.dumps({"serviceName": name, "replicas": 0}).encode()
    urllib.request.urlopen(
        urllib.request.Request(f"{platform.url}/system/scale-function/{name}", body, headers)
    ).close()
    while True:
        with urllib.request.urlopen(
            urllib.request.Request(f"{platform.url}/system/function/{name}", headers=headers)
        ) as answer:
            if not json.load(answer).get("availableReplicas"):
                return
        time.sleep(0.02)


def _crowd(count: int) -> str:
    """Memory of many idle replicas of one function, which share what they can."""
    platform = Platform("log.level=warning", f"provider.max_replicas={count}")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        platform.hilbert(
            "deploy", "--image", HANDLER, "--name", "handler", "--label", f"com.openfaas.scale.max={count}"
        )
        platform.hilbert("scale", "handler", str(count))
        until(lambda: len(platform.replicas()) == count, within=120, what=f"{count} replicas")
        until(lambda: f'"availableReplicas":{count}' in _status(platform), within=120, what="all to be ready")
        sizes = [_tree_memory(first) for first in platform.replicas()]
        return f"Memory of {count} idle replicas at the default level (PSS): {sum(sizes) / len(sizes) / 2**20:.1f} MiB each."
    finally:
        platform.close()


def _status(platform: Platform) -> str:
    return platform.api("GET", "/system/function/handler").body.decode().replace(" ", "")
