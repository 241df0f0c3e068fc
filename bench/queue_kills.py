"""The queue under kills, at length."""

from __future__ import annotations

from bench.kills import run
from bench.report import Section


def section(*, rounds: int) -> Section:
    """Run `tests/e2e/queue`. Raises `KillsFailed`."""
    said = run("tests/e2e/queue", "queue: ", {"HILBERT_QUEUE_ROUNDS": str(rounds)})
    return Section(
        "Queue: kills",
        "`tests/e2e/queue`: in each round a worker, the control process, the supervisor or everything gets SIGKILL, chosen at random, "
        "while four clients queue calls, half of them with a key that is repeated until it is acknowledged. "
        "In the end, each call that got 202 must have run and have exactly one end.",
        (),
        findings=[f"{line}." for line in said],
    )
