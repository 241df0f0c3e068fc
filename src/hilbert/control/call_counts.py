"""What the data plane counts, as the control plane reads it: totals over all workers that never go backwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from hilbert.core.ports import Counted
from hilbert.core.values import FunctionRef


class CodeTotals(Protocol):
    """Finished calls of one function with one status code."""

    @property
    def count(self) -> int: ...

    @property
    def seconds(self) -> float:
        """Sum of their durations."""
        ...

    @property
    def buckets(self) -> Sequence[int]:
        """How many took at most as long as each bound of `CallTotals.bounds`: cumulative, one for each bound."""
        ...


class FunctionTotals(Protocol):
    """Calls of one function."""

    @property
    def started(self) -> int: ...

    @property
    def inflight(self) -> int:
        """Now, waiting ones included."""
        ...

    @property
    def waiting(self) -> int:
        """Now: calls that wait for a replica."""
        ...

    @property
    def cold_starts(self) -> int:
        """Calls that found the function at zero replicas."""
        ...

    @property
    def retries(self) -> int:
        """Calls that were given to a second replica."""
        ...

    @property
    def received(self) -> int:
        """Bytes of the bodies of requests."""
        ...

    @property
    def sent(self) -> int:
        """Bytes of the bodies of answers. What goes through a tunnel after an upgrade is in neither."""
        ...

    @property
    def codes(self) -> Mapping[int, CodeTotals]:
        """By status code."""
        ...


class WorkerTotals(Protocol):
    """One worker that is connected now."""

    @property
    def table_version(self) -> int: ...

    @property
    def table_size(self) -> int: ...

    @property
    def connections(self) -> int:
        """Open client connections."""
        ...


class CallTotals(Protocol):
    """The sum over all workers, those that are gone included. Reading it never waits."""

    @property
    def bounds(self) -> Sequence[float]:
        """Upper bounds of the duration buckets, in seconds, ascending, without infinity."""
        ...

    def functions(self) -> Mapping[FunctionRef, FunctionTotals]: ...

    def workers(self) -> Mapping[str, WorkerTotals]:
        """By the worker's name."""
        ...

    @property
    def route_drift(self) -> int:
        """How often a worker's table was found to differ from the control plane's."""
        ...


_REFUSED: Final = 429
"""What is answered above a limit of calls at once."""


def counted(totals: FunctionTotals) -> Counted:
    """What other gateways need to know of a function's calls."""
    refused = totals.codes[_REFUSED].count if _REFUSED in totals.codes else 0
    return Counted(finished(totals), totals.started, totals.inflight, totals.waiting, refused)


def finished(totals: FunctionTotals) -> int:
    """Finished calls, whatever their status."""
    return sum(code.count for code in totals.codes.values())


class NoCalls:
    """Totals of a platform without a data plane."""

    bounds: Sequence[float] = ()
    route_drift = 0

    def functions(self) -> Mapping[FunctionRef, FunctionTotals]:
        return {}

    def workers(self) -> Mapping[str, WorkerTotals]:
        return {}
