"""`/system/iam`: issuers, policies and roles. Whoever may change them can give themselves every right."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Body, Call, Endpoint, Handler, Query, nothing
from hilbert.control.key_restarts import restart_who_know_the_keys
from hilbert.core import errors
from hilbert.core.access import Document, parse_document, to_manifest
from hilbert.core.errors import Invalid, NotFound
from hilbert.core.identity import Action
from hilbert.iam.access import Access
from hilbert.wire.access import MAX_DOCUMENTS, AccessChange, AccessObject, AccessRequest, KeyInfo
from hilbert.wire.specification import rfc3339

GROUP: Final = "Single sign-on"
PATH: Final = "/system/iam"

KINDS: Final = {"jwtissuers": "JwtIssuer", "policies": "Policy", "roles": "Role"}
"""By their names in paths."""

REQUEST: Final = Body(AccessRequest, "expected a body", "failed to unmarshal request: {}")
DRY_RUN: Final = Query("dry-run", "`true` shows what would change without changing anything.")
REVOKE: Final = Query("revoke", "`true` removes all other keys at once: every token of the gateway's becomes invalid.")

_READ: Final = (errors.Unsupported,)
_WRITE: Final = (errors.StorageFull, errors.Unsupported)


async def list_objects(call: Call) -> Answer:
    return json([to_manifest(one) for one in call.services.access.all()])


async def apply_objects(call: Call) -> Answer:
    given = call.given(REQUEST).documents
    if not 0 < len(given) <= MAX_DOCUMENTS:
        raise Invalid(f"documents: must be from 1 to {MAX_DOCUMENTS} objects")
    store = call.services.access_store
    namespace = call.services.settings.kubernetes.platform_namespace
    documents = [parse_document(dict(one), namespace=namespace) for one in given]
    if call.flag(DRY_RUN):
        changes = store.preview(documents)
    else:
        changes = await store.apply(documents)
        _look_for_keys(call)
    told = ", ".join(f"{one.kind} {one.name} {one.change}" for one in changes)
    call.remark = f"dry run: {told}" if call.flag(DRY_RUN) else told
    warnings = _warnings(call.services.access, documents)
    return json(
        [
            AccessChange(
                kind=one.kind, name=one.name, change=one.change, warning=warnings.get((one.kind, one.name), "")
            )
            for one in changes
        ]
    )


async def rotate_key(call: Call) -> Answer:
    federation = call.services.federation
    key = await federation.ring.rotate(revoke=call.flag(REVOKE))
    federation.forget_checked()
    services = call.services
    spaces = await services.tenancy.list_names()
    # Watchdogs that check tokens read the keys once, when they start.
    restarted, left = await restart_who_know_the_keys(services.provider, services.restarts, spaces)
    if not left:
        await federation.ring.settled()
    signs_from = rfc3339(datetime.fromtimestamp(key.signs_from, UTC))
    return json(KeyInfo(kid=key.kid, signs_from=signs_from, restarted=restarted, not_restarted=left), status=201)


def _get(kind: str) -> Handler:
    async def get(call: Call) -> Answer:
        found = call.services.access.find(kind, call.name)
        if found is None:
            raise NotFound(f"{kind} {call.name[:64]} not found")
        return json(to_manifest(found))

    return get


def _delete(kind: str) -> Handler:
    async def delete(call: Call) -> Answer:
        await call.services.access_store.remove(kind, call.name)
        _look_for_keys(call)
        return nothing(202)

    return delete


def _look_for_keys(call: Call) -> None:
    if call.services.sign_on is not None:
        call.services.sign_on.objects_changed()


def _warnings(access: Access, documents: Sequence[Document]) -> dict[tuple[str, str], str]:
    """What is allowed, and hardly meant."""
    trial = Access([*access.all(), *documents])
    unknown = {
        ("Policy", name): f"{', '.join(actions)}: no such action, so it grants nothing"
        for name, actions in trial.unknown_actions().items()
    }
    return unknown | {("Role", name): why for name, why in trial.open_roles().items()}


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=PATH,
        handler=list_objects,
        access=Action.IAM_GET,
        group=GROUP,
        summary="List issuers, policies and roles",
        answer=list[AccessObject],
        errors=_READ,
    ),
    Endpoint(
        method="PUT",
        path=PATH,
        handler=apply_objects,
        access=Action.IAM_UPDATE,
        group=GROUP,
        summary="Create or replace issuers, policies and roles, all of them or none",
        query=(DRY_RUN,),
        body=REQUEST,
        answer=list[AccessChange],
        errors=(*_WRITE, errors.QuotaExceeded),
    ),
    *(
        Endpoint(
            method=method,
            path=f"{PATH}/{plural}/{{name}}",
            handler=_get(kind) if method == "GET" else _delete(kind),
            access=Action.IAM_GET if method == "GET" else Action.IAM_UPDATE,
            group=GROUP,
            summary=f"{'Read' if method == 'GET' else 'Delete'} a {kind}",
            success=200 if method == "GET" else 202,
            answer=AccessObject if method == "GET" else None,
            errors=(*(_READ if method == "GET" else _WRITE), errors.NotFound),
        )
        for plural, kind in KINDS.items()
        for method in ("GET", "DELETE")
    ),
    Endpoint(
        method="POST",
        path=f"{PATH}/rotate-key",
        handler=rotate_key,
        access=Action.IAM_UPDATE,
        group=GROUP,
        summary="Make a new signing key, which is published at once and signs a while later",
        query=(REVOKE,),
        success=201,
        answer=KeyInfo,
        errors=(*_WRITE, errors.Conflict),
    ),
)
