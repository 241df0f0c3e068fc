"""What was promised is there again after any part, or all, was killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from support.load import SteadyLoad
from support.platform import Platform, running, until

ECHO = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat"}


@pytest.fixture
def platform() -> Iterator[Platform]:
    with running("gateway.workers=2", "provider.drain_delay=200ms") as started:
        yield started


def deploy(platform: Platform, name: str = "echo", **fields: object) -> None:
    """Deploy a cat under `name`, and wait until it answers."""
    answer = platform.api("POST", "/system/functions", {**ECHO, "service": name, **fields})
    assert answer.status == 202, answer.text
    until(lambda: works(platform, name), what=f"{name} to answer", log=lambda: platform.log)


def works(platform: Platform, name: str = "echo") -> bool:
    answer = platform.call(f"/function/{name}", b"hello")
    return answer.status == 200 and answer.body == b"hello"


def test_replica_killed(platform: Platform) -> None:
    """A replica that is killed comes back, and calls made meanwhile wait for it or are told."""
    deploy(platform)
    before = {process.pid for process in platform.replicas()}
    assert len(before) == 1
    for process in platform.replicas():
        process.kill()
    until(lambda: works(platform), what="the replica to come back", log=lambda: platform.log)
    assert not before & {process.pid for process in platform.replicas()}


def test_control_plane_killed_drops_no_call(platform: Platform) -> None:
    """Warm calls go on while the control process dies and comes back; its replicas are adopted, not started anew."""
    deploy(platform)
    before = {process.pid for process in platform.replicas()}
    (control,) = platform.children("hilbert.server.control")
    with SteadyLoad(platform.url + "/function/echo", body=b"x").on() as load:
        control.kill()
        load.wait_for(40)
        until(lambda: platform.api("GET", "/system/functions").status == 200, what="the control plane")
        load.wait_for(40)
    assert not load.failures, load.failures[:3]
    assert {process.pid for process in platform.replicas()} == before
    assert platform.api("GET", "/system/function/echo").status == 200


def test_one_of_two_workers_killed(platform: Platform) -> None:
    """New calls find the other worker, or wait for the restarted one; at most those in its hands are lost."""
    deploy(platform)
    first, _second = platform.children("hilbert.dataplane.worker")
    load = SteadyLoad(platform.url + "/function/echo", threads=4, body=b"x")
    with load.on():
        first.kill()
        load.wait_for(100)
    assert len(load.failures) <= load.threads, load.failures[:6]
    until(lambda: len(platform.children("hilbert.dataplane.worker")) == 2, what="the worker to be back")


def test_everything_killed(platform: Platform) -> None:
    """After `kill -9` of everything, a new start serves what was promised: functions, namespaces and secrets."""
    assert platform.api("POST", "/system/namespace/", {"name": "dev", "annotations": {"openfaas": "1"}}).status == 201
    secret = {"name": "key", "namespace": "dev", "value": "s3cret"}
    assert platform.api("POST", "/system/secrets", secret).status == 202
    deploy(platform)
    reader = {"envProcess": "sh -c 'cat $HILBERT_SECRETS_DIR/key'", "secrets": ["key"], "namespace": "dev"}
    assert platform.api("POST", "/system/functions", {**ECHO, "service": "reader", **reader}).status == 202

    platform.kill_everything()
    platform.start()

    until(lambda: works(platform), what="echo", log=lambda: platform.log)
    until(lambda: platform.call("/function/reader.dev").text == "s3cret", what="reader", log=lambda: platform.log)
    assert len(platform.replicas()) == 2


def test_supervisor_killed_leaves_nothing_twice(platform: Platform) -> None:
    """When the supervisor alone is killed, its children end at once, whatever they do; a new start takes the replica back."""
    deploy(platform)
    assert platform.process is not None
    before = {process.pid for process in platform.replicas()}
    children = [
        process
        for module in ("hilbert.server.control", "hilbert.dataplane.worker", "hilbert.server.log_keeper")
        for process in platform.children(module)
    ]
    assert len(children) == 4
    children[0].suspend()  # Not even one that is stopped, or holds on to its calls, lives on.
    platform.process.kill()
    platform.process.wait(10)
    until(
        lambda: not any(process.is_running() and process.status() != "zombie" for process in children),
        what="control process and workers to end",
        log=lambda: platform.log,
    )
    platform.start()
    until(lambda: works(platform), what="echo", log=lambda: platform.log)
    assert {process.pid for process in platform.replicas()} == before


def test_rolling_restart_fails_no_call(platform: Platform) -> None:
    """`SIGHUP` replaces the control process and both workers under load; every call succeeds and replicas stay."""
    deploy(platform)
    before = {process.pid for process in platform.replicas()}
    old = {
        process.pid
        for module in ("hilbert.server.control", "hilbert.dataplane.worker")
        for process in platform.children(module)
    }
    assert platform.process is not None
    with SteadyLoad(platform.url + "/function/echo", body=b"x").on() as load:
        psutil.Process(platform.process.pid).send_signal(1)
        until(
            lambda: not old & {process.pid for process in platform.processes()},
            within=40,
            what="every old process to end",
            log=lambda: platform.log,
        )
        load.wait_for(40)
    assert not load.failures, load.failures[:3]
    assert {process.pid for process in platform.replicas()} == before


def test_counters_go_on_after_every_restart(platform: Platform) -> None:
    """A worker is killed, then control process and workers are replaced, then all is stopped and started: what was counted stays."""
    deploy(platform)
    assert all(works(platform) for _ in range(10))
    until(lambda: counted(platform) >= 10, what="the calls to be counted", log=lambda: platform.log)
    least = counted(platform)
    platform.children("hilbert.dataplane.worker")[0].kill()
    until(lambda: len(platform.children("hilbert.dataplane.worker")) == 2, what="the worker to be back")
    assert counted(platform) >= least
    (control,) = platform.children("hilbert.server.control")
    assert platform.process is not None
    psutil.Process(platform.process.pid).send_signal(1)
    until(
        lambda: not psutil.pid_exists(control.pid), within=40, what="another control process", log=lambda: platform.log
    )
    until(lambda: counted(platform) >= least, within=40, what="the counters", log=lambda: platform.log)
    platform.stop()
    platform.start()
    until(lambda: counted(platform) >= least, what="the counters", log=lambda: platform.log)


def counted(platform: Platform) -> int:
    """Calls of `echo` that have ended."""
    answer = platform.api("GET", "/system/function/echo")
    return int(json.loads(answer.text).get("invocationCount", 0)) if answer.status == 200 else 0


def test_log_keeper_killed(platform: Platform) -> None:
    """What functions write meanwhile waits in their pipes: no call fails, and no line is lost but those in its hands."""
    process = "sh -c 'read line; echo wrote $line >&2; printf %s $line'"
    deploy(platform, envProcess=process, envVars={"combine_output": "false"})
    with SteadyLoad(platform.url + "/function/echo", body=b"x\n").on() as load:
        for _ in range(3):
            (keeper,) = platform.children("hilbert.server.log_keeper")
            keeper.kill()
            load.wait_for(20)
            until(lambda gone=keeper: gone not in platform.children("hilbert.server.log_keeper"), what="the end")  # type: ignore[misc]
            until(lambda: platform.children("hilbert.server.log_keeper"), what="another keeper")
    assert not load.failures, load.failures[:3]
    assert platform.call("/function/echo", b"the last\n").status == 200

    def lines() -> list[str]:
        answer = platform.api("GET", "/system/logs?name=echo")
        return [json.loads(line)["text"] for line in answer.text.splitlines()]

    until(lambda: any("wrote the last" in line for line in lines()), what="the last line", log=lambda: platform.log)
    assert load.calls - 30 <= sum("wrote x" in line for line in lines()) <= load.calls


def test_restarts_that_became_ready_are_no_reason_to_give_up(platform: Platform) -> None:
    """Seven rolling restarts and seven kills of a young platform: it goes on, and what was asked for is no death."""
    deploy(platform)
    assert platform.process is not None
    for number in range(14):
        (control,) = platform.children("hilbert.server.control")
        if number % 2:
            control.kill()
        else:
            psutil.Process(platform.process.pid).send_signal(1)
        until(
            lambda old=control: (
                old not in platform.children("hilbert.server.control")  # type: ignore[misc]
                and platform.api("GET", "/system/functions").status == 200
            ),
            within=60,
            what="another control process",
            log=lambda: platform.log,
        )
    assert platform.process.poll() is None, platform.log[-3000:]
    deaths = [line for line in platform.log.splitlines() if '"child died"' in line and '"control"' in line]
    assert len(deaths) <= 7, deaths


def test_down_leaves_nothing_though_a_call_never_ends() -> None:
    """A function may ask for more time than the platform has: its calls are cut, and nothing stays."""
    with running("gateway.workers=1", "provider.grace=1s", "gateway.drain_timeout=1s") as platform:
        deploy(
            platform,
            envProcess="sh -c 'trap : TERM; read line; if [ x$line = xhang ]; then sleep 300; fi; printf %s $line'",
            envVars={"write_timeout": "200s", "exec_timeout": "200s"},
        )
        with ThreadPoolExecutor(1) as pool:
            hanging = pool.submit(platform.call, "/function/echo", b"hang\n")
            until(
                lambda: [p for p in platform.processes() if "sleep" in p.name()],
                what="the call",
                log=lambda: platform.log,
            )
            assert platform.stop(within=25) == 0
            until(lambda: platform.processes() == [], what="all to end", log=lambda: platform.log)
            hanging.exception(30)


def test_a_damaged_database_is_told_without_a_traceback() -> None:
    with running("gateway.workers=1") as platform:
        platform.stop()
        (platform.state / "hilbert.db").write_bytes(b"")
        with pytest.raises(AssertionError, match="ended with 3"):
            platform.start()
        assert "hilbert.db is damaged: it is empty" in platform.log
        assert "Traceback" not in platform.log
        assert (platform.state / "hilbert.db").read_bytes() == b""
