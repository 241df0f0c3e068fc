"""`jwt_auth`: the watchdog lets in only who has a token for the function, in every mode, as OpenFaaS's do (facts 10.3)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.issuer import Issuer, Key
from support.key_server import KeyServer, serving_keys
from support.watchdog import Reply, Watchdog, running, watchdog

GATEWAY = Issuer("https://functions.example.com", Key("one"))
REALM = "Bearer realm=IAM function invoke"


def token(*permissions: str, key: Key | None = None, **more: object) -> str:
    now = int(time.time())
    claims = {"iss": GATEWAY.iss, "aud": GATEWAY.iss, "sub": "fed:alice", "iat": now, "exp": now + 600}
    return GATEWAY.token({**claims, "function": {"permissions": list(permissions)}, **more}, key=key)


def environment(keys: KeyServer) -> dict[str, str]:
    return {
        "jwt_auth": "true", "jwt_auth_gateway": keys.url, "OPENFAAS_NAME": "f", "OPENFAAS_NAMESPACE": "dev",
    }  # fmt: skip


@pytest.fixture(scope="module")
def keys() -> Iterator[KeyServer]:
    with serving_keys(GATEWAY.iss, [GATEWAY.keys[0].jwk()]) as found:
        yield found


@pytest.fixture
def guarded(mode: str, keys: KeyServer) -> Iterator[Watchdog]:
    with running(mode, **environment(keys)) as made:
        yield made


def call(function: Watchdog, bearer: str = "", method: str = "GET", **headers: str) -> Reply:
    if bearer:
        headers["Authorization"] = f"Bearer {bearer}"
    return function.call(method, "/echo", b"x" if method == "POST" else None, headers)


def test_every_mode_asks(guarded: Watchdog) -> None:
    for method in ("GET", "POST"):
        refused = call(guarded, method=method)
        assert (refused.status, refused.text) == (401, "Bearer must be present in Authorization header")
        assert refused.headers["WWW-Authenticate"] == REALM
        assert refused.headers["X-OpenFaaS-Internal"] == "faas-middleware"
        assert call(guarded, token("dev:f"), method).status == 200
        assert call(guarded, token("dev:*"), method).status == 200
    forbidden = call(guarded, token("dev:other"))
    assert (forbidden.status, forbidden.text) == (403, "insufficient permissions")
    assert forbidden.headers["X-OpenFaaS-Internal"] == "faas-middleware"
    assert call(guarded, token("dev:f"), Connection="Upgrade", Upgrade="websocket").status != 401
    assert call(guarded, "", Connection="Upgrade", Upgrade="websocket").status == 401
    for wrong in (token("dev:f", key=Key("one")), token("dev:f", key=Key("two")), "x", "hilbert_1_s"):
        answer = call(guarded, wrong)
        assert (answer.status, answer.text[:27]) == (401, "failed to parse JWT token: ")
    for path in ("/_/health", "/_/ready"):
        assert guarded.call(path=path).status == 200


def test_the_function_hears_how_long_it_took(keys: KeyServer) -> None:
    """And nothing that a caller says of it."""
    handler = "def handle(event, context):\n    return str([v for k, v in event.headers.items() if k.lower() == 'x-auth-seconds'])\n"
    with watchdog(handler=handler, **environment(keys)) as function:
        answer = call(function, token("dev:f"), **{"X-Auth-Seconds": "forged"})
    assert answer.status == 200, answer.text
    assert float(answer.text.strip("[]'")) >= 0


def test_keys_are_fetched_once_and_by_the_path_alone(keys: KeyServer) -> None:
    """What the gateway calls its public address may lead nowhere from here."""
    keys.asked.clear()
    with running("classic", **environment(keys)) as function:
        for _ in range(3):
            call(function, token("dev:f"))
            call(function, token("dev:f", key=Key("unknown")))
    assert keys.asked == ["/.well-known/openid-configuration", "/.well-known/jwks.json"]


def test_a_gateway_that_comes_later_is_waited_for() -> None:
    with socket.socket() as held, ExitStack() as stack:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))  # Refuses connections for as long as it does not listen.
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        function = stack.enter_context(
            running("classic", ready=False, **(environment(KeyServer("", [])) | {"jwt_auth_gateway": url}))
        )
        # It has been refused at least once, by now or very soon; listening then is what ends the wait.
        server = stack.enter_context(serving_keys(GATEWAY.iss, [GATEWAY.keys[0].jwk()], sock=held))
        function.wait_ready()
        assert server.asked
        assert call(function, token("dev:f")).status == 200
