"""`/oauth/token` and what publishes our keys: public, since whoever comes here brings a token as proof.

Errors of an exchange are 400 with OAuth's JSON, whatever their cause: OpenFaaS's SDKs read no other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import parse_qs

import msgspec

from hilbert.api.asgi import JSON, Answer, RawRequest
from hilbert.api.endpoint import Access, Call, Endpoint, Query
from hilbert.api.problems import Refusal
from hilbert.core import errors
from hilbert.core.addresses import source_of
from hilbert.iam.federation import EXCHANGE, ID_TOKEN, Granted, Refused, check_request
from hilbert.iam.tokens import PREFIX
from hilbert.wire.access import Discovery, ExchangeAnswer, ExchangeProblem, KeySet

GROUP: Final = "Single sign-on"
TOKEN: Final = "/oauth/token"  # noqa: S105 - a path
DISCOVERY: Final = "/.well-known/openid-configuration"
KEYS: Final = "/.well-known/jwks.json"

MAX_FORM: Final = 64 * 1024
"""Bytes of a request for a token, its query included."""
_MAX_FIELDS: Final = 64
FUNCTION_LIFE: Final = 300
"""Seconds for which a token for functions lives that is made of one of the gateway's own. That one can be revoked; this cannot."""
_NOT_KEPT: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_ERRORS: Final = (errors.Unsupported,)
FORM: Final = (
    Query("grant_type", f"`{EXCHANGE}`.", required=True),
    Query("subject_token", "The token that is exchanged.", required=True),
    Query("subject_token_type", f"`{ID_TOKEN}`, or the type `jwt` or `access_token`.", required=True),
    Query("scope", "Absent for a token of this API."),
    Query("audience", "For tokens of functions: `NAMESPACE:FUNCTION`, perhaps several times."),
)


async def exchange_token(call: Call) -> Answer:
    failures, source, now = call.services.exchange_failures, _source(call.raw), time.monotonic()
    if (wait := failures.wait(source, now)) > 0:
        seconds = math.ceil(wait)
        raise Refusal(
            429,
            "rate-limited",
            f"too many tokens from this address were refused; try again in {seconds} s",
            headers={"Retry-After": str(seconds)},
        )
    try:
        granted = await _granted(call, _form(call.raw))
    except Refused as exc:
        failures.failed(source, now)
        call.remark = f"{exc.error}: {exc.message}"
        problem = ExchangeProblem(error=exc.error, error_description=exc.message)
        return Answer(400, msgspec.json.encode(problem), JSON, _NOT_KEPT)
    call.acts_for, call.remark = granted.subject, "token issued"
    answer = ExchangeAnswer(
        access_token=granted.access_token,
        issued_token_type=ID_TOKEN,
        token_type="Bearer",  # noqa: S106 - a kind
        expires_in=granted.expires_in,
        scope=granted.scope,
    )
    return Answer(200, msgspec.json.encode(answer), JSON, _NOT_KEPT)


async def _granted(call: Call, given: Mapping[str, Sequence[str]]) -> Granted:
    """Also for a token of the gateway's own that wants one for functions, as the SDKs ask. Raises `Refused`."""
    federation, tokens = call.services.federation, call.services.token_store
    several = given.get("subject_token", ())
    text = several[0] if len(several) == 1 else ""
    if tokens is None or not text.startswith(PREFIX):
        return await federation.exchange(given)
    if check_request(given) != "function":
        raise Refused(
            "invalid_scope", "a token issued by this gateway needs no exchange for its API; ask for the scope function"
        )
    token = tokens.prove(text)
    if token is None:
        raise Refused("invalid_request", "the token is not known")
    life = FUNCTION_LIFE
    if token.expires_at is not None:
        life = max(1, min(life, int(token.expires_at.timestamp() - time.time())))
    caller = token.caller()
    return federation.for_functions(
        caller.identity, caller.grants, given.get("audience", ()), life=life, vouched_by=federation.url
    )


async def discover(call: Call) -> Answer:
    url = call.services.federation.url
    found = Discovery(issuer=url, jwks_uri=f"{url}{KEYS}", token_endpoint=f"{url}{TOKEN}")
    return Answer(200, msgspec.json.encode(found), JSON, {"Cache-Control": "max-age=60"})


async def show_keys(call: Call) -> Answer:
    return Answer(200, msgspec.json.encode(call.services.federation.ring.jwks()), JSON, {"Cache-Control": "max-age=60"})


def _form(raw: RawRequest) -> Mapping[str, Sequence[str]]:
    """Parameters of body and query together, as some clients have them in the one and some in the other."""
    query = raw.target.partition(b"?")[2]
    if len(raw.body) + len(query) > MAX_FORM:
        raise Refused("invalid_request", f"the request is larger than {MAX_FORM} bytes")
    found: dict[str, list[str]] = {}
    for part in (query, raw.body.strip()):
        try:
            fields = parse_qs(part.decode("ascii"), keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
        except ValueError as exc:
            raise Refused("invalid_request", "the request must be a form (application/x-www-form-urlencoded)") from exc
        for name, values in fields.items():
            found.setdefault(name, []).extend(values)
    return found


def _source(raw: RawRequest) -> str:
    """Whose failures they are. The workers set this field themselves."""
    forwarded = next((value for name, value in raw.fields if name.lower() == b"x-forwarded-for"), b"")
    return source_of(forwarded.decode("latin-1")) or "unknown"


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=TOKEN,
        handler=exchange_token,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Exchange a token from an identity provider or a CI system for one from this gateway (RFC 8693); the form may also be the query",
        form=FORM,
        is_raw=True,
        audited=True,
        answer=ExchangeAnswer,
        problem=ExchangeProblem,
        errors=(*_ERRORS, errors.Invalid, errors.RateLimited),
    ),
    Endpoint(
        method="GET",
        path=DISCOVERY,
        handler=discover,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Say who issues the gateway's tokens, and where the keys are",
        answer=Discovery,
        errors=_ERRORS,
    ),
    Endpoint(
        method="GET",
        path=KEYS,
        handler=show_keys,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Read the public keys of the gateway's tokens",
        answer=KeySet,
        errors=_ERRORS,
    ),
)
