"""`/system/audit`: what was changed and refused. An owner sees what concerns its namespace."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

from hilbert.api.asgi import Answer, json
from hilbert.api.endpoint import Call, Endpoint, Query, Target, anywhere
from hilbert.audit.ports import Wanted
from hilbert.audit.record import moment
from hilbert.core import errors
from hilbert.core.errors import Invalid
from hilbert.core.identity import PLATFORM, Action, Resource
from hilbert.core.values import parse_namespace_name
from hilbert.iam.rights import may
from hilbert.wire.audit import AuditLine, AuditPage

MOST: Final = 1000
"""Records in one answer."""

NAMESPACE: Final = Query("namespace", "Only records about this namespace; by default, all that the caller may see.")
ACTOR: Final = Query("actor", "Only this identity, name or token id.")
ACTION: Final = Query("action", "Only this action, such as `Function:Delete`, or `Function:*`.")
REFUSED: Final = Query("refused", "`true`: only what was refused.")
SINCE: Final = Query("since", "Only at or after this time (RFC 3339).")
UNTIL: Final = Query("until", "Only before this time (RFC 3339).")
AFTER: Final = Query(
    "after", "Only lines after this number, oldest first. To follow the log, pass `next` from the previous answer."
)
BEFORE: Final = Query("before", "Only lines with smaller numbers, to page backwards.")
LIMIT: Final = Query("limit", f"At most this many records, up to {MOST}; 100 if absent.")

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[-+][0-9]{2}:[0-9]{2})"
)


async def read_audit(call: Call) -> Answer:
    caller, name = call.caller, call.query(NAMESPACE)
    page = await call.services.audit.read(
        Wanted(
            limit=call.whole(LIMIT, 100, least=1, most=MOST),
            namespace=name,
            actor=call.query(ACTOR),
            action=call.query(ACTION),
            refused=call.flag(REFUSED),
            since=_moment(call, SINCE),
            until=_moment(call, UNTIL),
            after=call.whole(AFTER, 0),
            before=call.whole(BEFORE, 0),
            sees=lambda namespace: may(caller, Action.AUDIT_READ, Resource(parse_namespace_name(namespace))),
            sees_all=may(caller, Action.AUDIT_READ, PLATFORM),
        )
    )
    lines = [AuditLine(seq=seq, record=record) for seq, record in page.lines]
    return json(AuditPage(lines=lines, next=page.next, complete=page.complete))


async def _target(call: Call) -> Target:
    """A namespace that is gone, too: what was done to it is still there."""
    if not call.query(NAMESPACE):
        return await anywhere(call)
    name = parse_namespace_name(call.query(NAMESPACE))
    return Target(Resource(name), absent=call.services.tenancy.absent(name))


def _moment(call: Call, parameter: Query) -> str:
    """As records have it, so that texts compare. Raises `Invalid`."""
    text = call.query(parameter)
    if not text:
        return ""
    try:
        if not _RFC3339.fullmatch(text):
            raise ValueError
        return moment(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError):
        raise Invalid(f"{parameter.name}: must be a time like 2006-01-02T15:04:05Z") from None


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path="/system/audit",
        handler=read_audit,
        access=Action.AUDIT_READ,
        target=_target,
        group="Audit and usage",
        summary="Read what was changed and refused, as far as the caller may see it",
        query=(NAMESPACE, ACTOR, ACTION, REFUSED, SINCE, UNTIL, AFTER, BEFORE, LIMIT),
        answer=AuditPage,
        errors=(errors.Invalid, errors.NamespaceNotFound, errors.Unsupported),
    ),
)
