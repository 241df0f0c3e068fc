"""Where the route table goes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from hilbert.core.model import Route
from hilbert.core.values import FunctionRef


class RouteSink(Protocol):
    """Takes the route table, whole first and then line by line. Never blocks; never fails."""

    def reset(self, routes: Iterable[Route]) -> None:
        """Replace the whole table."""
        ...

    def put(self, route: Route) -> None:
        """Add or replace one line."""
        ...

    def drop(self, ref: FunctionRef) -> None:
        """Remove one line. Absence is success."""
        ...
