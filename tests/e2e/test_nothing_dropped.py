"""Changes to a function under steady load: no call fails."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.load import SteadyLoad
from support.platform import Platform, running, until


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=2", "provider.drain_delay=200ms") as started:
        yield started


def body(name: str, **fields: object) -> dict[str, object]:
    return {"service": name, "image": "functions/alpine:latest", "envProcess": "cat", **fields}


def ready(platform: Platform, name: str, replicas: int, generation: int = 1) -> bool:
    """Whether `name` has just that many replicas, all of at least that generation."""
    answer = platform.api("GET", f"/system/function/{name}")
    if answer.status != 200:
        return False
    import json

    status = json.loads(answer.body)
    return bool(
        status.get("availableReplicas", 0) == replicas and status["hilbert"].get("readyGeneration", 0) >= generation
    )


def test_scale_up_and_down(platform: Platform) -> None:
    """1 -> 10 -> 1 -> 10 replicas."""
    assert platform.api("POST", "/system/functions", body("scaled")).status == 202
    until(lambda: ready(platform, "scaled", 1), what="the first replica", log=lambda: platform.log)
    with SteadyLoad(platform.url + "/function/scaled", body=b"x").on() as load:
        for count in (10, 1, 10):
            answer = platform.api("POST", "/system/scale-function/scaled", {"serviceName": "scaled", "replicas": count})
            assert answer.status == 202, answer.text
            until(
                lambda count=count: ready(platform, "scaled", count), what=f"{count} replicas", log=lambda: platform.log
            )  # type: ignore[misc]
            load.wait_for(20)
    assert not load.failures, load.failures[:3]


def test_update(platform: Platform) -> None:
    """A new version takes over; calls are answered by the old or the new one."""
    version = body("versioned", envProcess="echo one")
    assert platform.api("POST", "/system/functions", version).status == 202
    until(lambda: platform.call("/function/versioned").text == "one\n", what="version one", log=lambda: platform.log)
    with SteadyLoad(platform.url + "/function/versioned").on() as load:
        assert platform.api("PUT", "/system/functions", {**version, "envProcess": "echo two"}).status == 202
        until(
            lambda: platform.call("/function/versioned").text == "two\n", what="version two", log=lambda: platform.log
        )
        load.wait_for(60)
    assert not load.failures, load.failures[:3]


def test_restart(platform: Platform) -> None:
    """Every replica is another one afterwards; the image of the same name is what it is now."""
    assert (
        platform.api("POST", "/system/functions", body("again", labels={"com.openfaas.scale.min": "2"})).status == 202
    )
    until(lambda: ready(platform, "again", 2), what="two replicas", log=lambda: platform.log)
    with SteadyLoad(platform.url + "/function/again", body=b"x").on() as load:
        for generation in (2, 3):
            answer = platform.api("POST", "/system/restart-function/again")
            assert answer.status == 202, answer.text
            until(lambda g=generation: ready(platform, "again", 2, g), what="new replicas", log=lambda: platform.log)  # type: ignore[misc]
            load.wait_for(20)
    assert not load.failures, load.failures[:3]


def test_broken_update_keeps_the_old_version(platform: Platform) -> None:
    """A version that never becomes ready never replaces the one that answers, and the status says why."""
    good = body("careful", envProcess="echo good")
    assert platform.api("POST", "/system/functions", good).status == 202
    until(
        lambda: platform.call("/function/careful").text == "good\n", what="the good version", log=lambda: platform.log
    )
    with SteadyLoad(platform.url + "/function/careful").on() as load:
        broken = {
            **good,
            "envProcess": "/no/such/program",
            "envVars": {"mode": "http", "upstream_url": "http://127.0.0.1:9"},
        }
        assert platform.api("PUT", "/system/functions", broken).status == 202
        until(
            lambda: platform.api("GET", "/system/function/careful").text.find('"reason":"') > 0,
            within=40,
            what="the status to say why",
            log=lambda: platform.log,
        )
        load.wait_for(40)
    assert not load.failures, load.failures[:3]
    assert platform.call("/function/careful").text == "good\n"


def test_other_functions_do_not_notice(platform: Platform) -> None:
    """Delete and re-create a neighbour, over and over."""
    assert platform.api("POST", "/system/functions", body("steady")).status == 202
    until(lambda: ready(platform, "steady", 1), what="steady", log=lambda: platform.log)
    with SteadyLoad(platform.url + "/function/steady", body=b"x").on() as load:
        for _ in range(3):
            assert platform.api("POST", "/system/functions", body("neighbour")).status == 202
            until(lambda: platform.call("/function/neighbour", b"y").status == 200, what="neighbour")
            assert platform.api("DELETE", "/system/functions", {"functionName": "neighbour"}).status == 202
            until(lambda: platform.call("/function/neighbour", b"y").status == 404, what="neighbour to be gone")
    assert not load.failures, load.failures[:3]


def test_thousand_calls_at_zero(platform: Platform) -> None:
    """Calls to a function at zero wait for one wake-up, and all succeed."""
    from concurrent.futures import ThreadPoolExecutor

    assert platform.api("POST", "/system/functions", body("sleepy")).status == 202
    until(lambda: ready(platform, "sleepy", 1), what="sleepy", log=lambda: platform.log)
    scale = {"serviceName": "sleepy", "replicas": 0}
    assert platform.api("POST", "/system/scale-function/sleepy", scale).status == 202
    until(lambda: ready(platform, "sleepy", 0), what="zero replicas", log=lambda: platform.log)
    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda n: platform.call("/function/sleepy", b"%d" % n, timeout=60), range(200)))
    assert [answer.status for answer in answers] == [200] * 200
    assert [answer.body for answer in answers] == [b"%d" % n for n in range(200)]
