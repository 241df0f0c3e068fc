"""Functions that ask their callers who they are, on a real platform: in the worker, and in the function's own watchdog."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from support.platform import Answer, Platform, running, until

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
KEEP = {"com.hilbert.async.results": "10m", "com.openfaas.retry.attempts": "1"}
ASKS = {"annotations": KEEP | {"com.hilbert.auth": "required"}}


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with running("gateway.workers=1", "provider.drain_delay=100ms") as started:
        inside = json.loads(started.api("GET", "/system/info").body)
        # Where functions have networks of their own, the watchdog finds the gateway as OpenFaaS's do.
        alone = inside["hilbert"]["network"].startswith("one for each replica")
        gateway = {} if alone else {"jwt_auth_gateway": started.url}
        deploy(started, "asks", **ASKS)
        deploy(started, "checks", annotations=KEEP, envVars={"jwt_auth": "true"} | gateway)
        deploy(started, "open", annotations=KEEP)
        yield started


def deploy(platform: Platform, name: str, **more: Any) -> None:
    spec = {"service": name, "image": "functions/alpine:latest", "envProcess": "cat", **more}
    answer = platform.api("POST", "/system/functions", spec)
    assert answer.status == 202, answer.text


@pytest.fixture(scope="module")
def invoker(platform: Platform) -> str:
    return token(platform, "invoker")


def token(platform: Platform, role: str) -> str:
    body = {"name": role, "role": role, "namespaces": ["openfaas-fn"]}
    return str(json.loads(platform.api("POST", "/system/tokens", body).body)["token"])


def function_token(platform: Platform, subject: str, *audience: str) -> str:
    form = {
        "grant_type": EXCHANGE, "subject_token": subject, "subject_token_type": "urn:ietf:params:oauth:token-type:id_token",
        "scope": "function", "audience": list(audience),
    }  # fmt: skip
    answer = platform.call("/oauth/token", urlencode(form, doseq=True).encode())
    assert answer.status == 200, answer.text
    return str(json.loads(answer.body)["access_token"])


def call(platform: Platform, name: str, bearer: str = "", **headers: str) -> Answer:
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    return platform.call(f"/function/{name}", b"hello", headers=headers)


def settled(platform: Platform, name: str, bearer: str, status: int = 200) -> Answer:
    """A token that was just made is known to the workers within a second."""
    last: list[Answer] = []

    def is_so() -> bool:
        last.append(call(platform, name, bearer))
        return last[-1].status == status

    until(is_so, what=f"{name} to answer {status}", log=lambda: f"{last[-1:]}\n{platform.log}")
    return last[-1]


@pytest.mark.parametrize("name", ["asks", "checks"])
def test_who_may_call(platform: Platform, invoker: str, name: str) -> None:
    assert call(platform, name).status == 401
    assert settled(platform, name, invoker).text == "hello"
    assert call(platform, name, function_token(platform, invoker)).text == "hello"
    assert call(platform, name, function_token(platform, invoker, f"openfaas-fn:{name}")).text == "hello"
    assert call(platform, name, function_token(platform, invoker, "openfaas-fn:open")).status == 403
    assert settled(platform, name, token(platform, "viewer"), 403).text == "insufficient permissions"


@pytest.mark.parametrize("name", ["asks", "checks"])
def test_a_queued_call_and_its_call_back(platform: Platform, invoker: str, name: str) -> None:
    """Delivered without the caller's token; told to a function that asks, too."""
    settled(platform, name, invoker)
    back = {"X-Callback-Url": f"http://gateway.openfaas:8080/function/{name}"}
    headers = {**back, "Authorization": f"Bearer {invoker}"}
    assert platform.call("/async-function/open", b"x", headers=back).status == 401
    answer = platform.call(f"/async-function/{name}", b"queued", headers=headers)
    assert answer.status == 202, answer.text
    number = answer.headers["x-call-id"]

    def state() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(platform.api("GET", f"/async-function/{number}").body)
        return found

    until(lambda: state()["state"] not in ("queued", "running"), what="the call to end", log=lambda: platform.log)
    assert (state()["state"], state()["queuedBy"]) == ("succeeded", f"token:{invoker.split('_')[1]}")
    assert platform.api("GET", f"/async-function/{number}/result").body == b"queued"
    until(
        lambda: counted(platform, name) >= 2 and "call-back given up" not in platform.log,
        what="the call-back",
        log=lambda: platform.log,
    )


def counted(platform: Platform, name: str) -> int:
    found = json.loads(platform.api("GET", f"/system/function/{name}").body)
    return int(found.get("invocationCount", 0))


def challenge(header: str) -> dict[str, str]:
    """As faas-cli reads it: the scheme up to the first space, then fields between `, `, quoted or not."""
    _, _, fields = header.partition(" ")
    pairs = (field.partition("=") for field in fields.split(", "))
    return {name: value.strip('"') for name, _, value in pairs}


def sdk_form(subject: str, *audience: str) -> list[tuple[str, str]]:
    """What the SDKs send, in the order in which they send it."""
    return [
        *(("audience", one) for one in audience),
        ("grant_type", EXCHANGE),
        ("scope", "function"),
        ("subject_token", subject),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:id_token"),
    ]


