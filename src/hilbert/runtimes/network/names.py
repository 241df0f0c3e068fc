"""In the keeper: a name server inside each replica, which passes questions on to this machine's own.

What this machine asks may listen on its loopback or in a private network, where no replica can reach it.
"""

from __future__ import annotations

import contextlib
import random
import selectors
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

Address = tuple[str, int]

_PORT: Final = 53
QUESTION_MOST: Final = 4096
"""Bytes of a datagram, either way."""
PENDING_MOST: Final = 64
"""Questions of one replica that wait for their answer; more are dropped, and asked again by whoever asked."""
RATE_MOST: Final = 1000
"""Questions of one replica in a second; more wait in the kernel's buffer until the next look at what is late."""
STREAMS_MOST: Final = 8
"""TCP connections of one replica to its name server."""
ANSWER_MOST: Final = 10.0
"""Seconds for an answer, or for the next bytes of a connection."""
_PIECE: Final = 65536


def name_servers(path: Path = Path("/etc/resolv.conf")) -> list[str]:
    """Those of this machine, in order; its own loopback where there are none (resolv.conf(5))."""
    found = []
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[0] == "nameserver":
                found.append(words[1])
    return found or ["127.0.0.1"]


class NameServer:
    """Of one replica. Everything it holds is bounded, and forgotten after some seconds."""

    def __init__(
        self, datagrams: socket.socket, streams: socket.socket, selector: selectors.BaseSelector,
        *, servers: Callable[[], list[str]] = name_servers, descriptors: int = 1024,
    ) -> None:  # fmt: skip
        """Takes over both sockets, the second one listening. `descriptors` is how many of this process may be open for questions."""
        self._datagrams = datagrams
        self._listener = streams
        self._selector = selector
        self._servers = servers
        self._descriptors = descriptors
        self._second, self._asked = 0, 0
        """The second that it is, and the questions in it."""
        self._resting = False
        """Questions are left in the kernel's buffer."""
        self._open: dict[socket.socket, float] = {}
        """Sockets of questions and connections under way, with the time at which they are given up."""
        self._pairs: dict[socket.socket, socket.socket] = {}
        for sock in (datagrams, streams):
            sock.setblocking(False)
        selector.register(datagrams, selectors.EVENT_READ, self._question)
        selector.register(streams, selectors.EVENT_READ, self._connection)

    def close(self) -> None:
        if not self._resting:
            self._selector.unregister(self._datagrams)
        self._selector.unregister(self._listener)
        self._datagrams.close()
        self._listener.close()
        for sock in list(self._open):
            self._drop(sock)

    def tidy(self, now: float) -> None:
        """Give up what is late, and take questions again."""
        if self._resting and int(now) != self._second:
            self._resting = False
            self._selector.register(self._datagrams, selectors.EVENT_READ, self._question)
        for sock, due in list(self._open.items()):
            if due <= now:
                self._drop(sock)

    def _question(self) -> None:
        try:
            question, asker = self._datagrams.recvfrom(QUESTION_MOST)
        except OSError:
            return
        now = time.monotonic()
        if int(now) != self._second:
            self._second, self._asked = int(now), 0
        self._asked += 1
        if self._asked >= RATE_MOST:
            self._resting = True
            self._selector.unregister(self._datagrams)
        if len(self._open) - len(self._pairs) >= PENDING_MOST:
            return
        # A socket for each question: its random port is what keeps a stranger from answering in the server's place.
        upstream = self._towards(random.choice(self._servers()[:2]), socket.SOCK_DGRAM)  # noqa: S311 - spreading
        if upstream is None:
            return
        with contextlib.suppress(OSError):
            upstream.send(question)
        self._open[upstream] = now + ANSWER_MOST
        self._selector.register(upstream, selectors.EVENT_READ, lambda: self._answer(upstream, asker))

    def _answer(self, upstream: socket.socket, asker: Address) -> None:
        with contextlib.suppress(OSError):
            self._datagrams.sendto(upstream.recv(_PIECE), asker)
        self._drop(upstream)

    def _connection(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        upstream = (
            self._towards(self._servers()[0], socket.SOCK_STREAM) if len(self._pairs) < 2 * STREAMS_MOST else None
        )
        if upstream is None:
            client.close()
            return
        for here, there in ((client, upstream), (upstream, client)):
            self._pairs[here] = there
            self._open[here] = time.monotonic() + ANSWER_MOST
            self._selector.register(here, selectors.EVENT_READ, lambda here=here: self._pass_on(here))

    def _pass_on(self, source: socket.socket) -> None:
        """Questions and answers are small: one that does not fit into the other side's buffer ends the connection."""
        target = self._pairs[source]
        try:
            data = source.recv(_PIECE)
            if data and target.send(data) == len(data):
                self._open[source] = self._open[target] = time.monotonic() + ANSWER_MOST
                return
        except OSError:
            pass
        self._drop(source)

    def _towards(self, server: str, kind: socket.SocketKind) -> socket.socket | None:
        try:
            sock = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
        except OSError:
            return None
        if sock.fileno() > self._descriptors:  # The kernel gives the lowest number that is free.
            sock.close()
            return None
        sock.setblocking(False)
        try:
            sock.connect((server, _PORT))
        except BlockingIOError:
            pass
        except (OSError, ValueError):
            sock.close()
            return None
        return sock

    def _drop(self, sock: socket.socket) -> None:
        other = self._pairs.pop(sock, None)
        for end in (sock, other):
            if end is not None and self._open.pop(end, None) is not None:
                self._pairs.pop(end, None)
                self._selector.unregister(end)
                end.close()
