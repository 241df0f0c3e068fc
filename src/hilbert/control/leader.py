"""Leadership where there is only one gateway."""

from __future__ import annotations

from collections.abc import Callable


class SoleLeader:
    """The `Leader` of an installation on one host: always leads."""

    def __init__(self) -> None:
        self.on_change: list[Callable[[bool], None]] = []

    @property
    def leads(self) -> bool:
        return True

    async def wait(self) -> None:
        return
