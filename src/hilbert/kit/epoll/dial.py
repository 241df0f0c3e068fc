"""Connections to a server, on the small event loop."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from hilbert.kit.epoll.transport import Transport

if TYPE_CHECKING:
    import asyncio

    from hilbert.kit.epoll.interface import Loop

Place = tuple[socket.AddressFamily, Any]
"""A family, and an address of it as `socket.connect` takes it."""

_PAUSE: Final = 0.005
"""Seconds between two tries at a unix socket whose queue is full: the kernel tells nobody when there is room."""
_TRIES: Final = 1000


def places(host: str, port: int) -> list[Place]:
    """Where a name leads. Looking it up may block; an address is none to look up. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def dial(
    loop: Loop,
    where: Sequence[Place],
    protocol: asyncio.Protocol,
    then: Callable[[OSError | None], None],
) -> None:
    """Connect `protocol` to the first of `where` that takes a connection, and call `then`: with the last error, if none does."""
    _Dialing(loop, where, protocol, then).go_on(OSError("there is no address"))


class _Dialing:
    """One connection that is being made."""

    def __init__(
        self,
        loop: Loop,
        where: Sequence[Place],
        protocol: asyncio.Protocol,
        then: Callable[[OSError | None], None],
    ) -> None:
        self._loop = loop
        self._places = list(where)
        self._protocol = protocol
        self._then = then
        self._tries = 0

    def go_on(self, error: OSError) -> None:
        """Try the next place; `error` is what came of the one before."""
        while self._places:
            family, address = self._places.pop(0)
            try:
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as exc:
                error = exc
            else:
                self._tries = 0
                self._try(sock, address)
                return
        self._then(error)

    def _try(self, sock: socket.socket, address: Any) -> None:
        try:
            sock.connect(address)
        except BlockingIOError as exc:
            if sock.family != socket.AF_UNIX:
                self._loop.add_writer(sock.fileno(), self._answered, sock)
                return
            self._tries += 1
            if self._tries < _TRIES:
                self._loop.call_later(_PAUSE, self._try, sock, address)
                return
            self._failed(sock, exc)
        except OSError as exc:
            self._failed(sock, exc)
        else:
            self._connected(sock)

    def _answered(self, sock: socket.socket) -> None:
        self._loop.remove_writer(sock.fileno())
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._failed(sock, OSError(number, os.strerror(number)))
        else:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connected(sock)

    def _connected(self, sock: socket.socket) -> None:
        Transport(self._loop, sock, self._protocol)
        self._then(None)

    def _failed(self, sock: socket.socket, error: OSError) -> None:
        sock.close()
        self.go_on(error)
