"""Single sign-on over both clients: objects, keys, and the exchange of a token."""

from __future__ import annotations

import json
from urllib.parse import parse_qs

import pytest

from hilbert.client import Forbidden, Unsupported
from support.cli import Gateway, Reply
from support.clients import Either
from support.issuer import policy_object


def reply(document: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def test_objects(client: Either, gateway: Gateway) -> None:
    policy = policy_object("p", ["dev:*"], ["*"])
    change = {"kind": "Policy", "name": "p", "change": "created", "warning": ""}
    gateway.script["GET", "/system/iam"] = [reply([policy])]
    gateway.script["PUT", "/system/iam"] = [reply([change]), reply([change])]
    gateway.script["DELETE", "/system/iam/policies/p"] = [Reply(202)]
    assert [one.metadata["name"] for one in client.do("list_access")] == ["p"]
    for dry_run in (True, False):
        (found,) = client.do("apply_access", [policy], dry_run=dry_run)
        assert (found.name, found.change) == ("p", "created")
        sent = gateway.last("PUT", "/system/iam")
        assert sent.json == {"documents": [policy]}
        assert ("dry-run" in sent.query) is dry_run
    client.do("delete_access", "Policy", "p")


def test_keys(client: Either, gateway: Gateway) -> None:
    made = {"kid": "k", "signsFrom": "2026-01-01T00:00:00Z"}
    gateway.script["POST", "/system/iam/rotate-key"] = [reply(made, 201)]
    assert client.do("rotate_key", revoke=True).signs_from == "2026-01-01T00:00:00Z"
    assert gateway.last("POST", "/system/iam/rotate-key").query == {"revoke": "true"}


def test_an_exchange(client: Either, gateway: Gateway) -> None:
    granted = {"access_token": "t", "issued_token_type": "x", "token_type": "Bearer", "expires_in": 60}
    gateway.script["POST", "/oauth/token"] = [reply(granted)]
    found = client.do("exchange_token", "theirs")
    assert (found.access_token, found.expires_in) == ("t", 60)
    assert "'t'" not in repr(found)
    assert parse_qs(gateway.last("POST", "/oauth/token").body.decode())["subject_token"] == ["theirs"]


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (400, {"error": "invalid_request", "error_description": "No policies found for subject: a"}, Forbidden),
        (404, {}, Unsupported),
        (501, {"error": {"code": "unsupported", "message": "no"}}, Unsupported),
    ],
)
def test_refusals(client: Either, gateway: Gateway, status: int, document: object, error: type[Exception]) -> None:
    gateway.script["POST", "/oauth/token"] = [reply(document, status)]
    with pytest.raises(error):
        client.do("exchange_token", "theirs")
