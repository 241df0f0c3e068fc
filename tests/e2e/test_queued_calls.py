"""Queued calls on a real platform: made, told, tried again, cancelled, and not lost when processes are killed."""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from support.platform import Answer, Platform, running, until

ECHO = {"service": "echo", "image": "functions/alpine:latest", "envProcess": "cat"}
KEEP = {"com.hilbert.async.results": "10m", "com.openfaas.retry.min_wait": "100ms", "com.openfaas.retry.attempts": "3"}

MINE = "11111111-2222-4333-8444-555555555555"


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=1", "provider.drain_delay=100ms") as started:
        deploy(started, "echo")
        yield started


def deploy(platform: Platform, name: str, process: str = "cat", **annotations: str) -> None:
    spec = {**ECHO, "service": name, "envProcess": process, "annotations": {**KEEP, **annotations}}
    answer = platform.api("POST", "/system/functions", spec)
    assert answer.status == 202, answer.text


def queue(platform: Platform, path: str, body: bytes = b"", **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = platform.call(f"/async-function/{path}", body, headers=named)
    assert (answer.status, answer.body) == (202, b""), answer.text
    assert answer.headers["x-start-time"].isdigit()
    return answer.headers["x-call-id"]


def state(platform: Platform, number: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(platform.api("GET", f"/async-function/{number}").body)
    return found


def ended(platform: Platform, number: str) -> dict[str, Any]:
    until(
        lambda: state(platform, number)["state"] not in ("queued", "delayed", "running"),
        what=f"call {number} to end",
        log=lambda: platform.log,
    )
    return state(platform, number)


def result(platform: Platform, number: str) -> Answer:
    return platform.api("GET", f"/async-function/{number}/result")


class Hook(BaseHTTPRequestHandler):
    came: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.came.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@contextlib.contextmanager
def hook() -> Iterator[tuple[str, list[Any]]]:
    came: list[Any] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Hook,), {"came": came}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_call_is_made_and_its_answer_kept(platform: Platform) -> None:
    number = queue(platform, "echo", b"hello")
    status = ended(platform, number)
    assert (status["state"], status["attempts"], status["hasResult"]) == ("succeeded", 1, True)
    answer = result(platform, number)
    assert (answer.status, answer.body, answer.headers["x-function-status"]) == (200, b"hello", "200")


def test_the_function_gets_the_request_as_it_was_sent(platform: Platform) -> None:
    deploy(platform, "env", "env")
    number = queue(platform, "env/a/b?x=1&y=%2F", b"", X_Own="mine", X_Call_Id=MINE)
    assert (number, ended(platform, number)["state"]) == (MINE, "succeeded")
    text = result(platform, number).text
    for line in (
        "Http_Method=POST",
        "Http_Path=/a/b",
        "Http_Query=x=1&y=%2F",
        "Http_X_Own=mine",
        f"Http_X_Call_Id={MINE}",
    ):
        assert line in text.splitlines(), text


def test_the_function_hears_who_has_queued_the_call(platform: Platform) -> None:
    """Not the gateway, which makes it."""
    deploy(platform, "whose", "env")
    address = urlsplit(platform.url)
    client = http.client.HTTPConnection(
        str(address.hostname), address.port, timeout=30, source_address=("127.0.0.5", 0)
    )
    with contextlib.closing(client):
        client.request(
            "POST",
            "/async-function/env",
            headers={"X-Hilbert-Delivery": "guess 192.0.2.9", "X-Forwarded-For": "192.0.2.8"},
        )
        answer = client.getresponse()
        number = answer.headers["X-Call-Id"]
    assert ended(platform, number)["state"] == "succeeded"
    text = result(platform, number).text
    assert "Http_X_Forwarded_For=127.0.0.5:" in text
    assert "192.0.2" not in text


def test_errors_are_tried_again_and_then_given_up(platform: Platform) -> None:
    deploy(platform, "broken", "false")
    status = ended(platform, queue(platform, "broken"))
    assert (status["state"], status["attempts"]) == ("dead", 3)


def test_a_function_that_sleeps_is_woken(platform: Platform) -> None:
    deploy(platform, "sleepy")
    assert platform.api("POST", "/system/scale-function/sleepy", {"serviceName": "sleepy", "replicas": 0}).status == 202
    number = queue(platform, "sleepy", b"x")
    assert ended(platform, number)["state"] == "succeeded"


def test_what_is_refused(platform: Platform) -> None:
    assert platform.call("/async-function/nobody", b"").status == 404
    assert platform.call("/async-function/echo", b"", headers={"X-Callback-Url": "nonsense"}).status == 400
    assert platform.call("/async-function/echo", b"", method="PUT").status == 405
    # The answer comes before the body, which a client that still sends may not live to read.
    address = urlsplit(platform.url)
    client = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    with contextlib.closing(client):
        client.putrequest("POST", "/async-function/echo")
        client.putheader("Content-Length", str(5 << 20))
        client.endheaders()
        assert client.getresponse().status == 413


def test_cancelling_a_running_call_ends_it_in_the_function(platform: Platform) -> None:
    deploy(platform, "slow", "sleep 600")
    number = queue(platform, "slow")
    until(lambda: state(platform, number)["state"] == "running", what="the call to run")
    assert platform.call(f"/async-function/{number}", method="DELETE").status == 202
    assert ended(platform, number)["state"] == "cancelled"


def test_a_call_back_never_reaches_this_machine(platform: Platform) -> None:
    with hook() as (url, came):
        number = queue(platform, "echo", b"x", X_Callback_Url=url)
        assert ended(platform, number)["state"] == "succeeded"
        assert came == []
    assert "call-back given up" in platform.log


def test_a_function_is_called_back(platform: Platform) -> None:
    deploy(platform, "listener")
    url = "http://gateway.openfaas:8080/function/listener"
    number = queue(platform, "echo", b"told to a function", X_Callback_Url=url)
    assert ended(platform, number)["state"] == "succeeded"
    until(
        lambda: json.loads(platform.api("GET", "/system/function/listener").body).get("invocationCount") == 1,
        what="the listener to be called",
    )


def test_a_removed_function_takes_its_calls_along(platform: Platform) -> None:
    deploy(platform, "brief")
    number = queue(platform, "brief", b"", X_Delay="1h")
    assert state(platform, number)["state"] == "delayed"
    assert platform.api("DELETE", "/system/functions", {"functionName": "brief"}).status == 202
    assert state(platform, number)["state"] == "cancelled"


def test_the_command_line_queues(platform: Platform) -> None:
    done = platform.hilbert("invoke", "echo", "--async", "--gateway", platform.url, stdin=b"by the command line")
    number = done.stdout.decode().strip()
    assert ended(platform, number)["state"] == "succeeded"
    assert result(platform, number).body == b"by the command line"


def scheduled_times(platform: Platform, name: str) -> list[str]:
    """What the calls of a function that have succeeded say they were for, in the order in which they were queued."""
    listed = json.loads(platform.api("GET", f"/system/async/calls?function={name}&state=succeeded").body)
    prefix = "Http_X_Scheduled_Time="
    lines = [line for call in listed for line in result(platform, call["callId"]).text.splitlines()]
    return [line.removeprefix(prefix) for line in lines if line.startswith(prefix)]


def test_each_tick_of_a_schedule_is_one_call_also_when_the_control_process_is_killed(platform: Platform) -> None:
    deploy(platform, "clock", "env", topic="cron-function", schedule="@every 1s")
    until(lambda: len(scheduled_times(platform, "clock")) >= 2, what="two ticks", log=lambda: platform.log)
    before = len(scheduled_times(platform, "clock"))
    (control,) = platform.children("hilbert.server.control")
    control.kill()
    until(lambda: platform.api("GET", "/system/functions").status == 200, what="the control plane")
    until(lambda: len(scheduled_times(platform, "clock")) >= before + 3, what="more ticks", log=lambda: platform.log)
    paused = platform.api("PUT", "/system/schedules/clock", {"paused": True})
    assert (paused.status, json.loads(paused.body)) == (202, {"count": 1})
    times = [datetime.fromisoformat(text) for text in scheduled_times(platform, "clock")]
    assert len(times) == len(set(times)), "no tick twice"
    first = min(times)
    missing = {first + timedelta(seconds=n) for n in range(len(times))} - set(times)
    # Of those that were queued last, some may not have ended yet.
    assert all(moment > sorted(times)[before] for moment in missing), "none is left out"


@pytest.mark.parametrize("path", ["function", "async-function"])
def test_a_cron_connector_beside_the_gateway_makes_no_second_call(platform: Platform, path: str) -> None:
    """Its requests as it sends them (github.com/openfaas/cron-connector): no body, no credentials, two headers."""
    says = {"X-Topic": "cron-function", "X-Connector": "cron-connector", "User-Agent": "Go-http-client/1.1"}
    names = {"gateway": f"ours-{path}", "connector": f"theirs-{path}"}
    for by, name in names.items():
        said = {"topic": "cron-function", "schedule": "0 0 29 2 *", "com.hilbert.schedule.by": by}
        deploy(platform, name, "env", **said)
    until(lambda: platform.call(f"/function/{names['connector']}", b"").status == 200, what="theirs to answer")

    refused = f"/{path}/{names['gateway']}"
    until(
        lambda: platform.call(refused, b"", headers=says).headers.get("x-hilbert-error") == "fired-by-gateway",
        what="the gateway to know its schedules",
    )

    def queued() -> int:
        return len(json.loads(platform.api("GET", f"/system/async/calls?function={names['gateway']}").body))

    before = queued()
    answer = platform.call(refused, b"", headers=says)
    assert (answer.status, queued()) == (202, before)
    assert "com.hilbert.schedule.by: connector" in answer.text
    made = platform.call(f"/{path}/{names['connector']}", b"", headers=says)
    assert made.status == (200 if path == "function" else 202)
    for others in ({}, {**says, "X-Scheduled-Time": "2030-01-31T02:00:00Z"}):  # The last: a function that calls on.
        answer = platform.call(f"/{path}/{names['gateway']}", b"", headers=others)
        assert (answer.status, answer.headers.get("x-hilbert-error")) == (made.status, None)

    # The gateway's own call says the same of itself, and is made.
    ran = platform.api("POST", f"/system/schedules/{names['gateway']}")
    assert ran.status == 202, ran.text
    assert ended(platform, json.loads(ran.body)["callId"])["state"] == "succeeded"


def test_no_acknowledged_call_is_lost_whatever_is_killed() -> None:
    """Calls are queued while the control process and then everything is killed; each that got 202 ends, and well."""
    with running("gateway.workers=1", "provider.drain_delay=100ms") as platform:
        deploy(platform, "echo")
        numbers: list[str] = []

        def some(count: int) -> None:
            for _ in range(count):
                answer = platform.call("/async-function/echo", b"%d" % len(numbers))
                if answer.status == 202:
                    numbers.append(answer.headers["x-call-id"])

        some(20)
        (control,) = platform.children("hilbert.server.control")
        control.kill()
        some(20)
        until(lambda: platform.api("GET", "/system/functions").status == 200, what="the control plane")
        some(20)
        platform.kill_everything()
        platform.start()
        some(5)
        assert len(numbers) >= 45
        for number in numbers:
            status = ended(platform, number)
            assert status["state"] == "succeeded", status
            assert status["attempts"] <= 3
