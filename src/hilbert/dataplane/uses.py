"""What each call has used, where the platform tells somebody of every call: kept until the control process has it on its disk."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from hilbert.dataplane.feed.messages import CallUsed, Used

MOST: Final = 100_000
"""Calls that are kept while the control process is away. What comes beyond is lost, and counted."""
BATCH: Final = 5_000
"""Calls in one message."""


class Uses:
    """One worker's."""

    def __init__(self, *, most: int = MOST) -> None:
        self._most = most
        self._new: list[CallUsed] = []
        self._sent: deque[Used] = deque()
        self._number = 0
        self._held = 0
        self._lost = 0

    def add(self, call: CallUsed) -> None:
        """A call has ended."""
        if self._held >= self._most:
            self._lost += 1
            return
        self._held += 1
        self._new.append(call)

    def take(self) -> Iterator[Used]:
        """What has come since the last time, to be sent."""
        while self._new or self._lost:
            batch, self._new = self._new[:BATCH], self._new[BATCH:]
            self._number += 1
            message = Used(self._number, batch, self._lost)
            self._lost = 0
            self._sent.append(message)
            yield message

    def unkept(self) -> Sequence[Used]:
        """What was sent, and is not known to be kept: to be sent again over a new connection."""
        return list(self._sent)

    def kept(self, number: int) -> None:
        """The control process has all up to this message."""
        while self._sent and self._sent[0].number <= number:
            self._held -= len(self._sent.popleft().calls)
