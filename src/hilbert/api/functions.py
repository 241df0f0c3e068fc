"""`/system/functions`, `/system/function/NAME` and `/system/scale-function/NAME`."""

from __future__ import annotations

import time
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import TEXT, Answer, json
from hilbert.api.endpoint import NAMESPACE, Body, Call, Endpoint, Query, nothing
from hilbert.api.problems import NAMESPACE_NOT_VALID, RESERVED_READ, Retold, Told
from hilbert.control.call_policy import call_policy, usable_policy
from hilbert.control.delivery.retries import RetryPolicy, policy_of
from hilbert.control.delivery.room import room_of
from hilbert.control.delivery.signing import check_key_name
from hilbert.control.deploy_warnings import deploy_warnings
from hilbert.control.schedules.rules import rules_of, warnings_of
from hilbert.core import errors
from hilbert.core.errors import Invalid
from hilbert.core.identity import Action, Resource
from hilbert.core.model import CallPolicy, FunctionSpec, FunctionStatus, Namespace
from hilbert.core.ports import Disregards
from hilbert.iam.rights import may
from hilbert.wire import headers
from hilbert.wire.function import DeleteFunction, Deployment, Function, ScaleFunction
from hilbert.wire.schedule import nobody_fires
from hilbert.wire.specification import from_status, to_spec

GROUP: Final = "Functions"

MAX_REPLICAS: Final = 2**31 - 1
"""Of any provider: Kubernetes counts replicas in 32 bits. Providers have lower limits of their own."""

USAGE: Final = Query("usage", "`1` adds what the replicas use, where the provider can tell.")

_BROKEN_SCALE: Final = "Cannot parse request. Please pass valid JSON."
CREATE: Final = Body(Deployment, "expected a body", "failed to unmarshal request: {}")
UPDATE: Final = Body(Deployment, "expected a body", "unable to unmarshal request: {}")
DELETE: Final = Body(DeleteFunction, "expected a body", "failed to unmarshal request: {}")
SCALE: Final = Body(ScaleFunction, _BROKEN_SCALE, _BROKEN_SCALE)

_MISSING_SECRET: Final[Retold] = {errors.SecretNotFound: Told(400)}
_READ: Final = (errors.BackendUnavailable,)
_WRITE: Final = (errors.BackendUnavailable, errors.StorageFull)
_DEPLOY: Final = (*_WRITE, errors.SecretNotFound, errors.ImageUnavailable, errors.QuotaExceeded)


async def list_functions(call: Call) -> Answer:
    found = [
        status
        for status in await call.services.provider.list(call.namespace.name)
        if may(call.caller, Action.FUNCTION_LIST, Resource(call.namespace.name, status.spec.ref))
    ]
    return json([_shown(call, call.namespace, status) for status in found])


async def get_function(call: Call) -> Answer:
    status = await call.services.provider.get(call.ref)
    return json(_shown(call, call.namespace, status, warned=True))


async def create_function(call: Call) -> Answer:
    return await _deploy(call, call.given(CREATE), create=True)


async def update_function(call: Call) -> Answer:
    return await _deploy(call, call.given(UPDATE), create=False)


async def delete_function(call: Call) -> Answer:
    await call.services.provider.get(call.ref)
    await call.services.provider.remove(call.ref)
    if call.services.intake is not None:
        await call.services.intake.function_removed(call.ref)
    return nothing(202)


async def scale_function(call: Call) -> Answer:
    replicas = call.given(SCALE).replicas
    if replicas is None or not 0 <= replicas <= MAX_REPLICAS:
        raise Invalid(f"replicas: is required, a whole number from 0 to {MAX_REPLICAS}")
    await call.services.provider.scale(call.ref, replicas)
    return nothing(202)


async def restart_function(call: Call) -> Answer:
    await call.services.restarts.restart(call.ref)
    return nothing(202)


async def _deploy(call: Call, deployment: Deployment, *, create: bool) -> Answer:
    spec = to_spec(deployment, call.namespace.name)
    policy = call_policy(spec, call.namespace.annotations, call.services.settings.gateway)
    await call.services.provider.apply(spec, create=create)
    warnings = _warnings(call, spec, policy)
    return Answer(202, b"", TEXT, {headers.WARNING: headers.one_line("; ".join(warnings))} if warnings else {})


