"""Which connections and calls a worker takes: bounds on their number, for all and for each source.

A source is an IPv4 address or an IPv6 network of 64 bits. Behind a trusted proxy it is the address that the proxy names, and what is
counted are its calls, since the connections are the proxy's. Each worker counts for itself: the kernel spreads connections over the
workers, so that a source may have up to as many times more as there are workers.
"""

from __future__ import annotations

from time import monotonic
from typing import Final

import structlog

from hilbert.core.addresses import parse_address, source_of
from hilbert.dataplane.forwarded import TrustedProxies
from hilbert.kit.http1 import ServerConnection

SHARE: Final = 8
"""One source gets all but an eighth of a worker's room, unless a setting says how much."""

_SAY_EVERY: Final = 10.0
"""Seconds between two lines of log about connections that were turned away."""

_log = structlog.get_logger("hilbert.worker")


class Admission:
    """Counts the connections of one worker, and the calls that come through trusted proxies."""

    def __init__(self, *, most: int, most_of_source: int, descriptors: int, trusted: TrustedProxies) -> None:
        """`descriptors` is how many the process may have open; `most_of_source` 0 is a share of the room.

        A descriptor's number tells how many are open, since the kernel gives the lowest that is free. Five eighths are for clients
        and what they call, come who may; a quarter for sources that have less than their part; an eighth for replicas alone, and for
        the platform's own connections.
        """
        self._for_all = self.crowded = descriptors * 5 // 8
        self._for_few = descriptors * 7 // 8
        self.most = min(most, self._for_all)
        self.most_of_source = most_of_source or max(1, self.most - self.most // SHARE)
        self._trusted = trusted
        self._connections: dict[ServerConnection, str] = {}
        self._sources: dict[str, int] = {}
        self._turned_away = 0
        self._said_at = 0.0

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def connections(self) -> list[ServerConnection]:
        return list(self._connections)

    def admit(self, connection: ServerConnection) -> str:
        """Count a new connection. Returns why it must be turned away; empty if it need not be."""
        transport = connection.transport
        text = connection.peer.decode("ascii")
        source = source_of(text)
        if self._trusted and (peer := parse_address(text)) is not None and self._trusted.has(peer):
            source = ""
        if len(self._connections) >= self.most:
            return self._away(f"the gateway has {self.most} connections in each worker already", "max_connections")
        descriptor = transport.get_extra_info("socket").fileno()
        if descriptor > self._for_all and (descriptor > self._for_few or not self._has_little(source)):
            return self._away("the gateway is short of file descriptors", "max_connections, or the limit of open files")
        if source and not self.take(source):
            return self._away(f"your address has {self.most_of_source} connections already", "max_source_connections")
        self._connections[connection] = source
        return ""

    def trusts(self, connection: ServerConnection) -> bool:
        """Whether an admitted connection is a trusted proxy's."""
        return bool(self._trusted) and self._connections.get(connection) == ""

    def left(self, connection: ServerConnection) -> None:
        """A connection has closed."""
        source = self._connections.pop(connection, "")
        if source:
            self.give_back(source)

    def take(self, source: str) -> bool:
        """One more of a source. False: it has its share."""
        count = self._sources.get(source, 0)
        if count >= self.most_of_source:
            return False
        self._sources[source] = count + 1
        return True

    def give_back(self, source: str) -> None:
        """One less of a source."""
        count = self._sources.get(source, 0)
        if count > 1:
            self._sources[source] = count - 1
        else:
            self._sources.pop(source, None)

    def _has_little(self, source: str) -> bool:
        """Whether a source has less than half of an equal part."""
        return self._sources.get(source, 0) < self.most // (2 * (len(self._sources) + 1))

    def _away(self, why: str, setting: str) -> str:
        self._turned_away += 1
        now = monotonic()
        if now - self._said_at >= _SAY_EVERY or not self._said_at:
            self._said_at = now
            _log.warning("connections turned away", reason=why, count=self._turned_away)
            self._turned_away = 0
        return f"{why} (setting gateway.{setting})"
