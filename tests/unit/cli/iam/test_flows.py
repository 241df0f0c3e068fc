"""What the command line does not take for a sign-in: answers of other sign-ins, other providers, and providers that mumble (RFC 9700)."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hilbert.cli.frame.failures import Failed
from hilbert.cli.iam import flows, provider
from hilbert.cli.iam.flows import Client
from hilbert.cli.iam.provider import Provider, Refused
from support.issuer import encoded

ISSUER = "https://id.example.com"
DOCUMENT = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "device_authorization_endpoint": f"{ISSUER}/device",
}


class Fake(Provider):
    """Answers requests for tokens by a function."""

    def __init__(self, answer: Callable[[Mapping[str, str]], Mapping[str, Any]], **document: Any) -> None:
        super().__init__({**DOCUMENT, **document}, {})
        self.answer = answer
        self.forms: list[Mapping[str, str]] = []

    def ask(self, url: str, form: Mapping[str, str]) -> Mapping[str, Any]:
        self.forms.append(form)
        return self.answer(form)


def token(**claims: object) -> str:
    return f"{encoded({'alg': 'ES256'})}.{encoded(claims)}.{encoded(b'x')}"


def visit(url: str) -> int:
    """As a browser does that comes back."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code


def sign_in(
    monkeypatch: pytest.MonkeyPatch, fake: Fake, answers: Callable[[Mapping[str, str]], list[dict[str, str]]]
) -> tuple[str, list[int]]:
    """Sign in; the browser comes back with each of the answers in turn."""
    seen: list[int] = []
    browsers: list[threading.Thread] = []

    def opened(page: str) -> bool:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(page).query).items()}
        assert asked["code_challenge_method"] == "S256"
        assert len(asked["code_challenge"]) == 43

        def come_back() -> None:
            seen.extend(visit(f"{asked['redirect_uri']}?{urlencode(answer)}") for answer in answers(asked))

        browsers.append(threading.Thread(target=come_back))
        browsers[0].start()
        return True

    monkeypatch.setattr(flows.webbrowser, "open", opened)
    try:
        found = flows.by_browser(fake, Client(id="cli"), redirect="http://127.0.0.1", port=0, open_page=True)
    finally:
        for browser in browsers:
            browser.join(20)
    return found, seen


def test_only_the_answer_to_this_sign_in_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    nonces: list[str] = []
    fake = Fake(lambda _form: {"id_token": token(nonce=nonces[0])})

    def answers(asked: Mapping[str, str]) -> list[dict[str, str]]:
        nonces.append(asked["nonce"])
        state = asked["state"]
        return [
            {"code": "evil"},
            {"code": "evil", "state": ""},
            {"code": "evil", "state": "\u00e4"},
            {"code": "evil", "state": state[:-1]},
            {"code": "evil", "state": state, "iss": "https://evil.example.com"},
            {"code": "good", "state": state, "iss": ISSUER},
        ]

    found, seen = sign_in(monkeypatch, fake, answers)
    assert found == token(nonce=nonces[0])
    assert seen == [400, 400, 400, 400, 400, 200]
    (form,) = fake.forms
    assert (form["code"], form["grant_type"]) == ("good", "authorization_code")
    assert len(form["code_verifier"]) >= 43


def test_a_token_of_another_sign_in_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code that somebody else was given brings a token with their nonce."""
    for claims in ({"nonce": "other"}, {}, {"nonce": 7}):
        fake = Fake(lambda _form, claims=claims: {"id_token": token(**claims)})
        with pytest.raises(Failed, match="nonce"):
            sign_in(monkeypatch, fake, lambda asked: [{"code": "c", "state": asked["state"]}])


@pytest.mark.parametrize("answer", [{}, {"id_token": ""}, {"id_token": 7}, {"id_token": "x"}, {"id_token": "a.b.c"}])
def test_answers_that_are_no_token(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    with pytest.raises(Failed):
        sign_in(monkeypatch, Fake(lambda _form: answer), lambda asked: [{"code": "c", "state": asked["state"]}])


def test_the_provider_says_no(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="not today"):
        sign_in(
            monkeypatch,
            Fake(lambda _form: {}),
            lambda asked: [{"error": "access_denied", "error_description": "not today", "state": asked["state"]}],
        )


def test_the_device_flow_waits_as_long_as_it_is_told() -> None:
    script = iter(["authorization_pending", "slow_down", "authorization_pending", ""])

    def answer(form: Mapping[str, str]) -> Mapping[str, Any]:
        if "device_code" not in form:
            return {
                "verification_uri": f"{ISSUER}/d",
                "user_code": "ABCD",
                "device_code": "d",
                "interval": 2,
                "expires_in": 600,
            }
        if error := next(script):
            raise Refused(error, "")
        return {"id_token": token()}

    slept: list[float] = []
    assert flows.by_device(Fake(answer), Client(id="cli"), sleep=slept.append) == token()
    assert slept == [2, 2, 7, 7]


def test_the_device_flow_ends_with_a_refusal() -> None:
    def answer(form: Mapping[str, str]) -> Mapping[str, Any]:
        if "device_code" not in form:
            return {"verification_uri": f"{ISSUER}/d", "user_code": "ABCD", "device_code": "d"}
        raise Refused("access_denied", "no")

    with pytest.raises(Refused):
        flows.by_device(Fake(answer), Client(id="cli"), sleep=lambda _: None)


def test_a_provider_that_lacks_a_flow_says_so() -> None:
    fake = Fake(lambda _form: {}, device_authorization_endpoint=None)
    with pytest.raises(Failed, match="does not offer sign-in on another device"):
        flows.by_device(fake, Client(id="cli"), sleep=lambda _: None)
    with pytest.raises(Failed, match="need a secret"):
        flows.by_secret(fake, Client(id="cli"))


@pytest.mark.parametrize(
    ("status", "document", "words"),
    [
        (404, {}, "not an identity provider"),
        (200, {}, "calls itself"),
        (200, {"issuer": "https://evil.example.com"}, "calls itself https://evil.example.com"),
    ],
)
def test_discovery(monkeypatch: pytest.MonkeyPatch, status: int, document: dict[str, Any], words: str) -> None:
    monkeypatch.setattr(provider, "_ask", lambda *_, **__: (status, json.loads(json.dumps(document))))
    with pytest.raises(Failed, match=words):
        Provider.discover(ISSUER, {})


def test_nothing_is_sent_over_an_open_network() -> None:
    with pytest.raises(Failed, match="is not https"):
        Provider.discover("http://id.example.com", {})
