"""`/system/async/`: the queues of functions, the calls in them, and many calls queued at once."""

from __future__ import annotations

import binascii
import re
import time
from datetime import UTC, datetime
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Body, Call, Endpoint, Query, Target, anywhere
from hilbert.api.problems import NO_PROMISE, RESERVED_READ
from hilbert.control.delivery.intake import Asked, Intake
from hilbert.core import errors
from hilbert.core.errors import Invalid, Unsupported
from hilbert.core.identity import Action, Resource
from hilbert.core.ports.queue import CallState, QueueCounts
from hilbert.core.values import FunctionRef, NamespaceName, parse_function_name
from hilbert.iam.rights import may
from hilbert.wire.queued import Batch, BatchCall, QueuedCallStatus, QueuedIds, QueueStatus, status_of

GROUP: Final = "Queued calls"
MOST_LISTED: Final = 500
MOST_AT_ONCE: Final = 1_000
"""Calls in one batch."""

ONLY: Final = Query("namespace", "Only those of this namespace; by default, all that the caller may see.")
FUNCTION: Final = Query("function", "Only those of this function.")
STATE: Final = Query("state", f"Only those in this state: {', '.join(CallState)}.")
AFTER: Final = Query("after", "Continue after this `number`.")
LIMIT: Final = Query("limit", f"How many at most, up to {MOST_LISTED}, which is the default.")

BATCH: Final = Body(Batch, "expected a body")
_READ: Final = (errors.BackendUnavailable, errors.Unsupported)
_METHOD: Final = re.compile(r"GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS")
_PATH: Final = re.compile(r"/[!-~]*")
_FIELD: Final = re.compile(r"[-!#$%&'*+.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t -~]*")


async def _one_or_all(call: Call) -> Target:
    """The namespace that the query names, or whatever the caller may see."""
    if not call.query(ONLY):
        return await anywhere(call)
    found = await call.services.tenancy.resolve(call.query(ONLY))
    return Target(Resource(found.name), found)


async def list_queues(call: Call) -> Answer:
    queue = _intake(call).queue
    wanted, now = call.query(ONLY), time.time()
    found = [
        counts
        for counts in await queue.counts()
        if wanted in ("", counts.ref.namespace)
        and may(call.caller, Action.FUNCTION_LIST, Resource(counts.ref.namespace, counts.ref))
    ]
    shown = []
    for counts in sorted(found, key=lambda counts: counts.ref):
        oldest = None
        if counts.queued:
            first = await queue.list_calls(
                counts.ref.namespace, function=counts.ref.name, state=CallState.QUEUED, limit=1
            )
            oldest = datetime.fromtimestamp(min(first[0].put_at, now), UTC) if first else None
        shown.append(_status(call, counts, oldest))
    return json(shown)


def _status(call: Call, counts: QueueCounts, oldest: datetime | None) -> QueueStatus:
    dispatcher = call.services.dispatcher
    return QueueStatus(
        function=counts.ref.name,
        namespace=counts.ref.namespace,
        pending=counts.queued,
        in_flight=counts.running,
        dead=counts.dead,
        bytes=counts.size,
        finished_per_minute=dispatcher.per_minute(counts.ref) if dispatcher is not None else 0,
        oldest_at=oldest,
    )


async def list_calls(call: Call) -> Answer:
    found = await _intake(call).queue.list_calls(
        call.namespace.name,
        function=call.query(FUNCTION),
        state=_state(call),
        after=call.whole(AFTER, 0),
        limit=call.whole(LIMIT, MOST_LISTED, least=1, most=MOST_LISTED),
    )
    now = time.time()
    return json([status_of(record, now=now) for record in found])


async def queue_batch(call: Call) -> Answer:
    batch = call.given(BATCH)
    if not 0 < len(batch.calls) <= MOST_AT_ONCE:
        raise Invalid(f"calls: must be from 1 to {MOST_AT_ONCE}")
    asked = []
    for number, one in enumerate(batch.calls):
        try:
            asked.append(_asked(call.namespace.name, one))
        except Invalid as exc:
            raise Invalid(f"calls[{number}]: {exc.message}", hint=exc.hint) from exc
    return json(QueuedIds(tuple(await _intake(call).accept_all(asked, by=call.caller.identity))), status=202)


def _asked(namespace: NamespaceName, one: BatchCall) -> Asked:
    if not _METHOD.fullmatch(one.method):
        raise Invalid("method: must be GET, POST, PUT, PATCH, DELETE, HEAD or OPTIONS")
    if not _PATH.fullmatch(one.path):
        raise Invalid("path: must begin with / and be percent-encoded")
    for name, value in one.headers.items():
        if not _FIELD.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Invalid(f"headers: ({name:.40}) is not a header name, or its value is not printable ASCII")
        if name.lower() in ("x-call-id", "x-forwarded-for"):
            raise Invalid(f"headers: {name} is set by the gateway")
    if one.body and one.body_base64:
        raise Invalid("give body or bodyBase64, not both")
    try:
        body = binascii.a2b_base64(one.body_base64, strict_mode=True) if one.body_base64 else one.body.encode()
    except ValueError as exc:  # Also for what is not ASCII.
        raise Invalid(f"bodyBase64: {exc}") from exc
    fields = tuple((name.encode(), value.encode()) for name, value in one.headers.items())
    return FunctionRef(namespace, parse_function_name(one.function)), one.method, one.path.encode(), fields, body


def _state(call: Call) -> CallState | None:
    text = call.query(STATE)
    try:
        return CallState(text) if text else None
    except ValueError as exc:
        raise Invalid(f"state: must be one of {', '.join(CallState)}") from exc


def _intake(call: Call) -> Intake:
    if call.services.intake is None:
        raise Unsupported(f"the {call.services.provider.name} provider has no queue yet")
    return call.services.intake


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/async/queues",
        handler=list_queues,
        access=Action.FUNCTION_LIST,
        target=_one_or_all,
        group=GROUP,
        summary="List functions with queued calls: how many wait, run, and were given up",
        query=(ONLY,),
        answer=list[QueueStatus],
        errors=_READ,
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="GET",
        path="/system/async/calls",
        handler=list_calls,
        access=Action.FUNCTION_GET,
        target=targets.namespace(),
        group=GROUP,
        summary="List the queued calls of a namespace, also those that have ended",
        query=(NAMESPACE, FUNCTION, STATE, AFTER, LIMIT),
        answer=list[QueuedCallStatus],
        errors=(*_READ, errors.Invalid),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="POST",
        path="/system/async/batch",
        handler=queue_batch,
        access=Action.FUNCTION_INVOKE,
        target=targets.namespace(lambda call: call.given(BATCH).namespace),
        group=GROUP,
        summary=f"Queue up to {MOST_AT_ONCE} calls of a namespace's functions, all or none",
        query=(NAMESPACE,),
        body=BATCH,
        success=202,
        answer=QueuedIds,
        errors=(
            *_READ,
            errors.StorageFull,
            errors.FunctionNotFound,
            errors.KeyReused,
            errors.QueueFull,
            errors.TooLarge,
            errors.RateLimited,
        ),
        retold={**RESERVED_READ, **NO_PROMISE},
    ),
)