def _warnings(call: Call, spec: FunctionSpec, policy: CallPolicy) -> list[str]:
    """What has no effect, though it was accepted: OpenFaaS takes any annotation."""
    space = call.namespace.annotations
    rules = rules_of(spec.ref, spec.annotations, space)
    _, wrong = policy_of({**space, **spec.annotations}, RetryPolicy())
    _, tight = room_of(spec.annotations, {})
    found = [
        *deploy_warnings(spec, policy),
        *warnings_of(rules, time.time()),
        *wrong,
        *tight,
        *check_key_name(spec.annotations),
    ]
    if isinstance(call.services.provider, Disregards):
        found += call.services.provider.disregarded(spec)
    if rules.schedules and call.services.firing is None:
        found.append(nobody_fires(spec.ref))
    return found


def _shown(call: Call, namespace: Namespace, status: FunctionStatus, *, warned: bool = False) -> Function:
    policy, wrong = usable_policy(status.spec, namespace.annotations, call.services.settings.gateway)
    count = call.services.invocations(status.spec.ref)
    warnings = [*([wrong] if wrong else []), *_warnings(call, status.spec, policy)] if warned else []
    return from_status(status, policy, invocations=count, warnings=warnings, with_usage=call.flag(USAGE))


def _deleted(call: Call) -> str:
    name = call.given(DELETE).function_name
    if not name:
        raise Invalid("functionName: is required")
    return name


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/functions",
        handler=list_functions,
        access=Action.FUNCTION_LIST,
        target=targets.namespace(),
        group=GROUP,
        summary="List the functions of a namespace",
        query=(NAMESPACE, USAGE),
        answer=list[Function],
        errors=_READ,
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="POST",
        path="/system/functions",
        handler=create_function,
        access=Action.FUNCTION_CREATE,
        target=targets.namespace(lambda call: call.given(CREATE).namespace),
        named=lambda call: call.given(CREATE).service,
        group=GROUP,
        summary="Create a function",
        query=(NAMESPACE,),
        body=CREATE,
        success=202,
        errors=(*_DEPLOY, errors.AlreadyExists),
        retold={errors.ReservedNamespace: NAMESPACE_NOT_VALID, **_MISSING_SECRET},
    ),
    Endpoint(
        method="PUT",
        path="/system/functions",
        handler=update_function,
        access=Action.FUNCTION_UPDATE,
        target=targets.namespace(lambda call: call.given(UPDATE).namespace),
        named=lambda call: call.given(UPDATE).service,
        group=GROUP,
        summary="Replace a function",
        query=(NAMESPACE,),
        body=UPDATE,
        success=202,
        errors=(*_DEPLOY, errors.FunctionNotFound),
        retold={**RESERVED_READ, **_MISSING_SECRET},
    ),
    Endpoint(
        method="DELETE",
        path="/system/functions",
        handler=delete_function,
        access=Action.FUNCTION_DELETE,
        target=targets.function(_deleted, lambda call: call.given(DELETE).namespace),
        group=GROUP,
        summary="Delete a function",
        query=(NAMESPACE,),
        body=DELETE,
        success=202,
        errors=(*_WRITE, errors.FunctionNotFound),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="GET",
        path="/system/function/{name}",
        handler=get_function,
        access=Action.FUNCTION_GET,
        target=targets.function(targets.in_path),
        group=GROUP,
        summary="Read a function",
        query=(NAMESPACE, USAGE),
        answer=Function,
        errors=(*_READ, errors.FunctionNotFound),
        retold={**RESERVED_READ, errors.FunctionNotFound: Told(404, "")},
    ),
    Endpoint(
        method="POST",
        path="/system/scale-function/{name}",
        handler=scale_function,
        access=Action.FUNCTION_SCALE,
        target=targets.function(targets.in_path, lambda call: call.given(SCALE).namespace),
        group=GROUP,
        summary="Set how many replicas a function has; 0 lets it sleep until the next call",
        query=(NAMESPACE,),
        body=SCALE,
        success=202,
        errors=(*_WRITE, errors.FunctionNotFound, errors.QuotaExceeded),
        retold=RESERVED_READ,
    ),
    Endpoint(
        method="POST",
        path="/system/restart-function/{name}",
        handler=restart_function,
        access=Action.FUNCTION_UPDATE,
        target=targets.function(targets.in_path),
        group=GROUP,
        summary="Replace all replicas of a function with new ones, one at a time, without losing a call",
        query=(NAMESPACE,),
        success=202,
        errors=(*_WRITE, errors.FunctionNotFound, errors.Unsupported),
        retold=RESERVED_READ,
    ),
)
