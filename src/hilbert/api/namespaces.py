"""`/system/namespaces` and `/system/namespace/NAME`.

Clients create with `POST /system/namespace/`, the name in the body alone. The plural path, which OpenFaaS's
documentation shows for updates and deletes, works too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import TEXT, Answer, json
from hilbert.api.endpoint import Access, Body, Call, Endpoint, Need, Query, Target, anywhere, nothing
from hilbert.api.problems import Retold, Told
from hilbert.control import governing
from hilbert.control.call_policy import check_namespace_policy
from hilbert.control.delivery.retries import RetryPolicy, policy_of
from hilbert.control.delivery.room import check_namespace_room
from hilbert.control.delivery.signing import check_key_name
from hilbert.control.known_keys import namespace_keys
from hilbert.control.schedules.rules import wrong_for_all
from hilbert.control.usage import today
from hilbert.core import errors
from hilbert.core.errors import Conflict, Invalid, NamespaceNotFound, ReservedNamespace
from hilbert.core.identity import PLATFORM, Action, Resource
from hilbert.core.model import Namespace
from hilbert.core.ports import Disregards, SlowDeletion
from hilbert.core.values import NamespaceName, parse_namespace_name
from hilbert.iam.rights import may
from hilbert.wire import headers
from hilbert.wire.namespace import NamespaceInfo, check_same_name, from_namespace, is_marked, to_namespace

GROUP: Final = "Namespaces"

NO_NAME: Final = "/system/namespace/"
PATH: Final = "/system/namespace/{name}"
PLURAL: Final = "/system/namespaces/{name}"

FORCE: Final = Query("force", "`true` deletes it even when it holds things that the platform did not make.")

DELETING: Final = Query("deleting", "`true` answers 409, saying what is left, while the namespace is being deleted.")

NEW: Final = Body(NamespaceInfo, "namespace not specified in request body", "error parsing request body: {}")
REPLACEMENT: Final = Body(NamespaceInfo, "error parsing request body: no body", "error parsing request body: {}")
DELETED: Final = Body(NamespaceInfo, None)

_WRITE: Final = (errors.BackendUnavailable, errors.StorageFull, errors.Unsupported, errors.Forbidden)
_MISSING: Final[Retold] = {errors.NamespaceNotFound: Told(404)}


async def list_namespaces(call: Call) -> Answer:
    found = [namespace.name for namespace in await call.services.tenancy.list_all()]
    return json([name for name in found if may(call.caller, Action.NAMESPACE_LIST, Resource(name))])


async def get_namespace(call: Call) -> Answer:
    if call.target.namespace is None:
        provider, name = call.services.provider, call.services.tenancy.check_name(call.name)
        if isinstance(provider, SlowDeletion) and (left := await provider.still_deleting(name)):
            raise Conflict(
                left, hint=f"the cluster is still removing it; to wait: hilbert namespace delete {name} --wait"
            )
        raise call.services.tenancy.absent(name)
    return json(from_namespace(call.namespace, _warnings(call, call.namespace)))


async def create_namespace(call: Call) -> Answer:
    given = call.given(NEW)
    if call.name:
        check_same_name(given, call.name)
    if not is_marked(given):
        raise Invalid(
            "request does not have openfaas=1 label", hint='send "labels": {"openfaas": "1"}, or the annotation'
        )
    namespace = to_namespace(given, call.services.tenancy.check_new(given.name))
    check_namespace_policy(namespace.annotations)
    check_namespace_room(namespace.annotations)
    await call.services.namespaces.create_namespace(namespace)
    return _done(call, namespace, 201)


async def update_namespace(call: Call) -> Answer:
    given = call.given(REPLACEMENT)
    check_same_name(given, call.name)
    namespace = to_namespace(given, call.namespace.name)
    check_namespace_policy(namespace.annotations)
    check_namespace_room(namespace.annotations)
    await call.services.namespaces.update_namespace(namespace)
    return _done(call, namespace, 202)


def _done(call: Call, namespace: Namespace, status: int) -> Answer:
    warnings = _warnings(call, namespace)
    return Answer(status, b"", TEXT, {headers.WARNING: headers.one_line("; ".join(warnings))} if warnings else {})


def _warnings(call: Call, namespace: Namespace) -> list[str]:
    """What has no effect, though it was accepted."""
    provider = call.services.provider
    disregarded = provider.disregarded(namespace) if isinstance(provider, Disregards) else ()
    annotations = namespace.annotations
    return [
        *namespace_keys(namespace.labels, annotations),
        *policy_of(annotations, RetryPolicy())[1],
        *wrong_for_all(annotations),
        *check_key_name(annotations),
        *disregarded,
        *_ignored(annotations),
    ]


def _ignored(annotations: Mapping[str, str]) -> list[str]:
    """What would be refused here, and can come from elsewhere, such as `kubectl`: it sets nothing."""
    found = []
    for pair in annotations.items():
        for check in (check_namespace_policy, check_namespace_room):
            try:
                check(dict([pair]))
            except Invalid as exc:
                found.append(f"{exc.message}; it is not followed")
    return found


async def delete_namespace(call: Call) -> Answer:
    check_same_name(call.given(DELETED), call.name)
    await call.services.namespaces.delete_namespace(call.namespace.name, force=call.flag(FORCE))
    call.services.writes.forget(call.namespace.name)
    if call.services.token_store is not None:
        await call.services.token_store.forget_namespace(call.namespace.name)
    if call.services.intake is not None:
        await call.services.intake.namespace_removed(call.namespace.name)
    if call.services.ledger is not None:
        call.services.ledger.retire(call.namespace.name, today())
    return nothing(202)


async def refuse_no_name(_call: Call) -> Answer:
    raise Invalid("namespace not specified in URL")


async def _to_read(call: Call) -> Target:
    """Also one that is being deleted, if that is asked for; otherwise it does not exist any more."""
    try:
        return await targets.namespace_in_path(call)
    except NamespaceNotFound as exc:
        if not call.flag(DELETING):
            raise
        try:
            name = call.services.tenancy.check_name(call.name)
        except (NamespaceNotFound, ReservedNamespace):
            raise exc from None
        return Target(Resource(name), absent=exc)


async def _new(call: Call) -> Target:
    given = call.given(NEW)
    if not given.name:
        raise Invalid("namespace not specified in request body")
    name = parse_namespace_name(given.name)
    return Target(Resource(name), needs=lambda: _needs(None, to_namespace(given, name)))


async def _to_change(call: Call) -> Target:
    found = await targets.namespace_in_path(call)

    def needs() -> tuple[Need, ...]:
        return _needs(found.namespace, to_namespace(call.given(REPLACEMENT), NamespaceName(call.name)))

    return found._replace(needs=needs)


async def _to_delete(call: Call) -> Target:
    """Whoever could make it anew without its limits must not remove it."""
    found = await targets.namespace_in_path(call)
    return found._replace(needs=lambda: _needs(found.namespace, None))


def _needs(old: Namespace | None, new: Namespace | None) -> tuple[Need, ...]:
    keys = governing.changed(old, new)
    if not keys:
        return ()
    verb = "setting" if old is None else "removing" if new is None else "changing"
    more = f" and {len(keys) - 1} more" if len(keys) > 1 else ""
    return (Need(Action.SYSTEM_GOVERN, PLATFORM, f"{verb} {keys[0]}{more}"),)


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/namespaces",
        handler=list_namespaces,
        access=Action.NAMESPACE_LIST,
        target=anywhere,
        group=GROUP,
        summary="List the namespaces that the caller may see",
        answer=list[str],
        errors=(errors.BackendUnavailable,),
    ),
    Endpoint(
        method="POST",
        path=NO_NAME,
        handler=create_namespace,
        access=Action.NAMESPACE_CREATE,
        target=_new,
        group=GROUP,
        summary="Create a namespace; its body needs the mark `openfaas=1` as label or annotation",
        body=NEW,
        success=201,
        errors=(*_WRITE, errors.AlreadyExists, errors.ReservedNamespace, errors.QuotaExceeded),
        retold=_MISSING,
        aliases=(PATH, PLURAL),
    ),
    Endpoint(
        method="GET",
        path=PATH,
        handler=get_namespace,
        access=Action.NAMESPACE_GET,
        target=_to_read,
        group=GROUP,
        summary="Read a namespace",
        query=(DELETING,),
        answer=NamespaceInfo,
        errors=(errors.BackendUnavailable, errors.Conflict),
        retold=_MISSING,
        aliases=(PLURAL,),
    ),
    Endpoint(
        method="PUT",
        path=PATH,
        handler=update_namespace,
        access=Action.NAMESPACE_UPDATE,
        target=_to_change,
        group=GROUP,
        summary="Replace a namespace's labels and annotations",
        body=REPLACEMENT,
        success=202,
        errors=_WRITE,
        retold=_MISSING,
        aliases=(PLURAL,),
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        handler=delete_namespace,
        access=Action.NAMESPACE_DELETE,
        target=_to_delete,
        group=GROUP,
        summary="Delete a namespace with all that is in it",
        query=(FORCE,),
        body=DELETED,
        success=202,
        errors=(*_WRITE, errors.Conflict),
        retold=_MISSING,
        aliases=(PLURAL,),
    ),
    *(
        Endpoint(
            method=method,
            path=NO_NAME,
            handler=refuse_no_name,
            access=Access.SIGNED_IN,
            group=GROUP,
            summary="Say that the path names no namespace",
            documented=False,
        )
        for method in ("GET", "PUT", "DELETE")
    ),
)
