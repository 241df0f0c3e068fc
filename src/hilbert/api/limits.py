"""`/system/limits`: the limits on the calls of a namespace and its functions, and how they are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Call, Endpoint
from hilbert.api.problems import RESERVED_READ
from hilbert.control.call_policy import usable_limits
from hilbert.control.limits.keeper import LimitUse
from hilbert.core import errors
from hilbert.core.identity import Action, Resource
from hilbert.core.limits import CallLimits, Scope
from hilbert.iam.rights import may
from hilbert.wire.limits import LimitStatus


async def list_limits(call: Call) -> Answer:
    namespace = call.namespace
    given: list[tuple[Scope, CallLimits]] = []
    if (own := usable_limits(namespace.annotations)) is not None:
        given.append(((str(namespace.name), ""), own))
    for status in await call.services.provider.list(namespace.name):
        limits = usable_limits(status.spec.annotations)
        if limits is not None and may(call.caller, Action.FUNCTION_LIST, Resource(namespace.name, status.spec.ref)):
            given.append(((str(namespace.name), str(status.spec.ref.name)), limits))
    uses = call.services.limits.uses() if call.services.limits is not None else {}
    return json([line for scope, limits in given for line in _lines(scope, limits, uses)])


def _lines(scope: Scope, limits: CallLimits, uses: Mapping[Scope, LimitUse]) -> Iterable[LimitStatus]:
    use = uses.get(scope)
    namespace, name = scope
    raised_by = "owner" if name else "administrator"
    if limits.rate:
        yield LimitStatus(
            namespace=namespace,
            function=name,
            limit="rate",
            value=limits.rate,
            burst=limits.burst,
            used=use.rate if use else 0.0,
            refused=use.refused_rate if use else 0,
            raised_by=raised_by,
        )
    if limits.concurrency:
        yield LimitStatus(
            namespace=namespace,
            function=name,
            limit="concurrency",
            value=limits.concurrency,
            burst=0,
            used=use.inflight if use else 0,
            refused=use.refused_concurrency if use else 0,
            raised_by=raised_by,
        )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/limits",
        handler=list_limits,
        access=Action.FUNCTION_LIST,
        target=targets.namespace(),
        group="Namespaces",
        summary="List the limits on the calls of a namespace and of its functions, and how they are used",
        query=(NAMESPACE,),
        answer=list[LimitStatus],
        errors=(errors.BackendUnavailable,),
        retold=RESERVED_READ,
    ),
)
