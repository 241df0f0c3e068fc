"""Connections to one upstream address that wait for their next request."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, Protocol

from hilbert.kit.http1.client import ClientConnection
from hilbert.kit.http1.outbox import UNHELD, Outbox, Unheld
from hilbert.kit.http1.timers import TimerWheel

IDLE_TIME: Final = 30.0
"""Seconds for which a connection waits for its next request."""
MOST_IDLE: Final = 256
"""Connections to one address that wait."""


class Dialing(Protocol):
    """Connects to what is in other networks (`kit.inside`)."""

    async def dial(self, place: str) -> socket.socket:
        """A connection to `PATH:REPLICA:PORT`. Raises `OSError`."""
        ...

    def forget(self, place: str) -> None:
        """It will not be asked for any more."""
        ...


class Pool:
    """Connections to one upstream address: `unix:/path`, `tcp:host:port`, or `inside:PATH:REPLICA:PORT`."""

    __slots__ = (
        "_closed",
        "_crowded",
        "_dialer",
        "_idle",
        "_idle_time",
        "_loop",
        "_most_idle",
        "_wheel",
        "address",
        "outbox",
    )

    def __init__(
        self,
        address: str,
        wheel: TimerWheel,
        *,
        idle_time: float = IDLE_TIME,
        most_idle: int = MOST_IDLE,
        crowded: int = 0,
        dialer: Dialing | None = None,
        outbox: Outbox | Unheld = UNHELD,
    ) -> None:
        """A connection whose descriptor has a number above `crowded` is not kept: many are open then. 0 is no such bound."""
        self._crowded = crowded
        self._dialer = dialer
        self.outbox = outbox
        self.address = address
        self._wheel = wheel
        self._idle_time = idle_time
        self._most_idle = most_idle
        self._idle: list[ClientConnection] = []
        self._closed = False
        self._loop = wheel.loop

    def take(self) -> ClientConnection | None:
        """An idle connection, the one used last, or None."""
        while self._idle:
            connection = self._idle.pop()
            if connection.open and not connection.transport.is_closing():
                return connection
        return None

    def take_certain(self) -> ClientConnection | None:
        """The same, for a request that could not be sent again: one that its far end has not closed, at the price of a system call."""
        while (connection := self.take()) is not None:
            if not connection.looks_closed():
                return connection
            connection.cut()
        return None

    async def connect(self, *, highest: int = 0) -> ClientConnection:
        """A new connection. Raises `OSError`: EMFILE, if its descriptor would have a number above `highest`, unless that is 0."""
        if highest and _next_descriptor() > highest:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        kind, _, place = self.address.partition(":")
        if kind == "unix":
            _, connection = await self._loop.create_unix_connection(lambda: ClientConnection(self), place)
        elif kind == "inside":
            if self._dialer is None:
                raise ConnectionError("nobody here can reach into another network")
            sock = await self._dialer.dial(place)
            _, connection = await self._loop.create_connection(lambda: ClientConnection(self), sock=sock)
        else:
            host, _, port = place.rpartition(":")
            _, connection = await self._loop.create_connection(
                lambda: ClientConnection(self), host.strip("[]"), int(port)
            )
        if self._crowded:
            connection.crowded = connection.transport.get_extra_info("socket").fileno() > self._crowded
        return connection

    def release(self, connection: ClientConnection) -> None:
        """Take a connection back that is free."""
        if self._closed or connection.crowded or len(self._idle) >= self._most_idle:
            connection.transport.close()
            return
        connection.deadline = deadline = self._loop.time() + self._idle_time
        if not 0 < connection.wheel_due <= deadline:
            self._wheel.watch(connection)
        self._idle.append(connection)

    def now(self) -> float:
        return self._loop.time()

    def watch(self, connection: ClientConnection, seconds: float) -> None:
        """Set a connection's deadline, `seconds` from now."""
        connection.deadline = deadline = self._loop.time() + seconds
        if not 0 < connection.wheel_due <= deadline:
            self._wheel.watch(connection)

    def lost(self, connection: ClientConnection) -> None:
        """A connection is gone. If it was idle, it is no more; in use, it is its listener's matter."""
        self._wheel.forget(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close the idle connections; those in use close when they are done."""
        self._closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.transport.close()
        kind, _, place = self.address.partition(":")
        if kind == "inside" and self._dialer is not None:
            self._dialer.forget(place)


def _next_descriptor() -> int:
    """The number that the next descriptor will have, or one that is too high if there is none."""
    try:
        number = os.open("/", os.O_PATH)
    except OSError:
        return 1 << 30
    os.close(number)
    return number
