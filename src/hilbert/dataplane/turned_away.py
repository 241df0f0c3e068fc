"""Calls that were refused because of who made them, for the audit log: told to the control process, a bounded number of them."""

from __future__ import annotations

from typing import Final

from hilbert.dataplane.feed.messages import Refusal, TurnedAway

MOST: Final = 50
"""Refusals of one worker that are told one by one, in a second under load; more are counted."""


class TurnedAwayCalls:
    """One worker's."""

    def __init__(self) -> None:
        self._calls: list[Refusal] = []
        self._more = 0

    def add(self, refusal: Refusal) -> None:
        if len(self._calls) < MOST:
            self._calls.append(refusal)
        else:
            self._more += 1

    def take(self) -> TurnedAway | None:
        """What has come since the last time."""
        if not self._calls:
            return None
        told = TurnedAway(self._calls, self._more)
        self._calls, self._more = [], 0
        return told
