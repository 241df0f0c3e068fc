"""The scaling tests of OpenFaaS's certifier, on a real platform: by its own counting, and by Prometheus and AlertManager.

Function, labels, load and bounds are the certifier's: `functions/alpine` with at most two replicas under ten calls a second
has two within a minute, and one within a minute after the last call; and equal bounds switch scaling off.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from support import prometheus
from support.load import SteadyLoad
from support.platform import Platform, running, until

SCALE = "com.openfaas.scale."
MINUTE = 60.0
NOISE = 2.0
"""How much longer than the certifier we wait on a machine that does other things, too."""

SETTINGS = ("gateway.workers=2", "provider.drain_delay=100ms", "provider.grace=1s")

needs_prometheus = pytest.mark.skipif(bool(prometheus.missing()), reason=prometheus.missing())


@pytest.fixture(
    scope="module",
    params=["alone", pytest.param("alerts", marks=needs_prometheus), pytest.param("both", marks=needs_prometheus)],
)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Scaling by itself; by AlertManager's alerts, as OpenFaaS's community edition is; and with both at once."""
    if request.param == "alone":
        with running(*SETTINGS) as started:
            yield started
        return
    by_load = "true" if request.param == "both" else "false"
    with prometheus.prometheus() as watching, running(*SETTINGS, f"scaling.by_load={by_load}") as started:
        watching.watch(started)
        yield started


def deploy(platform: Platform, name: str, **labels: str) -> None:
    spec = {
        "service": name,
        "image": "functions/alpine:latest",
        "envProcess": "sha512sum",
        "labels": {f"{SCALE}{key}": value for key, value in labels.items()},
    }
    answer = platform.api("POST", "/system/functions", spec)
    assert answer.status == 202, answer.text
    assert platform.call(f"/function/{name}", b"").status == 200


def replicas(platform: Platform, name: str) -> int:
    answer = platform.api("GET", f"/system/function/{name}")
    assert answer.status == 200, answer.text
    found: int = json.loads(answer.body).get("replicas", 0)
    return found


def load_on(platform: Platform, name: str) -> SteadyLoad:
    return SteadyLoad(f"{platform.url}/function/{name}", threads=2, rate=10, body=b"")


def test_throughput_scales_up_and_down_again_and_not_where_the_bounds_are_equal(platform: Platform) -> None:
    deploy(platform, "test-throughput-scaling", min="1", max="2")
    deploy(platform, "test-scaling-disabled", min="2", max="2")
    disabled: set[int] = set()

    def comes_to(count: int) -> None:
        def is_there() -> bool:
            disabled.add(replicas(platform, "test-scaling-disabled"))
            return replicas(platform, "test-throughput-scaling") == count

        until(is_there, within=NOISE * MINUTE, what=f"{count} replicas", log=lambda: platform.log)

    throughput, still = load_on(platform, "test-throughput-scaling"), load_on(platform, "test-scaling-disabled")
    with throughput.on(), still.on():
        comes_to(2)
    comes_to(1)
    assert throughput.failures == still.failures == []
    assert disabled == {2}


@needs_prometheus
def test_a_load_of_ones_own_is_measured_by_prometheus() -> None:
    """Its rule asks for functions of that type by the metric of ours that names it, as OpenFaaS's rules do."""
    with (
        prometheus.prometheus(alertmanager=False) as watching,
        running(*SETTINGS, f"scaling.prometheus_url={watching.url}") as platform,
    ):
        watching.watch(platform)
        deploy(platform, "measured", type="calls", target="4", max="3")
        deploy(platform, "other", max="1")
        load = load_on(platform, "measured")
        with load.on():
            until(
                lambda: replicas(platform, "measured") == 3,
                within=NOISE * MINUTE,
                what="three replicas",
                log=lambda: platform.log + watching.log,
            )
            series = 'job:function_current_load:sum{scaling_type="calls"}'
            assert watching.value(f"count({series})") == 1
        assert "=> 3 (Load: calls" in platform.hilbert("describe", "measured").stdout.decode()
        assert load.failures == []


@needs_prometheus
def test_prometheus_own_tool_reads_the_metrics(platform: Platform) -> None:
    deploy(platform, "counted")
    with urllib.request.urlopen(f"{platform.facts['metrics_url']}/metrics", timeout=10) as answer:
        text: bytes = answer.read()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True)
    # 3 is its opinion on names, some of which are OpenFaaS's.
    assert done.returncode in (0, 3), done.stderr.decode()
    assert b"error" not in done.stderr.lower()
