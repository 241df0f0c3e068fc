"""In the keeper: sockets of the replicas' own networks, for those who call what listens there (`hilbert.kit.inside`)."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

from hilbert.kit import handover
from hilbert.kit.inside import COUNT_MOST
from hilbert.runtimes.network.kept import Kept

MADE_AHEAD: Final = 24
"""Sockets that are made with a replica's network: for the first requests that ask how it is, and the first calls."""

Make = Callable[[Kept, Callable[[str, list[socket.socket]], None]], None]
"""Makes `COUNT_MOST` sockets in a replica's network, and gives them or says why not."""


class Sockets:
    """Answers the control process and the workers. What they ask for waits in their own sockets until it is their turn."""

    def __init__(
        self, path: Path, selector: selectors.BaseSelector, *, find: Callable[[str], Kept | None], make: Make
    ) -> None:
        """Listen at `path`. `find` gives a replica by its name. Raises `OSError`."""
        self._selector = selector
        self._find = find
        self._make = make
        self._listener = handover.listen(path)
        selector.register(self._listener, selectors.EVENT_READ, self._join)

    def _join(self) -> None:
        with contextlib.suppress(OSError):
            client, _ = self._listener.accept()
            client.setblocking(False)
            self._selector.register(client, selectors.EVENT_READ, lambda: self._hear(client))

    def _hear(self, client: socket.socket) -> None:
        try:
            message, descriptors = handover.receive(client)
        except BlockingIOError:
            return
        except OSError:
            message, descriptors = b"", []
        handover.close(descriptors)
        count, _, replica = message.decode(errors="replace").partition(" ")
        if not replica or not count.isdecimal():
            self._selector.unregister(client)
            client.close()
            return
        kept = self._find(replica)
        wanted = min(int(count), COUNT_MOST)
        if kept is None:
            _answer(client, replica, "its network is not known", [])
        else:
            kept.once_set_up(lambda: self._give(client, replica, kept, wanted))

    def _give(self, client: socket.socket, replica: str, kept: Kept, wanted: int) -> None:
        if len(kept.ahead) >= wanted:
            given, kept.ahead = kept.ahead[:wanted], kept.ahead[wanted:]
            _answer(client, replica, "", given)
        else:
            self._make(kept, lambda why, made: _answer(client, replica, why, made))


def _answer(client: socket.socket, replica: str, why: str, sockets: list[socket.socket]) -> None:
    """Takes over the sockets. One that asks without reading has its answer dropped."""
    with contextlib.suppress(OSError):
        handover.send(client, f"{replica} {why}".rstrip().encode(), [sock.fileno() for sock in sockets])
    for sock in sockets:
        sock.close()
