"""Tokens for functions: the exchange (RFC 8693), and what it may answer."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from hilbert.client import BasicAuth, TokenAuth
from hilbert.client.codec import BrokenAnswer, Head
from hilbert.client.tokens import wants_token
from hilbert.core import errors
from support.cli import Gateway, Reply
from support.clients import Either

GRANTED = {
    "access_token": "ft",
    "token_type": "Bearer",
    "expires_in": 60,
    "scope": "function",
    "issued_token_type": "x",
}


def answer(gateway: Gateway, status: int, document: object) -> None:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    reply = Reply(status, body, {"Content-Type": "application/json"})
    gateway.script["POST", "/oauth/token"] = [reply]


def test_an_exchange(either: Either, gateway: Gateway) -> None:
    """A form, without other credentials; the audience is the one function."""
    answer(gateway, 200, GRANTED)
    either.open(gateway.url, auth=TokenAuth("api token"))
    token = either.do("function_token", "f", "dev")
    assert (token.access_token, token.expires_in) == ("ft", 60)
    assert "ft" not in repr(token)
    sent = gateway.last("POST", "/oauth/token")
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in sent.headers
    assert parse_qs(sent.body.decode()) == {
        "grant_type": ["urn:ietf:params:oauth:grant-type:token-exchange"],
        "subject_token": ["api token"],
        "subject_token_type": ["urn:ietf:params:oauth:token-type:id_token"],
        "scope": ["function"],
        "audience": ["dev:f"],
    }


def test_the_default_namespace_has_its_name(either: Either, gateway: Gateway) -> None:
    answer(gateway, 200, GRANTED)
    either.open(gateway.url, auth=TokenAuth("t")).do("function_token", "f")
    assert parse_qs(gateway.calls[-1].body.decode())["audience"] == ["openfaas-fn:f"]


@pytest.mark.parametrize(
    ("status", "document", "error", "text"),
    [
        (
            400,
            {"error": "invalid_request", "error_description": "No policies found for subject: x"},
            "Forbidden",
            "No pol",
        ),
        (400, {"error": "invalid_grant"}, "Forbidden", "no token for function f.dev: invalid_grant"),
        (400, b"<html>", "Invalid", "<html>"),
        (401, {}, "Unauthenticated", "unauthorized"),
        (404, b"404 page not found", "Unsupported", "no identity service"),
        (405, b"", "Unsupported", "no identity service"),
        (501, b"", "Unsupported", "no identity service"),
        (200, {"token": "x"}, "BrokenAnswer", "cannot be read"),
    ],
)
def test_refusals(either: Either, gateway: Gateway, status: int, document: object, error: str, text: str) -> None:
    """Each says who refused what."""
    answer(gateway, status, document)
    either.open(gateway.url, auth=TokenAuth("t"))
    kind = BrokenAnswer if error == "BrokenAnswer" else getattr(errors, error)
    with pytest.raises(kind, match=text):
        either.do("function_token", "f", "dev")


def test_a_gateway_that_guards_the_path_has_no_such_service(either: Either, gateway: Gateway) -> None:
    """Hilbert's own asks for a password wherever nothing is public."""
    either.open(gateway.url, auth=TokenAuth("t"))
    with pytest.raises(errors.Unsupported, match="no identity service"):
        either.do("function_token", "f", "dev")


def test_a_password_is_no_token(either: Either, gateway: Gateway) -> None:
    """Nothing is sent."""
    for auth in (None, BasicAuth("admin", "p")):
        either.open(gateway.url, auth=auth)
        with pytest.raises(errors.Unauthenticated, match="there is none"):
            either.do("function_token", "f")
    assert gateway.calls == []


@pytest.mark.parametrize(
    ("status", "header", "wanted"),
    [
        (401, "Bearer realm=IAM function invoke", True),
        (401, 'Bearer realm="IAM function invoke"', True),
        (401, 'Basic realm="Restricted"', False),
        (401, "", False),
        (403, "Bearer realm=IAM function invoke", False),
    ],
)
def test_who_wants_a_token(status: int, header: str, wanted: bool) -> None:
    assert wants_token(Head(status, {"www-authenticate": header} if header else {})) is wanted
