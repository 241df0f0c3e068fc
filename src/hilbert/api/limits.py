"""`/system/limits`: the limits of a namespace and its functions, and how they are used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from hilbert.api import targets
from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import NAMESPACE, Call, Endpoint
from hilbert.api.problems import RESERVED_READ
from hilbert.api.services import Services
from hilbert.control.call_policy import usable_limits
from hilbert.control.limits.keeper import LimitUse
from hilbert.core import errors
from hilbert.core.identity import Action, Resource
from hilbert.core.limits import (
    API_WRITES,
    LOG_BYTES,
    RATE,
    STARTS,
    WRITES_BURST,
    CallLimits,
    LogUse,
    Scope,
    TenantLimits,
)
from hilbert.core.model import Namespace
from hilbert.core.ports import CountsLogs, Provider
from hilbert.iam.rights import may
from hilbert.wire.limits import LimitStatus

_UNUSED: Final = LimitUse(CallLimits(), 0.0)


async def list_limits(call: Call) -> Answer:
    services, namespace = call.services, call.namespace
    logs = await log_uses(services.provider)
    uses = services.limits.uses() if services.limits is not None else {}
    lines = [
        *_of_calls((str(namespace.name), ""), namespace.annotations, uses),
        *of_tenant(services, namespace),
        *of_logs((str(namespace.name), ""), namespace.annotations, logs),
        *await _of_queue(services, namespace),
    ]
    for status in await services.provider.list(namespace.name):
        spec = status.spec
        if may(call.caller, Action.FUNCTION_LIST, Resource(namespace.name, spec.ref)):
            scope = (str(namespace.name), str(spec.ref.name))
            lines += _of_calls(scope, spec.annotations, uses)
            lines += of_logs(scope, spec.annotations, logs)
    return json(lines)


def _of_calls(scope: Scope, annotations: Mapping[str, str], uses: Mapping[Scope, LimitUse]) -> Iterable[LimitStatus]:
    limits = usable_limits(annotations)
    if limits is None:
        return
    use = uses.get(scope, _UNUSED)
    if limits.rate:
        yield _line(scope, RATE, limits.rate, use.rate, use.refused.get(RATE, 0), burst=limits.burst)
    for name, most in limits.places().items():
        yield _line(scope, name, most, use.used.get(name, 0), use.refused.get(name, 0))


def of_tenant(services: Services, namespace: Namespace) -> Iterable[LimitStatus]:
    """What a namespace alone can have, and this gateway counts."""
    limits = TenantLimits.usable(namespace.annotations)
    scope = (str(namespace.name), "")
    if limits.starts:
        yield _line(scope, STARTS, limits.starts, *services.starts.used(namespace.name))
    if limits.api_writes:
        used, refused = services.writes.used(namespace.name, limits.api_writes)
        burst = max(1, round(limits.api_writes * WRITES_BURST))
        yield _line(scope, API_WRITES, limits.api_writes, round(used, 3), refused, burst=burst)


class LogUses(msgspec.Struct, frozen=True):
    """What is known of limits on logs."""

    held: bool
    """The provider holds replicas to them."""
    known: Mapping[Scope, LogUse] | None = None
    """None: nobody can tell now."""


async def log_uses(provider: Provider) -> LogUses:
    return LogUses(True, await provider.log_uses()) if isinstance(provider, CountsLogs) else LogUses(False)


def of_logs(scope: Scope, annotations: Mapping[str, str], uses: LogUses) -> Iterable[LimitStatus]:
    """Where nobody holds replicas to it, there is no such limit."""
    most = TenantLimits.usable(annotations).log_bytes if uses.held else 0
    if not most:
        return
    if uses.known is None:
        yield _line(scope, LOG_BYTES, most, None, 0)
        return
    use = uses.known.get(scope, LogUse(0.0, 0))
    yield _line(scope, LOG_BYTES, most, use.rate, use.waited)


async def _of_queue(services: Services, namespace: Namespace) -> Iterable[LimitStatus]:
    if services.intake is None:
        return ()
    bounds = services.intake.rooms.room({}, namespace.annotations).bounds
    counts = [one for one in await services.intake.queue.counts() if one.ref.namespace == namespace.name]
    scope = (str(namespace.name), "")
    return (
        _line(scope, "queued", bounds.namespace_calls, sum(one.queued + one.running + one.dead for one in counts), 0),
        _line(scope, "queued-bytes", bounds.namespace_bytes, sum(one.size for one in counts), 0),
    )


def _line(scope: Scope, name: str, value: float, used: float | None, refused: int, *, burst: int = 0) -> LimitStatus:
    namespace, function = scope
    return LimitStatus(
        namespace=namespace,
        function=function,
        limit=name,
        value=value,
        burst=burst,
        used=used,
        refused=refused,
        raised_by="owner" if function else "administrator",
    )


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/limits",
        handler=list_limits,
        access=Action.FUNCTION_LIST,
        target=targets.namespace(),
        group="Namespaces",
        summary="List the limits of a namespace and of its functions, and how they are used",
        query=(NAMESPACE,),
        answer=list[LimitStatus],
        errors=(errors.BackendUnavailable,),
        retold=RESERVED_READ,
    ),
)