@pytest.mark.parametrize("name", ["asks", "checks"])
def test_faas_cli_invoke(platform: Platform, invoker: str, name: str) -> None:
    """`faas-cli invoke`: a probe without credentials, the exchange, the same body again. With `--auth` the probe is left out."""
    settled(platform, name, invoker)
    agent = {"User-Agent": "faas-cli/0.17.4"}
    probe = platform.call(f"/function/{name}.openfaas-fn", b"body", headers=agent)
    assert (probe.status, challenge(probe.headers["www-authenticate"])) == (401, {"realm": "IAM function invoke"})
    form = urlencode(sdk_form(invoker, f"openfaas-fn:{name}")).encode()
    exchanged = platform.call("/oauth/token", form, headers=agent)
    granted = json.loads(exchanged.body)
    assert (exchanged.status, type(granted["expires_in"]), granted["scope"]) == (200, int, "function")
    again = {**agent, "Authorization": f"Bearer {granted['access_token']}"}
    assert platform.call(f"/function/{name}.openfaas-fn", b"body", headers=again).text == "body"


@pytest.mark.parametrize(
    ("agent", "in_query"), [("openfaas-go-sdk", False), ("python-httpx/0.27", False), ("openfaas-go-sdk", True)]
)
def test_the_sdks(platform: Platform, invoker: str, agent: str, in_query: bool) -> None:
    """They ask for a token for one function, keep it, and call with it. Old documentation puts the form into the query."""
    settled(platform, "checks", invoker)
    form = urlencode(sdk_form(invoker, "openfaas-fn:checks"))
    sent = {"User-Agent": agent, "Accept": "*/*", "Content-Type": "application/x-www-form-urlencoded"}
    if in_query:
        answer = platform.call(f"/oauth/token?{form}", b"", headers=sent)
    else:
        answer = platform.call("/oauth/token", form.encode(), headers=sent)
    assert answer.status == 200, answer.text
    assert 0 < json.loads(answer.body)["expires_in"] <= 300
    bearer = json.loads(answer.body)["access_token"]
    for _ in range(2):
        assert call(platform, "checks", bearer).text == "hello"
    assert call(platform, "asks", bearer).status == 403
    refused = platform.call("/oauth/token", urlencode(sdk_form("nonsense")).encode(), headers=sent)
    assert (refused.status, set(json.loads(refused.body))) == (400, {"error", "error_description"})


def test_our_own_command(platform: Platform, invoker: str) -> None:
    settled(platform, "checks", invoker)
    for flags in (("--auth",), ()):
        made = platform.hilbert("invoke", "checks", *flags, "--token", invoker, stdin=b"by token")
        assert made.stdout.strip() == b"by token"


def test_no_field_of_a_deployment_takes_what_governs(platform: Platform, tmp_path: Path) -> None:
    """By the API, a stack file, and all that acts on a function afterwards: its network stays the namespace's."""
    owner = token(platform, "owner")
    auth = {"Authorization": f"Bearer {owner}"}
    annotations = {"com.hilbert.network": "host", "com.hilbert.quota.functions": "99", "com.hilbert.isolation": ""}
    spec = {"service": "taker", "image": "functions/alpine:latest", "envProcess": "cat"}
    for method, more in (("POST", annotations), ("POST", {}), ("PUT", annotations)):
        body = json.dumps({**spec, "annotations": more}).encode()
        answer = platform.call("/system/functions", body, method=method, headers=auth)
        assert answer.status == (202 if not more else 403), answer.text
        assert "com.hilbert.network" in answer.text or not more
    stack = tmp_path / "stack.yaml"
    stack.write_text(f"""version: 1.0
provider: {{name: openfaas, gateway: "{platform.url}"}}
functions:
  taker:
    image: functions/alpine:latest
    fprocess: cat
    annotations: {{com.hilbert.network: host}}
""")
    refused = platform.hilbert("deploy", "-f", str(stack), "--token", owner, "--no-wait", expect=1)
    assert b"com.hilbert.network" in refused.stderr + refused.stdout
    for path, body in (("/system/scale-function/taker", {"replicas": 2}), ("/system/restart-function/taker", None)):
        answer = platform.call(path, json.dumps(body).encode() if body else b"", method="POST", headers=auth)
        assert answer.status == 202, answer.text
    alert = json.dumps({"alerts": [{"status": "firing", "labels": {"function_name": "taker"}}]}).encode()
    assert platform.call("/system/alert", alert, method="POST", headers=auth).status == 403
    shown = json.loads(platform.api("GET", "/system/function/taker").body)
    assert "com.hilbert.network" not in shown["annotations"]
    namespace = json.loads(platform.api("GET", "/system/namespace/openfaas-fn").body)
    assert not {key for key in namespace.get("annotations", {}) if key.startswith("com.hilbert.")}


def test_a_new_key_restarts_who_checks_by_itself(platform: Platform, invoker: str) -> None:
    made = json.loads(platform.api("POST", "/system/iam/rotate-key?revoke=true").body)
    assert made["restarted"] == ["checks.openfaas-fn"]
    assert not made["notRestarted"]
    settled(platform, "checks", invoker)
    assert settled(platform, "checks", function_token(platform, invoker)).text == "hello"
