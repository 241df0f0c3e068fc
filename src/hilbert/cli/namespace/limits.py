"""`limits`: the limits of a namespace and its functions, and how they are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, note, out
from hilbert.cli.terminal.wording import size_text
from hilbert.wire.limits import LimitStatus

_A_SECOND: Final = frozenset({"rate", "api-writes", "log-bytes"})
_BYTES: Final = frozenset({"held-bytes", "log-bytes", "queued-bytes"})


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
    for line in rows(found):
        out(harmless(line))


def rows(found: Sequence[LimitStatus]) -> Iterable[str]:
    """A table, with its title."""
    title = ("SCOPE", "LIMIT", "VALUE", "USED", "REFUSED", "RAISED BY")
    return columns([title, *(_row(limit) for limit in found)])


def _row(limit: LimitStatus) -> tuple[str, ...]:
    scope = f"{limit.function}.{limit.namespace}" if limit.function else limit.namespace
    value = _amount(limit.limit, limit.value) + (" a second" if limit.limit in _A_SECOND else " at once")
    if limit.burst and limit.burst != limit.value:
        value += f", {limit.burst} together"
    used = "-" if limit.used is None else _amount(limit.limit, limit.used)
    who = "its owner" if limit.raised_by == "owner" else "an administrator"
    return scope, limit.limit, value, used, str(limit.refused), who


def _amount(name: str, value: float) -> str:
    return size_text(int(value)) if name in _BYTES else f"{value:.12g}"
