"""Calls about issuers, policies, roles and keys, and the exchange of a token for one of the gateway's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec

from hilbert.client.calls import Call
from hilbert.client.codec import Head, Request
from hilbert.client.tokens import EXCHANGE, ID_TOKEN
from hilbert.core.errors import Forbidden, Unsupported
from hilbert.wire.access import AccessChange, AccessObject, AccessRequest, ExchangeAnswer, ExchangeProblem, KeyInfo
from hilbert.wire.reading import parse

PLURALS: Final = {"JwtIssuer": "jwtissuers", "Policy": "policies", "Role": "roles"}

_JSON: Final = (("Accept", "application/json"), ("Content-Type", "application/json"))


class _Exchange(Call[ExchangeAnswer]):
    def check(self, head: Head, body: bytes) -> None:
        """Raises `Forbidden` where the gateway gives no token, and `Unsupported` where it has no single sign-on."""
        if head.status == 400:
            try:
                refusal = msgspec.json.decode(body, type=ExchangeProblem)
            except msgspec.MsgspecError:
                pass
            else:
                raise Forbidden(
                    f"the gateway gives no token: {refusal.error_description or refusal.error}",
                    hint="the gateway's administrator can add an issuer, or a role for you",
                )
        if head.status in (404, 405):
            raise Unsupported("the gateway has no single sign-on")
        super().check(head, body)


def list_access() -> Call[list[AccessObject]]:
    request = Request(method="GET", target="/system/iam", headers=_JSON[:1])
    return Call(request, lambda _head, body: parse(body, list[AccessObject]))


def apply_access(documents: Sequence[Mapping[str, Any]], *, dry_run: bool) -> Call[list[AccessChange]]:
    body = msgspec.json.encode(AccessRequest(documents=tuple(documents)))
    target = "/system/iam?dry-run=true" if dry_run else "/system/iam"
    request = Request(method="PUT", target=target, headers=_JSON, body=body)
    return Call(request, lambda _head, answer: parse(answer, list[AccessChange]))


def delete_access(kind: str, name: str) -> Call[None]:
    request = Request(method="DELETE", target=f"/system/iam/{PLURALS[kind]}/{quote(name, safe='')}", headers=_JSON[:1])
    return Call(request, lambda _head, _body: None)


def rotate_key(*, revoke: bool) -> Call[KeyInfo]:
    query = "?revoke=true" if revoke else ""
    request = Request(method="POST", target=f"/system/iam/rotate-key{query}", headers=_JSON[:1])
    return Call(request, lambda _head, body: parse(body, KeyInfo))


def exchange_token(token: str) -> Call[ExchangeAnswer]:
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": ID_TOKEN}
    request = Request(
        method="POST",
        target="/oauth/token",
        headers=(("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")),
        body=urlencode(form).encode(),
    )
    return _Exchange(request, lambda _head, body: parse(body, ExchangeAnswer))
