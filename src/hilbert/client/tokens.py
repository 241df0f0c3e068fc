"""Tokens for functions, from the gateway's identity service (RFC 8693, `POST /oauth/token`)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

import msgspec

from hilbert.client.calls import Call
from hilbert.client.codec import Head, Request
from hilbert.core.errors import Forbidden, Unauthenticated, Unsupported
from hilbert.core.values import DEFAULT_NAMESPACE

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 - the name of a kind of token
_REALM: Final = re.compile(r'realm="?IAM function invoke"?', re.IGNORECASE)


class FunctionToken(msgspec.Struct, frozen=True):
    """A token that one function accepts."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a kind of token
    expires_in: int = 0
    """Seconds."""

    def __repr__(self) -> str:
        return f"FunctionToken(..., expires_in={self.expires_in})"


class _Refusal(msgspec.Struct, frozen=True):
    """RFC 6749, 5.2."""

    error: str
    error_description: str = ""


class _Exchange(Call[FunctionToken]):
    def check(self, head: Head, body: bytes) -> None:
        """Raises `Unsupported` where there is no such service, and `Forbidden` where it gives no token."""
        asks_for_password = head.headers.get("www-authenticate", "").lower().startswith("basic ")
        if head.status in (404, 405, 501) or (head.status == 401 and asks_for_password):  # Nothing public is there.
            raise Unsupported(
                "the gateway has no identity service, so there are no tokens for functions",
                hint="call the function without --auth, or pass the header it expects with -H 'Authorization: ...'",
            )
        if head.status == 400:
            try:
                refusal = msgspec.json.decode(body, type=_Refusal)
            except msgspec.MsgspecError:
                pass
            else:
                raise Forbidden(
                    f"no token for function {self.name}: {refusal.error_description or refusal.error}",
                    hint="a policy has to allow the caller to invoke it",
                )
        super().check(head, body)


def exchange(token: str, *, name: str, namespace: str) -> Call[FunctionToken]:
    """Make a function's token of an OpenFaaS token. Raises `Unauthenticated` without one."""
    if not token:
        raise Unauthenticated(
            "a token for a function is made from a token of the gateway, and there is none",
            hint="give one with --token, or save it as 'auth: oauth2' in ~/.openfaas/config.yml; a password is not enough",
        )
    where = namespace or str(DEFAULT_NAMESPACE)
    form = {
        "grant_type": EXCHANGE,
        "subject_token": token,
        "subject_token_type": ID_TOKEN,
        "scope": "function",
        "audience": f"{where}:{name}",
    }
    request = Request(
        method="POST",
        target="/oauth/token",
        headers=(("Accept", "application/json"), ("Content-Type", "application/x-www-form-urlencoded")),
        body=urlencode(form).encode(),
    )
    decoder = msgspec.json.Decoder(FunctionToken)
    return _Exchange(request, lambda _head, body: decoder.decode(body), name=f"{name}.{where}")


def wants_token(head: Head) -> bool:
    """Whether an answer says that the function wants such a token."""
    return head.status == 401 and _REALM.search(head.headers.get("www-authenticate", "")) is not None
