"""`/system/tokens`, `/system/whoami` and `/system/can-i`: tokens of the gateway's own, and what one may do with them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Access, Body, Call, Endpoint, Query, Target, anywhere, nothing
from hilbert.api.problems import RESERVED_WRITE
from hilbert.core import errors
from hilbert.core.errors import Invalid
from hilbert.core.identity import EVERYTHING, PLATFORM, Action, Resource
from hilbert.core.values import FunctionRef, parse_function_name, parse_namespace_name
from hilbert.iam.rights import may
from hilbert.iam.roles import Role, check_no_more
from hilbert.iam.tokens import Token, mint
from hilbert.wire.specification import rfc3339
from hilbert.wire.token import (
    MAX_NAMESPACES,
    Identity,
    NewToken,
    TokenInfo,
    TokenRequest,
    Verdict,
    check_name,
    life_of,
)

GROUP: Final = "Tokens and rights"
PATH: Final = "/system/tokens"

REQUEST: Final = Body(TokenRequest, "expected a body", "failed to unmarshal request: {}")
ACTION: Final = Query("action", "Such as `Function:Create`.", required=True)
RESOURCE: Final = Query(
    "resource", "`NAMESPACE:FUNCTION`, `NAMESPACE:*`, or `*` for the gateway as a whole; `*` if absent."
)

_WRITE: Final = (errors.StorageFull, errors.Unsupported)


async def list_tokens(call: Call) -> Answer:
    found = [
        token
        for token in call.services.tokens.all()
        if all(may(call.caller, Action.TOKEN_LIST, Resource(namespace)) for namespace in token.namespaces)
    ]
    return json([_shown(token) for token in found])


async def create_token(call: Call) -> Answer:
    given = call.given(REQUEST)
    name, life, now = check_name(given.name), life_of(given.expires_in), datetime.now(UTC)
    try:
        role = Role(given.role)
    except ValueError:
        raise Invalid(f"role: must be one of {', '.join(Role)}") from None
    namespaces = tuple(dict.fromkeys(found.name for _, found in call.target.each() if found is not None))
    check_no_more(call.caller, role, namespaces)
    expires_at = None if life is None else now + life
    minted = mint(name, role, namespaces, by=call.caller.identity, now=now, expires_at=expires_at)
    await call.services.tokens.add(minted)
    call.remark = f"token {minted.token.id}: {role} in {', '.join(namespaces)}"
    return json(NewToken(token=minted.text, info=_shown(minted.token)), status=201)


async def revoke_token(call: Call) -> Answer:
    await call.services.tokens.remove(call.name)
    return nothing(202)


async def show_identity(call: Call) -> Answer:
    caller = call.caller
    rights: dict[str, list[str]] = {}
    for grant in caller.grants:
        for resource in grant.resources:
            rights.setdefault(resource, []).extend(grant.actions)
    return json(Identity(identity=caller.identity, claims=caller.claims, rights=rights))


async def show_verdict(call: Call) -> Answer:
    try:
        action = Action(call.query(ACTION))
    except ValueError:
        raise Invalid("action: is unknown", hint=f"one of {', '.join(Action)}") from None
    text = call.query(RESOURCE) or EVERYTHING
    return json(Verdict(allowed=may(call.caller, action, _resource(text)), action=action.value, resource=text))


def _resource(text: str) -> Resource:
    if text == EVERYTHING:
        return PLATFORM
    namespace, colon, name = text.partition(":")
    if not colon:
        raise Invalid("resource: must be NAMESPACE:FUNCTION, NAMESPACE:* or *")
    found = parse_namespace_name(namespace)
    return Resource(found, None if name == EVERYTHING else FunctionRef(found, parse_function_name(name)))


async def _asked_for(call: Call) -> Target:
    """Every namespace that a new token is to have."""
    namespaces = call.given(REQUEST).namespaces
    if not 0 < len(namespaces) <= MAX_NAMESPACES:
        raise Invalid(f"namespaces: must name from 1 to {MAX_NAMESPACES}")
    found = [await call.services.tenancy.resolve(text or "-") for text in namespaces]
    first, *others = ((Resource(namespace.name), namespace) for namespace in found)
    return Target(*first, others=tuple(others))


async def _in_path(call: Call) -> Target:
    """Every namespace of the token that the path names. One that the caller may not see does not exist."""
    tokens = call.services.tokens
    token = tokens.get(call.name)
    first, *others = ((Resource(namespace), None) for namespace in token.namespaces)
    return Target(*first, others=tuple(others), absent=tokens.absent(call.name))


def _shown(token: Token) -> TokenInfo:
    return TokenInfo(
        id=token.id,
        name=token.name,
        role=token.role.value,
        namespaces=token.namespaces,
        created_at=rfc3339(token.created_at),
        created_by=token.created_by,
        expires_at=rfc3339(token.expires_at) if token.expires_at else "",
        last_used=rfc3339(token.last_used) if token.last_used else "",
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=PATH,
        handler=list_tokens,
        access=Action.TOKEN_LIST,
        target=anywhere,
        group=GROUP,
        summary="List the tokens that the caller may see, without the tokens themselves",
        answer=list[TokenInfo],
        errors=(errors.Unsupported,),
    ),
    Endpoint(
        method="POST",
        path=PATH,
        handler=create_token,
        access=Action.TOKEN_CREATE,
        target=_asked_for,
        group=GROUP,
        summary="Create a token with a role in some namespaces; only this answer shows it",
        body=REQUEST,
        named=lambda call: call.given(REQUEST).name,
        success=201,
        answer=NewToken,
        errors=(*_WRITE, errors.QuotaExceeded),
        retold=RESERVED_WRITE,
    ),
    Endpoint(
        method="DELETE",
        path=f"{PATH}/{{name}}",
        handler=revoke_token,
        access=Action.TOKEN_REVOKE,
        target=_in_path,
        group=GROUP,
        summary="Revoke a token by its id, at once",
        success=202,
        errors=(*_WRITE, errors.NotFound),
    ),
    Endpoint(
        method="GET",
        path="/system/whoami",
        handler=show_identity,
        access=Access.SIGNED_IN,
        group=GROUP,
        summary="Show who the caller is, and its rights",
        answer=Identity,
    ),
    Endpoint(
        method="GET",
        path="/system/can-i",
        handler=show_verdict,
        access=Access.SIGNED_IN,
        group=GROUP,
        summary="Check whether the caller may do something",
        query=(ACTION, RESOURCE),
        answer=Verdict,
        errors=(errors.Invalid,),
    ),
)
