"""What namespaces have used, on the wire: Hilbert's own part of the REST API."""

from __future__ import annotations

import msgspec


class UsageDay(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """One namespace on one day."""

    day: str
    """Of UTC, such as `2026-01-31`."""
    namespace: str
    calls: int
    """Finished ones, whatever their status."""
    seconds: float
    """From the arrival of each call to the end of its answer, the wait for a replica included."""
    gb_seconds: float
    """Seconds times the function's memory limit in GiB."""
    cpu_seconds: float = 0.0
    """CPU time of the functions' replicas, whether a call was under way or not."""
    bytes_in: int = 0
    """Of the bodies of requests."""
    bytes_out: int = 0
    """Of the bodies of answers."""
    former: bool = False
    """Of a namespace of this name that was deleted since. Only who may read the usage of all namespaces sees these."""
