"""`/system/async/dead`: queued calls that were given up; they are kept until somebody queues them again or purges them."""

from __future__ import annotations

import time
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Body, Call, Endpoint, Query
from hilbert.api.problems import RESERVED_READ
from hilbert.control.delivery.intake import FullQueue
from hilbert.core import errors
from hilbert.core.errors import Invalid, Unsupported
from hilbert.core.identity import Action
from hilbert.core.ports.queue import CallState
from hilbert.wire.queued import DeadLetters, Done, QueuedCallStatus, status_of

GROUP: Final = "Dead letters"
PATH: Final = "/system/async/dead"
MOST_LISTED: Final = 500

FUNCTION: Final = Query("function", "Only those of this function.")
AFTER: Final = Query("after", "Continue after this `number`.")
LIMIT: Final = Query("limit", f"How many at most, up to {MOST_LISTED}, which is the default.")

CHOSEN: Final = Body(DeadLetters, None)
_ERRORS: Final = (errors.BackendUnavailable, errors.Unsupported)


async def list_dead(call: Call) -> Answer:
    found = await _queue(call).list_calls(
        call.namespace.name,
        function=call.query(FUNCTION),
        state=CallState.DEAD,
        after=call.whole(AFTER, 0),
        limit=call.whole(LIMIT, MOST_LISTED, least=1, most=MOST_LISTED),
    )
    now = time.time()
    return json([status_of(record, now=now) for record in found])


async def redrive(call: Call) -> Answer:
    chosen = call.given(CHOSEN)
    count = await _queue(call).redrive(
        call.namespace.name, calls=_calls(chosen), function=chosen.function, now=time.time()
    )
    if call.services.intake is not None:
        call.services.intake.announce()
    return json(Done(count), status=202)


async def purge(call: Call) -> Answer:
    chosen = call.given(CHOSEN)
    return json(Done(await _queue(call).purge(call.namespace.name, calls=_calls(chosen), function=chosen.function)))


def _calls(chosen: DeadLetters) -> tuple[str, ...]:
    if not chosen.calls and not chosen.all:
        raise Invalid("name the calls in 'calls', or say 'all': true")
    return chosen.calls


def _queue(call: Call) -> FullQueue:
    if call.services.intake is None:
        raise Unsupported(f"the {call.services.provider.name} provider has no queue yet")
    return call.services.intake.queue


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=PATH,
        handler=list_dead,
        access=Action.FUNCTION_GET,
        target=targets.namespace(),
        group=GROUP,
        summary="List the queued calls of a namespace that were given up",
        query=(NAMESPACE, FUNCTION, AFTER, LIMIT),
        answer=list[QueuedCallStatus],
        errors=_ERRORS,
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="POST",
        path=PATH,
        handler=redrive,
        access=Action.FUNCTION_UPDATE,
        target=targets.namespace(lambda call: call.given(CHOSEN).namespace),
        group=GROUP,
        summary="Queue dead letters again: those named, or all, or all of one function",
        query=(NAMESPACE,),
        body=CHOSEN,
        success=202,
        answer=Done,
        errors=(*_ERRORS, errors.StorageFull),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        handler=purge,
        access=Action.FUNCTION_UPDATE,
        target=targets.namespace(lambda call: call.given(CHOSEN).namespace),
        group=GROUP,
        summary="Delete dead letters, chosen in the same way",
        query=(NAMESPACE,),
        body=CHOSEN,
        answer=Done,
        errors=(*_ERRORS, errors.StorageFull),
        retold=RESERVED_READ,
    ),
)
