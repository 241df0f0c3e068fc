"""What limits cost a call in the worker: where none is set, and where some are."""

from __future__ import annotations

import timeit
from time import monotonic

from bench import load
from bench.report import Section
from hilbert.core.limits import CallLimits
from hilbert.dataplane.gates import Gate, enter, leave
from hilbert.dataplane.overload import Overload

_CALLS = 20_000
_NO_LIMIT, _LIMIT = 0.5, 1.0
"""Aims, in microseconds a call."""


def section(*, rounds: int) -> Section:
    """By loops around what a call does for its limits, and nothing else."""
    found = Section(
        "Cost of limits",
        f"What a call does in the worker for limits, from its head to its end, {_CALLS:,} times in a loop; the loop itself is taken off. "
        "Least of all rounds, since others only add to it.",
        ["limits", "µs/call", "aim"],
    )
    every = CallLimits(1e6, 1_000_000, 1000)
    costs = []
    for title, given, aim in (
        ("none", (), _NO_LIMIT),
        ("rate and calls at once of the namespace", (("dev", ""),), _LIMIT),
        ("the same of namespace and function", (("dev", ""), ("dev", "f")), 2 * _LIMIT),
    ):
        gates = tuple(Gate(scope, every, [], workers=1, now=0.0) for scope in given)
        cost = min(_seconds(gates) for _ in range(rounds)) / _CALLS * 1e6
        costs.append((title, cost, aim))
        found.rows.append((title, f"{cost:.2f}", f"{aim:g}"))
    missed = [title for title, cost, aim in costs if cost > aim]
    found.findings.append("Every aim is met." if not missed else f"Missed: {', '.join(missed)}.")
    return found


def _seconds(gates: tuple[Gate, ...]) -> float:
    overload = Overload(10_000, dict)

    def calls() -> None:
        for _ in range(_CALLS):
            if overload.under_way >= overload.begins:
                raise AssertionError("nobody else calls")
            if gates and enter(gates, monotonic()) is not None:
                raise AssertionError("the limits are high")
            overload.under_way += 1
            overload.under_way -= 1
            if gates:
                leave(gates)

    def nothing() -> None:
        for _ in range(_CALLS):
            pass

    return load.median([timeit.timeit(calls, number=1) - timeit.timeit(nothing, number=1) for _ in range(3)])
