"""Whole messages that are sent a few at a time, at the latest when the event loop has gone once round its sockets.

A write to a process that sleeps wakes it, which costs the writer more than the write itself. Where messages go out one
by one, as fast as they are made, whoever reads them has gone back to sleep before the next; a few together wake it once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import asyncio

_MOST: Final = 16
"""Messages that wait for each other: more would only make the first one late."""


class Outbox:
    """Holds messages of many connections; shared by all of an event loop. Each message was read or made in one piece, so none is long.

    Whoever does anything else with a transport calls `flush` or `write`, so that nothing overtakes what is held.
    """

    __slots__ = ("_due", "_held", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._held: list[tuple[asyncio.Transport, bytes]] = []
        self._due = False
        """`flush` will be called at the end of this turn."""

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send soon."""
        held = self._held
        held.append((transport, data))
        if len(held) == 1:
            if not self._due:
                self._due = True
                self._loop.call_soon(self._end_of_turn)
        elif len(held) >= _MOST:
            self.flush()

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send now, and before it what is held."""
        if self._held:
            self.flush()
        transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        held, self._held = self._held, []
        for transport, data in held:
            transport.write(data)

    def _end_of_turn(self) -> None:
        self._due = False
        self.flush()


class Unheld:
    """An outbox that holds nothing: for loops whose transports gather what is written, and where nothing is gained."""

    __slots__ = ()

    def send(self, transport: asyncio.Transport, data: bytes) -> None:
        transport.write(data)

    write = send

    def flush(self) -> None: ...


UNHELD: Final = Unheld()
