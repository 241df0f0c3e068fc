"""`scaling`: how a function scales, and why its count is what it is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Annotated, Final

from hilbert.cli.frame.failures import Failed
from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Namespace, Shape, flag
from hilbert.cli.function.name import full_name, split_name
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import harmless, out
from hilbert.core.errors import FunctionNotFound
from hilbert.wire.scaling import Scaling, ScalingChange

_COLUMN: Final = 12
_EVERY: Final = 1.0
"""Seconds between two looks with `--watch`."""
_UNITS: Final = {
    "rps": "calls a second",
    "capacity": "calls at once",
    "cpu": "thousandths of a core",
    "queue": "queued calls",
}


def render_scaling(found: Scaling) -> Iterable[str]:
    """Lines of `scaling`."""
    blocks: list[tuple[str, list[str]]] = [
        ("Function", [f"{found.name}.{found.namespace}"]),
        ("Replicas", [f"{found.replicas}, of which {found.available} can be called"]),
        ("Rule", list(_rule(found))),
        (
            "Load",
            [f"{found.load:.6g}" + (f", which asks for {found.wanted}" if found.wanted is not None else "")]
            if found.load is not None
            else [],
        ),
        ("Now", [found.message]),
        ("Refused", [found.refused] if found.refused else []),
        ("Changes", [_change(one) for one in found.changes]),
    ]
    for title, lines in blocks:
        for number, line in enumerate(lines):
            yield f"{f'{title}:' if number == 0 else '':<{_COLUMN}}{line}"


def _rule(found: Scaling) -> Iterable[str]:
    rule = found.rule
    if rule is None:
        return
    if rule.type and rule.min != rule.max:
        unit = _UNITS.get(rule.type, rule.type)
        yield f"a replica for {rule.target * rule.proportion:.6g} {unit}, from {rule.min} to {rule.max} replicas"
    else:
        yield "its load does not change its count"
    if rule.down_window != "0s":
        yield f"down to the most that was needed in the last {rule.down_window}"
    if rule.zero:
        yield f"to zero after {rule.zero_after} without a call"


def _change(change: ScalingChange) -> str:
    return f"{change.at}  {change.before} -> {change.after}  {change.reason}: {change.message}"


def scaling(
    name: Annotated[str, flag("Function, or FUNCTION.NAMESPACE.")],
    /,
    *,
    namespace: Namespace = "",
    watch: Annotated[
        bool, flag("Keep running and show each change as it is made, until Ctrl-C.", "--watch", "-w")
    ] = False,
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    name, namespace = split_name(name, namespace)
    with connect(at) as client:
        try:
            found = client.get_scaling(name, namespace)
        except FunctionNotFound as exc:
            raise Failed(f"no such function: {full_name(name, namespace)}") from exc
        if shape.format != "table":
            write_document(found, shape.format)
        else:
            for line in render_scaling(found):
                out(harmless(line))
        told = found.changes
        while watch:
            time.sleep(_EVERY)
            found = client.get_scaling(name, namespace)
            for change in [one for one in found.changes if one not in told]:
                out(harmless(_change(change)))
            told = found.changes
