"""A function that cannot start says so, and why: the same cause in a call, in deploy, describe, doctor, invoke and logs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from support.platform import Platform, running, until

GOOD: Final = "def handle(event, context):\n    return {'statusCode': 200, 'body': 'well'}\n"


class Cause(NamedTuple):
    reason: str
    said: str
    """What its owner is told."""
    told: str
    """What whoever calls it is told."""
    handler: str = ""
    process: str = ""
    memory: str = ""


CAUSES: Final = {
    "raises": Cause(
        "CrashLoop", "ValueError: no DATABASE_URL", "(ValueError)", "raise ValueError('no DATABASE_URL')\n" + GOOD
    ),
    "imports": Cause("CrashLoop", "No module named 'not_there'", "(ModuleNotFoundError)", "import not_there\n" + GOOD),
    "reads": Cause("CrashLoop", "KeyError: 'API_KEY'", "(KeyError)", "import os\nKEY = os.environ['API_KEY']\n" + GOOD),
    "nameless": Cause("CrashLoop", "has no function handle", "exited with status 3", "x = 1\n"),
    "exits": Cause("CrashLoop", "SystemExit: 9", "(SystemExit)", "import sys\nsys.exit(9)\n"),
    "ends": Cause("CrashLoop", "exited with status 7", "exited with status 7", "import os\nos._exit(7)\n"),
    "crashes": Cause(
        "CrashLoop",
        "was killed by SIGSEGV",
        "was killed by SIGSEGV",
        "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n",
    ),
    "hungry": Cause(
        "OOMKilled", "ran out of memory", "ran out of memory", "x = bytearray(300 << 20)\n" + GOOD, memory="64Mi"
    ),
    "tiny": Cause("OOMKilled", "ran out of memory", "ran out of memory", GOOD, memory="2Mi"),
    "silent": Cause("ProbeFailing", "does not take connections at", "did not become ready", process="sleep 600"),
    "twice": Cause(
        "CrashLoop",
        "Address already in use",
        "exited with status 1 (OSError)",
        process="python3 -c \"import socket; a = socket.create_server(('127.0.0.1', 7001)); "
        "socket.create_server(('127.0.0.1', 7001))\"",
    ),
    "leaves": Cause("CrashLoop", "exited with status 4", "exited with status 4", process='sh -c "exit 4"'),
}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("provider.start_timeout=5s", "gateway.workers=1") as found:
        stack: dict[str, object] = {}
        for name, cause in CAUSES.items():
            entry: dict[str, object] = {"image": f"{name}:latest"}
            if cause.handler:
                entry |= {"lang": "python3-http", "handler": f"./{name}"}
                (found.folder / name).mkdir()
                (found.folder / name / "handler.py").write_text(cause.handler)
            else:
                entry |= {
                    "image": "functions/alpine:latest",
                    "skip_build": True,
                    "fprocess": cause.process,
                    "environment": {"mode": "http", "upstream_url": "http://127.0.0.1:7002"},
                }
            if cause.memory:
                entry["limits"] = {"memory": cause.memory}
            stack[name] = entry
        (found.folder / "stack.yaml").write_text(
            json.dumps({"version": 1.0, "provider": {"name": "openfaas"}, "functions": stack})
        )
        found.environ["OPENFAAS_URL"] = found.url
        found.hilbert("build", "--skip-tests")
        found.hilbert("deploy", "--no-wait")
        yield found


def words(platform: Platform, *command: str) -> str:
    done = platform.hilbert(*command, expect=None)
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize("name", CAUSES)
def test_everybody_names_the_cause(platform: Platform, name: str) -> None:
    cause = CAUSES[name]
    if cause.memory and "enforced" not in words(platform, "doctor"):
        pytest.skip("this machine enforces no memory limit")

    wanted = f"{name}.openfaas-fn does not start: {cause.reason}: "
    text = ""

    def refused() -> bool:
        nonlocal text
        text = (answer := platform.call(f"/function/{name}", timeout=90)).text
        # A busy machine may be too slow for a start: then that is the cause, for one try.
        return answer.headers.get("x-hilbert-error") == "not-starting" and wanted in text and cause.told in text

    until(refused, what="a refusal with the reason", within=90, log=lambda: text)
    answer = platform.call(f"/function/{name}", timeout=90)
    assert answer.status == 503
    assert answer.headers["retry-after"]
    for command in (
        ("describe", name),
        ("doctor", name),
        ("invoke", name),
        ("logs", name, "--tail=false"),
        ("describe", name, "--output", "json"),
    ):

        def named(command: tuple[str, ...] = command) -> bool:
            text = words(platform, *command)
            return cause.reason in text and cause.said in text

        until(named, within=60, what=f"{cause.said} in {command}", log=lambda c=command: words(platform, *c))  # type: ignore[misc]


def test_a_deploy_that_waits_names_it(platform: Platform) -> None:
    said = ""

    def named() -> bool:
        nonlocal said
        said = words(platform, "deploy", "--filter", "r*", "--ready-timeout", "30s")
        return all(
            f"{name} is not ready: CrashLoop" in said and CAUSES[name].said in said for name in ("raises", "reads")
        )

    until(named, within=60, what="both causes", log=lambda: said)


def test_a_stranger_reads_nothing_that_the_function_wrote(platform: Platform) -> None:
    until(lambda: platform.call("/function/raises").status == 503, what="the refusal")
    assert "DATABASE_URL" not in platform.call("/function/raises").text


def test_a_missing_secret_is_named_and_calls_flow_once_it_is_there(platform: Platform, tmp_path: Path) -> None:
    (tmp_path / "value").write_text("1")
    platform.hilbert("secret", "create", "api-key", "--from-file", str(tmp_path / "value"))
    body = {"service": "keyed", "image": "functions/alpine:latest", "envProcess": "cat", "secrets": ["api-key"]}
    assert platform.api("POST", "/system/functions", body).status == 202
    until(lambda: platform.call("/function/keyed", b"x").body == b"x", what="the function", log=lambda: platform.log)
    platform.hilbert("secret", "remove", "api-key")
    assert platform.api("POST", "/system/scale-function/keyed", {"replicas": 0}).status == 202
    until(lambda: '"availableReplicas"' not in platform.api("GET", "/system/function/keyed").text, what="zero")
    # The call wakes it, waits, and is told.
    answer = platform.call("/function/keyed", b"x", timeout=60)
    assert (answer.status, answer.headers.get("x-hilbert-error")) == (503, "not-starting")
    assert "SecretNotFound: a secret that it needs does not exist" in answer.text
    for command in (("describe", "keyed"), ("doctor", "keyed"), ("invoke", "keyed"), ("logs", "keyed", "--tail=false")):
        text = words(platform, *command)
        assert "SecretNotFound" in text, command
        assert "unable to find secret: api-key" in text, command
    platform.hilbert("secret", "create", "api-key", "--from-file", str(tmp_path / "value"))
    until(
        lambda: platform.call("/function/keyed", b"x").body == b"x", what="calls to flow", within=60, log=lambda: platform.log
    )  # fmt: skip


def test_a_full_quota_is_told_to_who_waits_for_a_sleeping_function(platform: Platform) -> None:
    """Others have taken its room; once there is some, the next call wakes it."""
    marks = {"openfaas": "1", "com.hilbert.quota.replicas": "1"}
    full = {"name": "full", "labels": {"openfaas": "1"}, "annotations": marks}
    assert platform.api("POST", "/system/namespace/", full).status == 201
    body = {"image": "functions/alpine:latest", "envProcess": "cat", "namespace": "full"}
    for name in ("sleeper", "taker"):
        assert platform.api("POST", "/system/functions", {**body, "service": name}).status == 202
        until(lambda name=name: platform.call(f"/function/{name}.full", b"x").body == b"x", what=name)  # type: ignore[misc]
        if name == "sleeper":
            path = "/system/scale-function/sleeper?namespace=full"
            assert platform.api("POST", path, {"replicas": 0}).status == 202
    answer = platform.call("/function/sleeper.full", b"x", timeout=30)
    assert (answer.status, answer.headers.get("x-hilbert-error")) == (503, "not-starting")
    assert "sleeper.full does not start: QuotaExceeded: the namespace's quota is used up" in answer.text
    assert "com.hilbert.quota" not in answer.text, "who may only call it reads no more"
    removed = platform.api("DELETE", "/system/functions", {"functionName": "taker", "namespace": "full"})
    assert removed.status == 202
    until(lambda: platform.call("/function/sleeper.full", b"x").body == b"x", what="it to wake", within=60)


def test_a_version_that_cannot_start_refuses_no_call_of_the_one_before(platform: Platform) -> None:
    body = {"service": "kept", "image": "functions/alpine:latest", "envProcess": "cat"}
    assert platform.api("POST", "/system/functions", body).status == 202
    until(lambda: platform.call("/function/kept", b"x").body == b"x", what="the function", log=lambda: platform.log)
    broken = {**body, "envProcess": 'sh -c "exit 4"', "envVars": {"mode": "http", "upstream_url": "http://127.0.0.1:9"}}
    assert platform.api("PUT", "/system/functions", broken).status == 202
    until(lambda: "CrashLoop" in platform.api("GET", "/system/function/kept").text, what="the failure")
    for _ in range(20):
        assert platform.call("/function/kept", b"x").body == b"x"
