"""`usage`: what each namespace has used, by day."""

from __future__ import annotations

from typing import Annotated

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape, flag
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out


def usage(
    *,
    namespace: Annotated[str, flag("Only this namespace.", "--namespace", "-n")] = "",
    first: Annotated[str, flag("Only from this day on, such as 2026-01-31.", "--from")] = "",
    last: Annotated[str, flag("Only up to this day.", "--to")] = "",
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    with connect(at) as client:
        found = client.usage(namespace=namespace, first=first, last=last)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    rows = [("DAY", "NAMESPACE", "CALLS", "SECONDS", "GB-SECONDS", "CPU-SECONDS", "BYTES IN", "BYTES OUT")]
    rows += [
        (
            one.day,
            f"{one.namespace} (deleted)" if one.former else one.namespace,
            str(one.calls),
            f"{one.seconds:.3f}",
            f"{one.gb_seconds:.3f}",
            f"{one.cpu_seconds:.3f}",
            str(one.bytes_in),
            str(one.bytes_out),
        )
        for one in found
    ]
    for line in columns(rows):
        out(harmless(line))
