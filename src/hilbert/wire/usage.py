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
