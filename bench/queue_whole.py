"""Queued calls through a whole gateway: acknowledgements over HTTP, full cycles, and tenants beside a noisy one."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import load
from bench.report import Section
from bench.whole import HANDLER
from support.platform import Platform, until

_AT_ONCE = 1_000
_SLOW = "ghcr.io/openfaas/sleep:latest"
_SLEEP = "250ms"
_QUIET = [f"quiet-{number}" for number in range(9)]
_NOISY = "noisy"


def sections(where: Path, *, rounds: int, seconds: float, cycles: int, noisy: int, watched: float) -> list[Section]:
    """`cycles` calls are made and settled; `noisy` are queued by one tenant, `watched` seconds the others are watched."""
    platform = Platform("log.level=warning")
    platform.environ["HILBERT_LOG__LEVEL"] = "warning"
    platform.start()
    try:
        return [
            _acknowledged(platform, where, rounds=rounds, seconds=seconds, cycles=cycles),
            _fairness(platform, noisy=noisy, seconds=watched, rounds=rounds),
        ]
    finally:
        platform.close()


def _acknowledged(platform: Platform, where: Path, *, rounds: int, seconds: float, cycles: int) -> Section:
    found = Section(
        "Queue: over HTTP",
        "A whole gateway with its default settings; workers, control process, function and client share the cores. "
        "1 KiB is posted to `/async-function/` with `X-Delay: 1h` by `wrk`, whose connections each wait for 202.",
        ["connections", "202/s", "p50", "p99", "control process µs/202", "workers µs/202", "errors"],
    )
    script = where / "queue.lua"
    script.write_text('wrk.method = "POST"\nwrk.headers["X-Delay"] = "1h"\nwrk.body = string.rep("x", 1024)\n')
    results: dict[int, list[load.Result]] = {}
    used: dict[int, list[tuple[float, float]]] = {}
    for number in range(rounds):
        for connections in (1, 64, 256):
            name = f"waiting-{number}-{connections}"  # A new one each time: how much one may queue is bounded.
            _deploy(platform, name, HANDLER, "")
            before = _processor(platform)
            result = load.wrk(
                f"{platform.url}/async-function/{name}",
                connections=connections,
                seconds=seconds,
                script=script,
                core=None,
            )
            results.setdefault(connections, []).append(result)
            used.setdefault(connections, []).append(_each(before, _processor(platform), result.rate * seconds))
            platform.api("DELETE", "/system/functions", {"functionName": name})
    for connections, of in results.items():
        found.rows.append(
            (
                str(connections),
                f"{load.median([one.rate for one in of]):,.0f}",
                f"{load.median([one.p50 for one in of]) * 1e3:.1f} ms",
                f"{load.median([one.p99 for one in of]) * 1e3:.1f} ms",
                *(f"{load.median(times):.0f}" for times in zip(*used[connections], strict=True)),
                str(sum(one.errors for one in of)),
            )
        )
    _deploy(platform, "handler", HANDLER, "")
    rates, spent = [], []
    for _ in range(rounds):
        before, began = _processor(platform), time.monotonic()
        _queue(platform, "handler", "", cycles)
        while _open(platform, "") > 0:
            time.sleep(0.1)  # Asking takes the control process's time, too.
        rates.append(cycles / (time.monotonic() - began))
        spent.append(_each(before, _processor(platform), cycles))
    control, workers = (load.median(times) for times in zip(*spent, strict=True))
    found.findings.append(
        f"Full cycles through a Python handler (`nodeinfo`), queued in batches of {_AT_ONCE:,}, called and settled: "
        f"{load.median(rates):,.0f} a second ({cycles:,} calls, median of {rounds} rounds); for each, the control process took {control:.0f} µs and the workers {workers:.0f} µs of processor time."
    )
    return found


def _processor(platform: Platform) -> tuple[float, float]:
    """Seconds of processor time that the control process and the workers have used."""
    found = []
    for module in ("hilbert.server.control", "hilbert.dataplane.worker"):
        times = [process.cpu_times() for process in platform.children(module)]
        found.append(sum(one.user + one.system for one in times))
    return found[0], found[1]


def _each(before: tuple[float, float], after: tuple[float, float], count: float) -> tuple[float, float]:
    """Microseconds for each of so many."""
    return (after[0] - before[0]) / count * 1e6, (after[1] - before[1]) / count * 1e6


def _fairness(platform: Platform, *, noisy: int, seconds: float, rounds: int) -> Section:
    found = Section(
        "Queue: fairness",
        f"One tenant queues {noisy:,} calls of a function that takes {_SLEEP}, nine others one call a second each, of a Python handler, for {seconds:g} s. "
        "Dwell: from the time at which a call was queued to its end.",
        ["", "dwell of the nine, p50", "p99", "the noisy one's calls/s"],
    )
    for namespace in (_NOISY, *_QUIET):
        platform.api("POST", "/system/namespace/", {"name": namespace, "annotations": {"openfaas": "1"}})
    _deploy(platform, "slow", _SLOW, _NOISY, sleep_duration=_SLEEP)
    for namespace in _QUIET:
        _deploy(platform, "quick", HANDLER, namespace)
    quiet_alone = _watch(platform, seconds)
    found.rows.append(("the nine alone", *_shown(quiet_alone), "-"))
    _queue(platform, "slow", _NOISY, noisy)
    _rate_of_noisy(
        platform, lambda: time.sleep(seconds)
    )  # Until it has found out how many calls the function takes at once.
    beside: list[float] = []
    rates: list[float] = []
    shares: list[float] = []
    for _ in range(rounds):
        before = _rate_of_noisy(platform, lambda: time.sleep(seconds / 2))
        together = _rate_of_noisy(platform, lambda: beside.extend(_watch(platform, seconds)))
        after = _rate_of_noisy(platform, lambda: time.sleep(seconds / 2))
        rates.append((before + after) / 2)
        shares.append(together / rates[-1])
    alone, left = load.median(rates), _open(platform, _NOISY)
    found.rows.append(("the noisy one alone", "-", "-", f"{alone:,.0f}"))
    found.rows.append(("together", *_shown(beside), f"{load.median(shares) * alone:,.0f}"))
    most = max(1.0, 2 * load.percentile(quiet_alone, 0.99))
    worst, share = load.percentile(beside, 0.99), load.median(shares)
    found.findings.append(
        f"p99 of the nine beside {left:,} to {noisy:,} waiting calls of another tenant: {worst:.2f} s; "
        f"the aim of at most {most:.2f} s is {'met' if worst <= most else 'missed'}."
    )
    found.findings.append(
        f"The noisy one has {share:.0%} of what it has alone, in the seconds just before and after (median of {rounds}); "
        f"the aim of at least 90% is {'met' if share >= 0.9 else 'missed'}."
    )
    return found


def _rate_of_noisy(platform: Platform, meanwhile: Callable[[], None]) -> float:
    """Calls of the noisy tenant that end in a second."""
    before, began = _open(platform, _NOISY), time.monotonic()
    meanwhile()
    return (before - _open(platform, _NOISY)) / (time.monotonic() - began)


def _watch(platform: Platform, seconds: float) -> list[float]:
    """Each of the nine queues a call a second; how long each call took to its end."""
    numbers: dict[str, list[str]] = {namespace: [] for namespace in _QUIET}

    def produce(namespace: str, first: float) -> None:
        for number in range(max(int(seconds), 1)):
            time.sleep(max(0.0, first + number - time.monotonic()))
            answer = platform.call(f"/async-function/quick.{namespace}", b"x")
            assert answer.status == 202, answer.text
            numbers[namespace].append(answer.headers["x-call-id"])

    began = time.monotonic()
    threads = [
        threading.Thread(target=produce, args=(namespace, began + place / len(_QUIET)))
        for place, namespace in enumerate(_QUIET)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    until(lambda: all(_open(platform, namespace) == 0 for namespace in _QUIET), within=300, what="the calls to end")
    found = []
    for namespace in _QUIET:
        calls = {call["callId"]: call for call in _calls(platform, namespace)}
        for number in numbers[namespace]:
            queued, ended = (datetime.fromisoformat(calls[number][key]) for key in ("queuedAt", "finishedAt"))
            found.append((ended - queued).total_seconds())
    return found


def _shown(times: Sequence[float]) -> tuple[str, str]:
    return f"{load.median(times) * 1e3:.0f} ms", f"{load.percentile(times, 0.99) * 1e3:.0f} ms"


def _deploy(platform: Platform, name: str, image: str, namespace: str, **environment: str) -> None:
    spec = {"service": name, "image": image, "namespace": namespace, "envVars": environment}
    answer = platform.api("POST", "/system/functions", spec)
    assert answer.status in (200, 202), answer.text
    target = f"{name}.{namespace}" if namespace else name
    until(lambda: platform.call(f"/function/{target}", b"").status == 200, within=60, what=f"{target} to answer")


def _queue(platform: Platform, name: str, namespace: str, count: int) -> None:
    for first in range(0, count, _AT_ONCE):
        calls = [{"function": name, "body": "x"}] * min(_AT_ONCE, count - first)
        answer = platform.api("POST", "/system/async/batch", {"namespace": namespace, "calls": calls})
        assert answer.status == 202, answer.text


def _open(platform: Platform, namespace: str) -> int:
    """Calls that have not ended."""
    answer = platform.api("GET", f"/system/async/queues?namespace={namespace}")
    return sum(queue["pending"] + queue["inFlight"] for queue in json.loads(answer.body))


def _calls(platform: Platform, namespace: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["number"] if found else 0
        page = json.loads(platform.api("GET", f"/system/async/calls?namespace={namespace}&after={after}").body)
        if not page:
            return found
        found += page
