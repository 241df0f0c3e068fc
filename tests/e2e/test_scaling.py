"""Scaling by load, to zero and back, on a real platform with nothing beside it."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from support.platform import Platform, running, until

SCALE = "com.openfaas.scale."


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=2", "provider.drain_delay=100ms", "provider.grace=1s") as started:
        yield started


def deploy(platform: Platform, name: str, process: str = "cat", **labels: str) -> None:
    spec = {
        "service": name,
        "image": "functions/alpine:latest",
        "envProcess": process,
        "labels": {f"{SCALE}{key.replace('_', '-')}": value for key, value in labels.items()},
    }
    answer = platform.api("POST", "/system/functions", spec)
    assert answer.status == 202, answer.text


def scaling(platform: Platform, name: str) -> dict[str, Any]:
    answer = platform.api("GET", f"/system/scaling/{name}")
    assert answer.status == 200, answer.text
    found: dict[str, Any] = json.loads(answer.body)
    return found


def metrics(platform: Platform) -> str:
    with urllib.request.urlopen(f"{platform.facts['metrics_url']}/metrics", timeout=10) as answer:
        found: bytes = answer.read()
    return found.decode()


class Callers:
    """Threads that call one function again and again until told to stop."""

    def __init__(self, platform: Platform, name: str, count: int) -> None:
        self._stop = threading.Event()
        self.statuses: list[int] = []
        self._threads = [threading.Thread(target=self._call, args=(platform, name)) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _call(self, platform: Platform, name: str) -> None:
        while not self._stop.is_set():
            self.statuses.append(platform.call(f"/function/{name}", b"x").status)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def test_calls_at_once_make_replicas_and_none_of_them_fails(platform: Platform) -> None:
    deploy(platform, "slow", "sleep 0.3", type="capacity", target="1", target_proportion="1", max="3")
    callers = Callers(platform, "slow", 4)
    try:
        until(lambda: scaling(platform, "slow")["available"] == 3, what="three replicas", log=lambda: platform.log)
    finally:
        callers.stop()
    assert set(callers.statuses) == {200}
    found = scaling(platform, "slow")
    assert found["rule"] == {
        "type": "capacity",
        "target": 1.0,
        "proportion": 1.0,
        "min": 1,
        "max": 3,
        "zero": False,
        "zeroAfter": "15m0s",
        "downWindow": "0s",
    }
    assert found["changes"][-1]["after"] == 3
    assert found["changes"][-1]["reason"] == "Load"
    assert found["load"] >= 3
    told = platform.hilbert("describe", "slow").stdout.decode()
    assert "=> 3 (Load: capacity" in told


def test_an_idle_function_goes_to_zero_and_the_next_call_wakes_it(platform: Platform) -> None:
    deploy(platform, "sleepy", zero="true", zero_duration="3s")
    for _ in range(2):
        assert platform.call("/function/sleepy", b"hello").body == b"hello"
        until(lambda: scaling(platform, "sleepy")["replicas"] == 0, what="no replica", log=lambda: platform.log)
    changes = scaling(platform, "sleepy")["changes"]
    assert [change["reason"] for change in changes] == ["Idle", "Idle"]
    assert "nobody has called it for" in changes[0]["message"]
    assert platform.call("/function/sleepy", b"again").body == b"again"


def test_a_long_call_is_not_cut_by_scaling_to_zero(platform: Platform) -> None:
    deploy(platform, "long", "sleep 6", zero="true", zero_duration="2s")
    assert platform.call("/function/long", b"").status == 200


def test_a_long_call_is_not_cut_by_scaling_down(platform: Platform) -> None:
    """However much longer than the grace it takes: its replica goes when it has ended."""
    deploy(platform, "patient", "sleep 5", max="2")
    assert platform.api("POST", "/system/scale-function/patient", {"replicas": 2}).status == 202
    until(lambda: scaling(platform, "patient")["available"] == 2, what="two replicas", log=lambda: platform.log)
    statuses: list[int] = []
    calls = [
        threading.Thread(target=lambda: statuses.append(platform.call("/function/patient", b"").status))
        for _ in range(4)
    ]
    for call in calls:
        call.start()
    under_way = 'gateway_function_invocation_inflight{function_name="patient.openfaas-fn"} 4.0'
    until(lambda: under_way in metrics(platform), what="four calls under way", log=lambda: platform.log)
    assert platform.api("POST", "/system/scale-function/patient", {"replicas": 0}).status == 202
    for call in calls:
        call.join()
    assert statuses == [200] * 4


def test_a_function_without_labels_keeps_its_count(platform: Platform) -> None:
    deploy(platform, "plain")
    assert platform.api("POST", "/system/scale-function/plain", {"replicas": 2}).status == 202
    until(lambda: scaling(platform, "plain")["available"] == 2, what="two replicas", log=lambda: platform.log)
    for _ in range(20):
        assert platform.call("/function/plain", b"x").status == 200
    found = scaling(platform, "plain")
    assert "rule" not in found
    assert found["replicas"] == 2


def test_what_is_not_there_does_not_scale(platform: Platform) -> None:
    assert platform.api("GET", "/system/scaling/nobody").status == 404
