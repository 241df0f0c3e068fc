"""`queues`: what waits, runs and was given up, by function."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from hilbert.cli.frame.flags import HERE, PLAIN, Connection, Shape, flag
from hilbert.cli.gateway.target import connect
from hilbert.cli.terminal.document import write_document
from hilbert.cli.terminal.output import columns, harmless, out
from hilbert.cli.terminal.wording import age_text, size_text


def queues(
    *,
    namespace: Annotated[str, flag("Only this namespace; by default, all that you may see.", "--namespace", "-n")] = "",
    at: Connection = HERE,
    shape: Shape = PLAIN,
) -> None:
    with connect(at) as client:
        found = client.list_queues(namespace)
    if shape.format != "table":
        write_document(found, shape.format)
        return
    now = datetime.now(UTC)
    rows = [("NAMESPACE", "FUNCTION", "PENDING", "OLDEST", "IN FLIGHT", "PER MINUTE", "DEAD", "SIZE")]
    rows += [
        (
            queue.namespace,
            queue.function,
            str(queue.pending),
            age_text((now - queue.oldest_at).total_seconds()) if queue.oldest_at is not None else "",
            str(queue.in_flight),
            str(queue.finished_per_minute),
            str(queue.dead),
            size_text(queue.bytes),
        )
        for queue in found
    ]
    for line in columns(rows):
        out(harmless(line))
