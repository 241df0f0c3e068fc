"""Limits on calls on a real platform: set by whoever governs, held together by all workers, seen by whoever asks."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.platform import Platform, running, until


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=2", "provider.drain_delay=100ms") as started:
        yield started


def namespace(platform: Platform, name: str, **annotations: str) -> None:
    document = {
        "name": name,
        "labels": {"openfaas": "1"},
        "annotations": {f"com.hilbert.limits.{key.replace('_', '-')}": value for key, value in annotations.items()},
    }
    answer = platform.api("POST", "/system/namespace/", document)
    assert answer.status == 201, answer.text
    spec = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat", "namespace": name}
    assert platform.api("POST", "/system/functions", spec).status == 202
    until(
        lambda: platform.call(f"/function/echo.{name}", b"x").status == 200,
        what="the function",
        log=lambda: platform.log,
    )


def limits(platform: Platform, name: str) -> dict[str, Any]:
    """Of a namespace as a whole, by their names."""
    answer = platform.api("GET", f"/system/limits?namespace={name}")
    assert answer.status == 200, answer.text
    return {one["limit"]: one for one in json.loads(answer.body) if not one["function"]}


def test_two_workers_hold_one_rate_together(platform: Platform) -> None:
    """Over some seconds: the burst, the rate, and at most one second of what the division can be off."""
    namespace(platform, "metered", rate="20", burst="20")
    end = time.monotonic() + 4

    def calls() -> int:
        return sum(
            platform.call("/function/echo.metered", b"x").status == 200
            for _ in iter(lambda: time.monotonic() < end, False)
        )

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        let_in = sum(one.result() for one in [pool.submit(calls) for _ in range(8)])
    took = time.monotonic() - began
    assert let_in <= 20 + 20 * took + 20
    assert let_in >= 20
    found = limits(platform, "metered")["rate"]
    assert (found["limit"], found["value"], found["burst"], found["raisedBy"]) == ("rate", 20.0, 20, "administrator")
    assert found["refused"] > 0


def test_a_limit_that_means_nothing_is_refused(platform: Platform) -> None:
    for wrong in (
        {"com.hilbert.limits.rate": "many"},
        {"com.hilbert.limits.rate": "0"},
        {"com.hilbert.limits.burst": "5"},
        {"com.hilbert.limits.concurrency": "-1"},
    ):
        answer = platform.api(
            "POST", "/system/namespace/", {"name": "odd", "labels": {"openfaas": "1"}, "annotations": wrong}
        )
        assert answer.status == 400, answer.text
        assert next(iter(wrong)) in answer.text


def test_a_lower_limit_holds_soon_and_none_opens_again(platform: Platform) -> None:
    namespace(platform, "changing")
    limited = {"name": "changing", "labels": {"openfaas": "1"}, "annotations": {"com.hilbert.limits.rate": "0.01"}}
    assert platform.api("PUT", "/system/namespace/changing", limited).status == 202
    until(lambda: platform.call("/function/echo.changing").status == 429, what="the limit", log=lambda: platform.log)
    assert (
        platform.api(
            "PUT", "/system/namespace/changing", {"name": "changing", "labels": {"openfaas": "1"}, "annotations": {}}
        ).status
        == 202
    )
    until(lambda: platform.call("/function/echo.changing").status == 200, what="no limit", log=lambda: platform.log)


@pytest.mark.bound("starts")
def test_functions_start_from_zero_by_turns(platform: Platform) -> None:
    """One after the other, and each of their calls is answered."""
    namespace(platform, "turns", starts="1")
    names = [f"f{number}" for number in range(3)]
    for name in names:
        spec = {"service": name, "image": "functions/alpine:latest", "envProcess": "cat", "namespace": "turns"}
        assert platform.api("POST", "/system/functions", spec).status == 202
        path = f"/system/scale-function/{name}?namespace=turns"
        assert platform.api("POST", path, {"replicas": 0}).status == 202
    until(
        lambda: all(
            json.loads(platform.api("GET", f"/system/function/{name}?namespace=turns").body).get("availableReplicas", 0)
            == 0
            for name in names
        ),
        what="no replicas",
        log=lambda: platform.log,
    )
    with ThreadPoolExecutor(3) as pool:
        calls = [pool.submit(platform.call, f"/function/{name}.turns", b"x") for name in names]
        assert [call.result().status for call in calls] == [200] * 3
    found = limits(platform, "turns")["starts"]
    assert found["value"] == 1
    assert found["refused"] >= 1, "somebody had to wait"
    until(lambda: limits(platform, "turns")["starts"]["used"] == 0, what="the places back", log=lambda: platform.log)


def test_what_is_written_to_logs_is_told_with_its_limit(platform: Platform) -> None:
    """In `limits` and in the metrics; a namespace that writes too fast is seen to wait."""
    namespace(platform, "talks", log_bytes="4Ki")
    assert limits(platform, "talks")["log-bytes"]["value"] == 4096.0
    spec = {
        "service": "loud",
        "image": "functions/alpine:latest",
        "envProcess": "sh -c 'seq 5000 >&2'",
        "envVars": {"mode": "streaming"},
    }
    assert platform.api("POST", "/system/functions", {**spec, "namespace": "talks"}).status == 202
    until(
        lambda: platform.call("/function/loud.talks", b"").status == 200, what="the function", log=lambda: platform.log
    )
    until(lambda: limits(platform, "talks")["log-bytes"]["refused"] > 0, what="a wait", log=lambda: platform.log)
    assert limits(platform, "talks")["log-bytes"]["used"] > 0
    told = platform.hilbert("limits", "-n", "talks").stdout.decode()
    assert "4.0 KiB a second" in told or "4 KiB a second" in told, told
    with urllib.request.urlopen(f"{platform.facts['metrics_url']}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    labels = '{function="",limit="log-bytes",namespace="talks"}'
    assert f"hilbert_limit{labels} 4096.0" in page
    assert f"hilbert_limit_used{labels} " in page
