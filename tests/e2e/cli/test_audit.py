"""The audit log and guarded functions on a whole platform: told by the command line, over kills and restarts."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterator

import pytest

from hilbert.audit.verify import verify
from support.event_sink import EventSink, taking_events
from support.platform import Platform, until


@pytest.fixture(scope="module")
def sink() -> Iterator[EventSink]:
    with taking_events() as found:
        yield found


@pytest.fixture(scope="module")
def platform(sink: EventSink, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    secret = tmp_path_factory.mktemp("webhook") / "secret"
    secret.write_text("key\n")
    made = Platform("gateway.workers=1", f"usage.webhook_url={sink.url}", f"usage.webhook_secret_file={secret}").start()
    made.hilbert("namespace", "create", "dev")
    yield made
    made.close()


def test_a_guarded_function_from_its_deployment_to_a_revocation(platform: Platform) -> None:
    guarded = {
        "service": "kept", "namespace": "dev", "image": "functions/alpine:latest", "envProcess": "cat",
        "annotations": {"com.hilbert.auth": "required"},
    }  # fmt: skip
    assert platform.api("POST", "/system/functions?namespace=dev", guarded).status == 202
    until(lambda: platform.call("/function/kept.dev", b"x").status == 401, what="the route", log=lambda: platform.log)
    made = platform.hilbert("token", "create", "caller", "-n", "dev", "--role", "invoker").stdout.decode().strip()
    sent = {"Authorization": f"Bearer {made}"}
    until(
        lambda: platform.call("/function/kept.dev", b"x", headers=sent).body == b"x",
        what="a call with a token",
        log=lambda: platform.log,
    )
    called = platform.hilbert("invoke", "kept", "-n", "dev", "--auth", "--token", made, stdin=b"by token")
    assert called.stdout.strip() == b"by token"
    assert platform.call("/async-function/kept.dev", b"x").status == 401
    queued = platform.call("/async-function/kept.dev", b"later", headers=sent)
    assert queued.status == 202
    call_id = queued.headers["x-call-id"]

    def state() -> str:
        return str(json.loads(platform.api("GET", f"/async-function/{call_id}").body)["state"])

    until(lambda: state() == "succeeded", what="the queued call", log=lambda: platform.log)
    platform.hilbert("token", "revoke", "caller", "--yes")
    until(
        lambda: platform.call("/function/kept.dev", b"x", headers=sent).status == 401,
        what="the revocation",
        log=lambda: platform.log,
    )


def test_refused_calls_of_functions_are_in_the_log(platform: Platform) -> None:
    def found() -> list[dict[str, object]]:
        listed = platform.hilbert("audit", "list", "-n", "dev", "--action", "Function:Invoke", "--refused", "--json")
        return [line["record"] for line in json.loads(listed.stdout)]

    until(
        lambda: {one["path"] for one in found()} >= {"/function/kept.dev", "/async-function/kept.dev"},
        what="the refusals of before",
        log=lambda: platform.log,
    )
    one = next(one for one in found() if one["path"] == "/function/kept.dev")
    assert (one["resource"], one["response_code"], one["decision"]) == ("dev:kept", 401, "unauthenticated")
    assert (one["source_ip"], bool(one["request_id"])) == ("127.0.0.1", True)


def test_each_call_is_told_over_a_webhook_that_is_away_and_a_kill(platform: Platform, sink: EventSink) -> None:
    """In OpenFaaS's format, signed, numbered without a gap, and none twice."""
    body = {"service": "told", "namespace": "dev", "image": "functions/alpine:latest", "envProcess": "cat"}
    assert platform.api("POST", "/system/functions?namespace=dev", body).status == 202

    def call(text: bytes) -> None:
        until(
            lambda: platform.call("/function/told.dev", text).body == text,
            what="the function",
            log=lambda: platform.log,
        )

    call(b"12345")
    sink.refusing = True
    for _ in range(3):
        call(b"123")
    platform.children("hilbert.server.control")[0].kill()
    until(lambda: platform.api("GET", "/system/info").status == 200, what="the next process", log=lambda: platform.log)
    call(b"1")
    sink.refusing = False

    def told() -> dict[str, int]:
        return {
            one["id"]: one["bytes_in"] for one in sink.events if one["function_name"] == "told" and one["status"] == 200
        }

    until(lambda: len(told()) >= 5, what="five events", within=60, log=lambda: f"{platform.log[-3000:]}\n{told()}")
    assert sorted(told().values()) == [1, 3, 3, 3, 5]
    numbers = sorted({one["sequence"] for one in sink.events})
    assert numbers == list(range(1, len(numbers) + 1))
    for headers, sent in zip(sink.headers, sink.bodies, strict=True):
        assert headers["X-Openfaas-Event"] == "function_usage"
        assert headers["X-Openfaas-Signature-256"] == f"sha256={hmac.new(b'key', sent, 'sha256').hexdigest()}"
    assert {one["event"] for one in sink.events} == {"function_usage"}


def test_what_was_used_is_added_up_and_kept(platform: Platform) -> None:
    def used() -> int:
        days = json.loads(platform.hilbert("usage", "-n", "dev", "--json").stdout)
        return sum(int(day["calls"]) for day in days)

    until(lambda: used() >= 3, what="the calls of before", log=lambda: platform.log)
    before = used()
    platform.stop()  # Counts to the last call: what is shown can be some seconds old.
    platform.start()
    whole = used()
    assert whole >= before
    platform.stop()
    platform.start()
    assert used() == whole
    (today, *_) = json.loads(platform.hilbert("usage", "-n", "dev", "--json").stdout)
    assert today["cpuSeconds"] > 0
    assert today["bytesOut"] > 0
    assert b"GB-SECONDS" in platform.hilbert("usage").stdout


def test_what_was_done_is_listed_and_verifies_after_a_kill(platform: Platform) -> None:
    platform.hilbert("secret", "create", "db", "-n", "dev", stdin=b"hunter2")
    platform.call("/system/functions")
    shown = platform.hilbert("audit", "list", "--action", "Secret:*").stdout.decode()
    assert "Secret:Create  dev:* db  202" in shown
    assert "REFUSED, not signed in" in platform.hilbert("audit", "list", "--refused").stdout.decode()
    lines = json.loads(platform.hilbert("audit", "list", "-n", "dev", "--json").stdout)
    assert {line["record"]["namespace"] for line in lines} == {"dev"}
    checked = platform.hilbert("audit", "verify").stdout.decode()
    assert checked.startswith("good: ")
    noted = checked.strip().rpartition(" ")[2]
    platform.children("hilbert.server.control")[0].kill()
    until(lambda: platform.api("GET", "/system/audit").status == 200, what="the next process", log=lambda: platform.log)
    assert platform.hilbert("audit", "verify", "--noted", noted).stdout.startswith(b"good: ")
    assert b"hunter2" not in b"".join(path.read_bytes() for path in (platform.state / "audit").glob("*.jsonl"))
    file = max((platform.state / "audit").glob("*.jsonl"))
    platform.stop()
    whole = file.read_bytes()
    file.write_bytes(whole.replace(b"Secret:Create", b"Secret:Delete", 1))
    assert verify(platform.state / "audit").problems
    assert b"WRONG" in platform.hilbert("audit", "verify", expect=1).stdout
    file.write_bytes(whole)
    platform.start()
