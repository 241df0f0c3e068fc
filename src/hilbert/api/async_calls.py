"""`/async-function/`: calls that are made later. Anybody may queue one, as anybody may call a function."""

from __future__ import annotations

import re
import time
from typing import Final

import msgspec

from hilbert.api.asgi import TEXT, Answer, json
from hilbert.api.endpoint import Access, Call, Endpoint, Target, nothing
from hilbert.api.problems import NO_PROMISE, Refusal
from hilbert.control.call_policy import is_guarded
from hilbert.control.delivery import callbacks
from hilbert.control.delivery.intake import Intake
from hilbert.control.delivery.request import QueuedAnswer, QueuedRequest
from hilbert.core import errors
from hilbert.core.addresses import source_of
from hilbert.core.errors import (
    CallNotFound,
    Forbidden,
    FunctionNotFound,
    Invalid,
    NamespaceNotFound,
    ReservedNamespace,
    Unsupported,
)
from hilbert.core.identity import Action, Resource
from hilbert.core.model import Namespace
from hilbert.core.ports.queue import CallRecord
from hilbert.core.values import FunctionRef
from hilbert.dataplane.failures import FIRED_HERE
from hilbert.dataplane.guard import Admitted, is_of_gateway
from hilbert.iam.rights import may
from hilbert.kit.http1.forward import HOP_FIELDS, passing
from hilbert.wire import headers
from hilbert.wire.queued import QueuedCallStatus, status_of

GROUP: Final = "Queued calls"
PATH: Final = "/async-function/{rest}"
RESULT: Final = "/result"
REQUEST: Final = "/request"

_SPLIT: Final = re.compile(rb"/async-function/([^/?]*)([^?]*)(\?.*)?", re.DOTALL)
_WRITE: Final = (errors.BackendUnavailable, errors.StorageFull)


async def queue_call(call: Call) -> Answer:
    intake = _intake(call)
    found = _SPLIT.fullmatch(call.raw.target)
    name = found[1].decode("latin-1") if found is not None else ""
    path = (found[2] or b"/") + (found[3] or b"") if found is not None else b"/"
    try:
        namespace, ref = await call.services.tenancy.resolve_function(name)
    except (NamespaceNotFound, ReservedNamespace) as exc:
        # The same words as for a function: nobody can find out here which namespaces there are.
        raise FunctionNotFound(f"function {headers.one_line(name)} not found") from exc
    fields, by = call.raw.fields, ""
    if call.services.firing is not None and headers.is_of_cron_connector(fields) and call.services.firing.fires(ref):
        told = f"{FIRED_HERE.message}\n{FIRED_HERE.hint}\n"
        return Answer(FIRED_HERE.status, told.encode(), TEXT, {headers.ERROR: FIRED_HERE.code})
    spec = await call.services.spec_of(ref)
    guarded = is_guarded(spec, namespace.annotations)
    if guarded:
        call.target = Target(Resource(namespace.name, ref), namespace)
        by = _caller_of(call, ref)
        call.acts_for, call.remark = by, "a call was queued"
    is_vouched = await _may_be_told(call, namespace)
    if guarded or any(name.lower() == b"authorization" and is_of_gateway(value) for name, value in fields):
        # The call is made later for whoever was let in now: its token, which may have ended by then, is not kept.
        fields = tuple((name, value) for name, value in fields if name.lower() != b"authorization")
    number = await intake.accept(
        ref,
        call.raw.method,
        path,
        fields,
        call.raw.body,
        annotations=(spec.annotations, namespace.annotations),
        by=by,
        is_vouched=is_vouched,
    )
    return Answer(202, b"", TEXT, {headers.CALL_ID: number, headers.START_TIME: str(time.time_ns())})


def _caller_of(call: Call, ref: FunctionRef, *, also_of_api: bool = False) -> str:
    """Who asks. Raises `Refusal` for whoever may not call the function: as the workers do.

    `also_of_api`: with whatever proves a caller to the REST API, the password too, which is no proof to a function.
    """
    call.asked = Action.FUNCTION_INVOKE
    source = source_of(_field(call, b"x-forwarded-for").decode("latin-1")) or "unknown"
    found = call.services.guard.check(_field(call, b"authorization"), ref.namespace, ref.name, lambda: source)
    if isinstance(found, Admitted):
        return found.identity
    if also_of_api:
        caller = call.whoever()
        if may(caller, Action.FUNCTION_INVOKE, Resource(ref.namespace, ref)):
            return caller.identity
    call.refused, call.acts_for = True, found.who
    named = {name.decode(): value.decode() for name, value in found.headers}
    raise Refusal(
        found.status, found.code, found.message, text=found.message,
        headers={**named, "X-OpenFaaS-Internal": "faas-middleware"},
    )  # fmt: skip


async def _may_be_told(call: Call, namespace: Namespace) -> bool:
    """Whether the call-back is a function that asks its callers who they are, and whoever queues the call may call it.

    A call-back is made in the gateway's name, with an answer that whoever queues the call can shape. So a call-back opens
    nothing that its sender could not open itself. Raises `Invalid` and `Refusal`.
    """
    text = _field(call, b"x-callback-url").decode("latin-1").strip()
    if not text:
        return False
    target = callbacks.Target(text)
    try:
        ref = target.function_of(namespace.name)
        if ref is None or not is_guarded(await call.services.spec_of(ref), namespace.annotations):
            return False
    except (callbacks.Blocked, FunctionNotFound):
        return False  # It is told when the call-back is made, as for any other address that does not work.
    if target.queues:
        raise Invalid(
            f"X-Callback-Url: {ref} asks its callers who they are, and a call-back cannot queue a call of such a function",
            hint="use /function/ in place of /async-function/",
        )
    _caller_of(call, ref)
    return True


