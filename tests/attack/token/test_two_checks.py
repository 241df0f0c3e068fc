"""Function tokens are checked by the workers with a library, and by watchdogs without one. What one refuses, so does the other."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import jwt
import pytest

from hilbert.core.function_tokens import REMEMBERED
from hilbert.dataplane.feed.messages import CallKeys
from hilbert.dataplane.guard import Admitted, Guard
from hilbert.kit.http1 import Request
from hilbert.watchdog import callers
from hilbert.watchdog.callers import MOST_FAILURES, Callers, fetch_callers
from hilbert.watchdog.config import ConfigError, read_config
from support.issuer import NOW, Issuer, Key, encoded
from support.key_server import serving_keys

ISSUER = Issuer("https://functions.example.com", Key("one"))
KEY = ISSUER.keys[0]
Check = Callable[[str], int]


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def point(key: Key) -> tuple[int, int]:
    numbers = key.private.public_key().public_numbers()
    return numbers.x, numbers.y


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["worker", "watchdog"])
def check(request: pytest.FixtureRequest, clock: Clock) -> Check:
    """The status of a call with this token."""
    if request.param == "worker":
        guard = Guard(now=clock)
        guard.learn(CallKeys(ISSUER.iss, [KEY.jwk()], []))

        def by_worker(text: str) -> int:
            found = guard.check(f"Bearer {text}".encode("latin-1"), "dev", "f", lambda: "a")
            return 200 if isinstance(found, Admitted) else found.status

        return by_worker
    watching = Callers("dev", "f", ISSUER.iss, {"one": point(KEY)}, now=clock)

    def by_watchdog(text: str) -> int:
        asked = Request(b"GET", b"/", [b"Authorization: Bearer " + text.encode("latin-1")])
        refusal = watching.refuse(asked, b"192.0.2.1:1")
        return 200 if refusal is None else refusal[0]

    return by_watchdog


GOOD: dict[str, Any] = {
    "iss": ISSUER.iss, "aud": ISSUER.iss, "sub": "fed:alice", "iat": int(NOW), "exp": int(NOW) + 600,
    "function": {"permissions": ["dev:*"]},
}  # fmt: skip


def signed(claims: dict[str, Any] | None = None, *, header: dict[str, Any] | None = None, key: Key = KEY) -> str:
    """Whatever the claims, and whatever the header: no library has a say in it."""
    head = {"alg": "ES256", "typ": "JWT", "kid": "one"} | (header or {})
    first = f"{encoded({name: value for name, value in head.items() if value is not None})}.{encoded(GOOD if claims is None else claims)}"
    return f"{first}.{encoded(jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(first.encode(), key.private))}"


def test_good_ones(check: Check, clock: Clock) -> None:
    assert check(signed()) == 200
    assert check(signed(GOOD | {"aud": ["x", ISSUER.iss]})) == 200
    assert check(signed(GOOD | {"function": {"permissions": ["*"], "audience": ["dev:f"]}})) == 200
    assert check(signed(GOOD | {"exp": NOW + 5.5, "nbf": NOW})) == 200
    clock.now += 6.4
    assert check(signed(GOOD | {"exp": NOW + 5.5})) == 200, "a second of leeway"


CLAIMS: list[dict[str, Any]] = [
    {"iss": "https://functions.example.com/"}, {"iss": None}, {"iss": ["https://functions.example.com"]}, {"iss": ""},
    {"aud": "https://functions.example.co"}, {"aud": None}, {"aud": []}, {"aud": {}}, {"aud": [["x"]]},
    {"exp": None}, {"exp": int(NOW) - 2}, {"exp": "9999999999"}, {"exp": True}, {"exp": 2**80}, {"exp": []}, {"exp": -1},
    {"iat": None}, {"iat": int(NOW) + 100}, {"iat": "x"}, {"nbf": int(NOW) + 100}, {"nbf": "x"}, {"sub": None}, {"sub": 7},
]  # fmt: skip


@pytest.mark.parametrize("change", CLAIMS, ids=str)
def test_wrong_claims(check: Check, change: dict[str, Any]) -> None:
    claims = {name: value for name, value in (GOOD | change).items() if value is not None}
    assert check(signed(claims)) == 401


FUNCTION: list[object] = [
    None, [], "dev:*", {}, {"permissions": "dev:*"}, {"permissions": [7]}, {"permissions": ["mydev:*"]},
    {"permissions": ["dev:g"]}, {"permissions": ["dev:ff"]}, {"permissions": ["*:*"]}, {"permissions": ["de*:f"]},
    {"permissions": ["dev:f*"]}, {"permissions": [".*"]}, {"permissions": ["dev:*"], "audience": []},
    {"permissions": ["dev:*"], "audience": ["dev:g"]}, {"permissions": ["dev:*"], "audience": "dev:f"},
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTION, ids=str)
def test_permissions_that_are_for_something_else(check: Check, function: object) -> None:
    assert check(signed(GOOD | {"function": function})) == 403


@pytest.mark.parametrize(
    "header",
    [{"kid": "two"}, {"kid": None}, {"kid": 7}, {"kid": ["one"]}, {"kid": "../one"}, {"alg": "none"}, {"alg": "HS256"}, {"alg": "es256"},
     {"alg": None}, {"alg": ["ES256"]}, {"crit": ["x"], "x": 1}],
    ids=str,
)  # fmt: skip
def test_headers_that_ask_for_another_check(check: Check, header: dict[str, Any]) -> None:
    assert check(signed(header=header)) == 401


def test_other_keys_than_the_gateways(check: Check) -> None:
    other = Key("one")
    assert check(signed(key=other)) == 401
    for name in ("jwk", "jku", "x5c", "x5u"):
        assert check(signed(key=other, header={name: other.jwk() if name == "jwk" else "https://evil.example"})) == 401
    unsigned = f"{encoded({'alg': 'none', 'kid': 'one'})}.{encoded(GOOD)}."
    hashed = jwt.encode(GOOD, KEY.jwk()["x"] * 2, algorithm="HS256", headers={"kid": "one"})
    for text in (unsigned, hashed):
        assert check(text) == 401


def test_signatures_that_are_none(check: Check) -> None:
    first, _, signature = signed().rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    forms = [
        b"",
        bytes(64),
        raw[:63],
        raw + b"\0",
        raw[:32] + bytes(32),
        bytes(32) + raw[32:],
        b"\xff" * 64,
        raw[32:] + raw[:32],
    ]
    for form in forms:
        assert check(f"{first}.{encoded(form)}") == 401
    changed = encoded(GOOD | {"function": {"permissions": ["*"]}})
    assert check(f"{first.partition('.')[0]}.{changed}.{signature}") == 401


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "...", "a.b", "eyJ.eyJ.x", "a.b.c.d", "\xff.\xff.\xff", "=.=.=", "e30.e30.e30", f"{'[' * 4000}.x.y"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_no_tokens_at_all(check: Check, text: str) -> None:
    assert check(text) == 401


def test_claims_that_nest_without_an_end(check: Check) -> None:
    first = f"{encoded({'alg': 'ES256', 'kid': 'one'})}.{encoded(b'[' * 3000)}"
    sign = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256).sign(first.encode(), KEY.private)
    assert check(f"{first}.{encoded(sign)}") == 401


def test_time_ends_what_was_checked(check: Check, clock: Clock) -> None:
    text = signed(GOOD | {"exp": int(NOW) + 5})
    assert check(text) == 200
    clock.now += 30
    assert check(text) == 401
    assert REMEMBERED <= 60


@pytest.mark.bound("watchdog-tokens")
def test_a_flood_of_forged_tokens_is_not_checked_for_ever(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[bytes] = []

    def counted(_key: tuple[int, int], digest: bytes, _r: int, _s: int) -> bool:
        checked.append(digest)
        return False

    monkeypatch.setattr(callers.p256, "verify", counted)
    watching = Callers("dev", "f", ISSUER.iss, {"one": point(KEY)}, now=clock)

    def call(number: int, peer: bytes) -> bytes:
        text = signed(GOOD | {"jti": number})
        refusal = watching.refuse(Request(b"GET", b"/", [b"Authorization: Bearer " + text.encode()]), peer)
        assert refusal is not None
        return refusal[2]

    told = [call(number, b"192.0.2.1:%d" % number) for number in range(MOST_FAILURES + 5)]
    assert sum(b"too many" in one for one in told) == 5
    assert len(checked) == MOST_FAILURES
    assert b"too many" not in call(0, b"192.0.2.2:1")
    clock.now += 1
    assert b"too many" not in call(0, b"192.0.2.1:1")


def test_a_watchdog_without_keys_opens_to_nobody() -> None:
    """It does not start, and says why."""
    with serving_keys(ISSUER.iss, [KEY.jwk()]) as server:
        good = dict(server.documents)
        assert fetch_callers(server.url, "dev", "f", patience=0)
        wrong: list[dict[str, bytes]] = [
            {"/.well-known/jwks.json": document}
            for document in (b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":[7]}', json.dumps({"keys": [Key("x", "EdDSA").jwk()]}).encode(),
                             json.dumps({"keys": [KEY.jwk(x=encoded(b"1"))]}).encode(), b'{"a":"' + b"x" * 70_000 + b'"}')
        ]  # fmt: skip
        wrong += [
            {"/.well-known/openid-configuration": document}
            for document in (b"{}", b'{"issuer":7,"jwks_uri":"x"}', b"<html>")
        ]
        for change in wrong:
            server.documents = good | change
            with pytest.raises(ConfigError, match="the gateway's keys cannot be fetched"):
                fetch_callers(server.url, "dev", "f", patience=0)
    with pytest.raises(ConfigError, match="Connection refused"):
        fetch_callers(server.url, "dev", "f", patience=0)
    with pytest.raises(ConfigError, match="OPENFAAS_NAME"):
        fetch_callers(server.url, "", "f", patience=0)


@pytest.mark.parametrize("url", ["https://x", "x", "http://", "http://x/y", "file:///etc/passwd"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ConfigError, match="jwt_auth_gateway"):
        read_config({"fprocess": "cat", "jwt_auth": "true", "jwt_auth_gateway": url})
