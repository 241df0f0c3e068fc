"""The whole platform as a user starts it: a Python handler, one process per request, cold starts."""

from __future__ import annotations

import base64
import json
import time
import urllib.request
from pathlib import Path

from bench import load
from bench.report import Section
from support.platform import Platform

HANDLER = "ghcr.io/openfaas/nodeinfo:latest"
"""Ships with the platform; its handler is Python."""


def sections(where: Path, *, rounds: int, seconds: float, cold: int) -> list[Section]:
    """Start a platform, measure, stop it."""
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        platform.hilbert("deploy", "--image", HANDLER, "--name", "handler")
        platform.hilbert(
            "deploy", "--image", "functions/alpine:latest", "--name", "cat", "--fprocess", "cat", "-e", "mode=streaming"
        )
        return [_rates(platform, where, rounds=rounds, seconds=seconds), _cold(platform, cold)]
    finally:
        platform.close()


def _rates(platform: Platform, where: Path, *, rounds: int, seconds: float) -> Section:
    script = where / "post.lua"
    script.write_text('wrk.method = "POST"\nwrk.body = "hello world hello world hello wo"\n')
    section = Section(
        "End to end",
        "A whole gateway with its default settings; workers, function and `wrk` (16 connections) share the cores. 32 bytes are posted.",
        ["function", "requests/s", "p50", "p99", "errors"],
    )
    for title, name in (
        ("Python handler (`nodeinfo`), in process", "handler"),
        ("`cat`, one process per request, mode `streaming`", "cat"),
    ):
        results = [
            load.wrk(f"{platform.url}/function/{name}", connections=16, seconds=seconds, script=script, core=None)
            for _ in range(rounds)
        ]
        section.rows.append(
            (
                title,
                f"{load.median([one.rate for one in results]):,.0f}",
                f"{load.median([one.p50 for one in results]) * 1e3:.2f} ms",
                f"{load.median([one.p99 for one in results]) * 1e3:.2f} ms",
                str(sum(one.errors for one in results)),
            )
        )
    return section


def _cold(platform: Platform, count: int) -> Section:
    section = Section(
        "Cold start",
        f"The Python handler is scaled to zero; once its replica is gone, it is called. Time from sending the request to the first byte of the "
        f"answer, {count} times.",
        ["", "p50", "p95", "most"],
    )
    times = []
    for _ in range(count):
        _scale_to_zero(platform, "handler")
        began = time.perf_counter()
        with urllib.request.urlopen(f"{platform.url}/function/handler", timeout=60) as answer:
            answer.read(1)
            times.append(time.perf_counter() - began)
    section.rows.append(
        (
            "process runtime",
            f"{load.median(times) * 1e3:.0f} ms",
            f"{load.percentile(times, 0.95) * 1e3:.0f} ms",
            f"{max(times) * 1e3:.0f} ms",
        )
    )
    return section


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
