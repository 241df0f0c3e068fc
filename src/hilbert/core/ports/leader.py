"""Who does what only one gateway may do: scaling, schedules, delivery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Leader(Protocol):
    """Of any number of gateways on one installation, at most one leads at any moment.

    A gateway that can no longer prove its claim stops leading before another one can begin, so `leads` must be asked
    right before each act that must not happen twice. No method raises.
    """

    on_change: list[Callable[[bool], None]]
    """Called with the new value when leading begins or ends, on the event loop. Must not fail."""

    @property
    def leads(self) -> bool:
        """Whether this gateway leads now."""
        ...

    async def wait(self) -> None:
        """Until this gateway leads; returns at once while it does. May be cancelled at any time."""
        ...
