"""`/system/usage`: what each namespace has used, by day."""

from __future__ import annotations

import re
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Call, Endpoint, Query, Target, anywhere
from hilbert.control.usage import Use
from hilbert.core import errors
from hilbert.core.errors import Invalid
from hilbert.core.identity import PLATFORM, Action, Resource
from hilbert.core.values import parse_namespace_name
from hilbert.iam.rights import may
from hilbert.wire.usage import UsageDay

NAMESPACE: Final = Query("namespace", "Only this namespace; by default, all that the caller may see.")
FIRST: Final = Query("from", "Only from this day on, such as `2026-01-31`.")
LAST: Final = Query("to", "Only up to this day.")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


async def read_usage(call: Call) -> Answer:
    wanted, first, last = call.query(NAMESPACE), _day(call, FIRST), _day(call, LAST)
    found: list[UsageDay] = []
    for former, days in enumerate(await call.services.read_usage()):
        if former and not may(call.caller, Action.USAGE_READ, PLATFORM):
            break
        found += [
            _row(day, name, use, former=bool(former))
            for day, spaces in days.items()
            if (not first or day >= first) and (not last or day <= last)
            for name, use in spaces.items()
            if wanted in ("", name) and may(call.caller, Action.USAGE_READ, Resource(parse_namespace_name(name)))
        ]
    return json(sorted(found, key=lambda row: (row.day, row.namespace, row.former)))


def _row(day: str, namespace: str, use: Use, *, former: bool) -> UsageDay:
    return UsageDay(
        day=day,
        namespace=namespace,
        calls=use.calls,
        seconds=round(use.seconds, 6),
        gb_seconds=round(use.gb_seconds, 6),
        cpu_seconds=round(use.cpu_seconds, 6),
        bytes_in=use.received,
        bytes_out=use.sent,
        former=former,
    )


async def _target(call: Call) -> Target:
    """A namespace that is gone, too: what it has used is still owed."""
    if not call.query(NAMESPACE):
        return await anywhere(call)
    name = parse_namespace_name(call.query(NAMESPACE))
    return Target(Resource(name), absent=call.services.tenancy.absent(name))


def _day(call: Call, parameter: Query) -> str:
    text = call.query(parameter)
    if text and not _DAY.fullmatch(text):
        raise Invalid(f"{parameter.name}: must be a day like 2026-01-31")
    return text


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/usage",
        handler=read_usage,
        access=Action.USAGE_READ,
        target=_target,
        group="Audit and usage",
        summary="Read what each namespace has used, by day",
        query=(NAMESPACE, FIRST, LAST),
        answer=list[UsageDay],
        errors=(errors.BackendUnavailable, errors.Invalid, errors.NamespaceNotFound, errors.Unsupported),
    ),
)
