"""What containers wrote: one list of lines for each start."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime

_MOST_LINES = 20_000


class PodLog:
    """The logs of one Pod's container."""

    def __init__(self) -> None:
        self.starts: list[list[tuple[datetime, str]]] = []
        self._more = asyncio.Event()
        self.ended = False

    def begin(self) -> None:
        """A new start of the container."""
        self.starts.append([])
        self._wake()

    def write(self, line: str, *, end: str = "\n", at: datetime | None = None) -> None:
        """Add a line, of now or of `at`."""
        if not self.starts:
            self.starts.append([])
        lines = self.starts[-1]
        lines.append((at or datetime.now(UTC), line + end))
        if len(lines) > _MOST_LINES:
            del lines[: _MOST_LINES // 2]
        self._wake()

    def tail(self) -> str:
        """The end of the last start's lines, as much as a termination message may hold."""
        lines = self.starts[-1] if self.starts else []
        return "".join(text for _, text in lines[-80:])[-2048:]

    def end(self) -> None:
        self.ended = True
        self._wake()

    def _wake(self) -> None:
        more, self._more = self._more, asyncio.Event()
        more.set()

    async def follow(self, start: int, at: int) -> AsyncIterator[tuple[datetime, str]]:
        """Lines of one start from `at` on, until the next start or the end."""
        while True:
            more = self._more
            lines = self.starts[start]
            while at < len(lines):
                yield lines[at]
                at += 1
            if self.ended or start < len(self.starts) - 1:
                return
            await more.wait()
