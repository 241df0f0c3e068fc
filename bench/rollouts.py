"""Changes under load: how many calls fail, and how many are answered, while a function and its neighbours change."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable

from bench.report import Section
from support.load import SteadyLoad
from support.platform import Platform, until

_RATE = 1000.0
_HANDLER = "ghcr.io/openfaas/nodeinfo:latest"
_AFTER = 2.0
"""Seconds under load after each change."""


def section() -> Section:
    """Each change in turn, while one function is called all the time."""
    found = Section(
        "Roll-outs under load",
        f"A Python handler is called {_RATE:,.0f} times a second, as far as client and platform manage that together on this machine, "
        "over kept connections. Failures are answers other than 2xx, and lost connections.",
        ["change", "calls", "calls/s", "failures"],
    )
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        _deploy(platform, "steady")
        for title, change in _CHANGES:
            with SteadyLoad(
                f"{platform.url}/function/steady", threads=16, rate=_RATE, most=10**9, body=b"x"
            ).on() as load:
                before, began = load.calls, time.monotonic()
                change(platform)
                time.sleep(_AFTER)
                calls, seconds = load.calls - before, time.monotonic() - began
            found.rows.append((title, f"{calls:,}", f"{calls / seconds:,.0f}", str(len(load.failures))))
            if load.failures:
                found.findings.append(f"{title}: {load.failures[0][:200]}")
    finally:
        platform.close()
    return found


def _deploy(platform: Platform, name: str, *, method: str = "POST", **environment: str) -> None:
    spec = {"service": name, "image": _HANDLER, "envVars": environment}
    answer = platform.api(method, "/system/functions", spec)
    assert answer.status in (200, 202), answer.text
    until(lambda: platform.call(f"/function/{name}", b"").status == 200, within=60, what=f"{name} to answer")


def _scale(platform: Platform, count: int) -> None:
    answer = platform.api("POST", "/system/scale-function/steady", {"replicas": count})
    assert answer.status == 202, answer.text
    until(lambda: _status(platform).get("availableReplicas", 0) == count, within=120, what=f"{count} replicas")


def _status(platform: Platform) -> dict[str, int]:
    found: dict[str, int] = json.loads(platform.api("GET", "/system/function/steady").body)
    return found


def _none(platform: Platform) -> None:
    del platform


def _up_and_down(platform: Platform) -> None:
    _scale(platform, 10)
    _scale(platform, 1)


def _update(platform: Platform) -> None:
    before = json.loads(platform.api("GET", "/system/function/steady").body)["hilbert"]["readyGeneration"]
    _deploy(platform, "steady", method="PUT", version=str(before))
    until(
        lambda: (
            json.loads(platform.api("GET", "/system/function/steady").body)["hilbert"].get("readyGeneration", 0)
            > before
        ),
        within=60,
        what="the new version",
    )


def _neighbour(platform: Platform) -> None:
    for _ in range(3):
        _deploy(platform, "neighbour")
        assert platform.api("DELETE", "/system/functions", {"functionName": "neighbour"}).status == 202
        until(lambda: platform.call("/function/neighbour", b"").status == 404, within=60, what="it to be gone")


def _restart(platform: Platform) -> None:
    assert platform.process is not None
    before = {one.pid for one in platform.children("hilbert.dataplane.worker")}
    platform.process.send_signal(signal.SIGHUP)
    until(
        lambda: (now := {one.pid for one in platform.children("hilbert.dataplane.worker")}) and not now & before,
        within=120,
        what="new workers",
    )


def _to_zero(platform: Platform) -> None:
    """The calls that come meanwhile wake it again."""
    for _ in range(3):
        assert platform.api("POST", "/system/scale-function/steady", {"replicas": 0}).status == 202
        until(lambda: _status(platform).get("availableReplicas", 0) >= 1, within=60, what="it to be awake")
        time.sleep(1)


_CHANGES: tuple[tuple[str, Callable[[Platform], None]], ...] = (
    ("none", _none),
    ("scale 1, 10, 1", _up_and_down),
    ("update", _update),
    ("deploy and delete a neighbour, three times", _neighbour),
    ("rolling restart of the platform", _restart),
    ("to zero and back, three times", _to_zero),
)
