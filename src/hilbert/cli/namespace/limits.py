"""`limits`: the limits on calls of a namespace, and how they are used."""

from __future__ import annotations

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, note, out
from hilbert.wire.limits import LimitStatus


def limits(*, namespace: Namespace = "", at: Connection = HERE, shape: Shape = PLAIN) -> None:
    with connect(at) as client:
        found = client.list_limits(namespace)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    if not found:
        note(
            "No limits are set. An administrator sets them with annotations of the namespace: com.hilbert.limits.rate=50"
        )
        return
    rows = [("SCOPE", "LIMIT", "VALUE", "USED", "REFUSED", "RAISED BY"), *(_row(limit) for limit in found)]
    for line in columns(rows):
        out(harmless(line))


def _row(limit: LimitStatus) -> tuple[str, ...]:
    scope = f"{limit.function}.{limit.namespace}" if limit.function else limit.namespace
    value = f"{limit.value:g} a second" if limit.limit == "rate" else f"{limit.value:g} at once"
    if limit.burst and limit.burst != limit.value:
        value += f", {limit.burst} together"
    who = "its owner" if limit.raised_by == "owner" else "an administrator"
    return scope, limit.limit, value, f"{limit.used:g}", str(limit.refused), who