def _field(call: Call, name: bytes) -> bytes:
    """A header of the request, by its name in lower case; empty without it. The first one counts, as with the workers."""
    return next((value for key, value in call.raw.fields if key.lower() == name), b"")


async def cancel_call(call: Call) -> Answer:
    """Whoever knows the id may, as in OpenFaaS; of a function that asks its callers who they are, whoever may call it."""
    intake = _intake(call)
    record = await intake.look_up(call.name)
    guarding = await _guarding(call, record.ref)
    if guarding is not None:
        call.target = Target(Resource(record.ref.namespace, record.ref), guarding)
        call.acts_for = _caller_of(call, record.ref, also_of_api=True)
        call.remark = "a queued call was cancelled"
    await intake.cancel(call.name)
    return nothing(202)


async def _guarding(call: Call, ref: FunctionRef) -> Namespace | None:
    """The namespace of a function that asks its callers who they are; None of any other, and of one that is gone."""
    try:
        namespace, _ = await call.services.tenancy.resolve_function(str(ref))
        spec = await call.services.spec_of(ref)
    except (NamespaceNotFound, ReservedNamespace, FunctionNotFound):
        return None
    return namespace if is_guarded(spec, namespace.annotations) else None


async def get_call(call: Call) -> Answer:
    number, slash, part = call.name.partition("/")
    if slash + part not in ("", RESULT, REQUEST):
        raise CallNotFound(f"no call {call.name}")
    record = await _intake(call).look_up(number)
    about = Resource(record.ref.namespace, record.ref)
    if not may(call.caller, Action.FUNCTION_GET, about):
        raise CallNotFound(f"no call {number}")
    if not part:
        return json(status_of(record, now=time.time()))
    needed = [Action.FUNCTION_PAYLOAD]
    if await _guarding(call, record.ref) is not None:
        needed.append(Action.FUNCTION_INVOKE)  # What it answers is for those who may call it.
    for action in needed:
        if not may(call.caller, action, about):
            raise Forbidden(
                f"this needs the right {action} on {record.ref.namespace}:{record.ref.name}",
                hint="ask an administrator of the namespace or the gateway",
            )
    if part == RESULT[1:]:
        return _result(record)
    return _request(record, await _intake(call).queue.body(record.ref.namespace, number))


def _request(record: CallRecord, kept: bytes) -> Answer:
    """The body of the request, with its method, path and headers beside it."""
    try:
        request = QueuedRequest.load(kept)
    except msgspec.MsgspecError as exc:
        raise CallNotFound(f"the stored request of call {record.id} cannot be read", detail=str(exc)) from exc
    fields = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in request.fields}
    shown = {
        headers.CALL_ID: record.id,
        "X-Hilbert-Method": request.method,
        "X-Hilbert-Path": headers.one_line(request.target.decode("latin-1")),
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    return Answer(200, request.body, headers.one_line(fields.get("content-type", "application/octet-stream")), shown)


def _result(record: CallRecord) -> Answer:
    if not record.answer:
        raise CallNotFound(
            f"no result of call {record.id} is kept",
            hint="answers are kept if the function has the annotation com.hilbert.async.results, e.g. 1h",
        )
    answer = QueuedAnswer.load(record.answer)
    passed = {
        name.decode("latin-1").lower(): value.decode("latin-1") for name, value in passing(list(answer.fields), _HOP)
    }
    media = passed.pop("content-type", TEXT)
    shown = {
        headers.CALL_ID: record.id,
        "X-Function-Status": str(answer.status),
        "Content-Disposition": "attachment",
        "X-Content-Type-Options": "nosniff",
    }
    if answer.cut:
        shown["X-Hilbert-Truncated"] = "true"
    return Answer(200, answer.body, media, shown)


_HOP: Final = HOP_FIELDS | {b"content-length"}


def _intake(call: Call) -> Intake:
    if call.services.intake is None:
        raise Unsupported(
            f"the {call.services.provider.name} provider has no queue yet",
            hint="call the function at /function/ and wait",
        )
    return call.services.intake


ENDPOINTS: Final = (
    Endpoint(
        method="POST",
        path=PATH,
        handler=queue_call,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Queue a call of the function that the path names",
        is_raw=True,
        success=202,
        errors=(
            *_WRITE,
            errors.Invalid,
            errors.FunctionNotFound,
            errors.KeyReused,
            errors.QueueFull,
            errors.TooLarge,
            errors.RateLimited,
            errors.Unsupported,
        ),
        retold=NO_PROMISE,
        documented=False,
    ),
    Endpoint(
        method="DELETE",
        path=PATH,
        handler=cancel_call,
        access=Access.PUBLIC,
        group=GROUP,
        summary="Cancel the queued call whose id the path names",
        is_raw=True,
        success=202,
        errors=(*_WRITE, errors.CallNotFound, errors.Unsupported),
        documented=False,
    ),
    Endpoint(
        method="GET",
        path=PATH,
        handler=get_call,
        access=Access.SIGNED_IN,
        group=GROUP,
        summary="Get the state of the queued call whose id the path names, or its answer or request with /result or /request behind it",
        answer=QueuedCallStatus,
        errors=(errors.BackendUnavailable, errors.CallNotFound, errors.Forbidden, errors.Unsupported),
        documented=False,
    ),
)
