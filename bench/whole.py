"""The whole platform as a user starts it: a Python handler, and one process per request."""

from __future__ import annotations

from pathlib import Path

from bench import load
from bench.report import Section
from support.platform import Platform

HANDLER = "ghcr.io/openfaas/nodeinfo:latest"
"""Ships with the platform; its handler is Python."""


def section(where: Path, *, rounds: int, seconds: float) -> Section:
    """Start a platform, measure, stop it."""
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        platform.hilbert("deploy", "--image", HANDLER, "--name", "handler")
        platform.hilbert(
            "deploy", "--image", "functions/alpine:latest", "--name", "cat", "--fprocess", "cat", "-e", "mode=streaming"
        )
        return _rates(platform, where, rounds=rounds, seconds=seconds)
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
