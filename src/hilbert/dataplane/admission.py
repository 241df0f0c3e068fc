"""Which connections a worker takes: bounds on their number, for all and for each source.

A source is an IPv4 address or an IPv6 network of 64 bits. Behind a trusted proxy it is the address that the proxy names, and what is
counted are its calls, since the connections are the proxy's. Each worker counts for itself: the kernel spreads connections over the
workers, so that a source may have up to as many times more as there are workers.

When there is no room, a connection that waits for its client makes it: an idle one, or else one in the middle of a request; of the
source with the most connections the one that has waited longest. No source makes room for itself at the cost of one that has fewer.
"""

from __future__ import annotations

from math import inf
from time import monotonic
from typing import Final

import structlog

from hilbert.core.addresses import parse_address, source_of
from hilbert.dataplane.forwarded import TrustedProxies
from hilbert.dataplane.places import Places
from hilbert.kit.http1 import ServerConnection

_SAY_EVERY: Final = 10.0
"""Seconds between two lines of log about connections that were turned away."""

_LOOK_EVERY: Final = 0.25
"""Seconds between two looks at all connections for those that wait: a look costs time for each of them."""
_CANDIDATES: Final = 256
"""Connections that one look remembers."""
_STALLED: Final = 1.0
"""Seconds without a byte after which a connection in the middle of a request counts as waiting."""

_log = structlog.get_logger("hilbert.worker")


class Admission:
    """Counts the connections of one worker, and the calls that come through trusted proxies."""

    def __init__(self, *, most: int, most_of_source: int, descriptors: int, trusted: TrustedProxies) -> None:
        """`descriptors` is how many the process may have open; `most_of_source` 0 is a share of the room.

        A descriptor's number tells how many are open, since the kernel gives the lowest that is free. Five eighths are for clients,
        come who may, and another eighth for what they call; an eighth more is for clients that have less than their part, and all for
        what those call, and for the platform's own connections.
        """
        self.crowded = descriptors // 2
        """Above it no connection to an upstream is kept for the next call."""
        self._for_all = descriptors * 5 // 8
        self._for_calls = descriptors * 6 // 8
        self._for_few = descriptors * 7 // 8
        self._last = descriptors * 15 // 16
        self._places = Places(min(most, self._for_all), most_of_source)
        self.calls = Places(self._places.most, self._places.most_of_source)
        """Of sources behind trusted proxies."""
        self._trusted = trusted
        self._connections: dict[ServerConnection, str] = {}
        self._candidates: dict[ServerConnection, None] = {}
        """Those to end when there is no room, the first to go first, as far as a look has found them."""
        self._looked_at = 0.0
        self._turned_away = 0
        self._said_at = 0.0

    def __len__(self) -> int:
        return len(self._connections)

    @property
    def most(self) -> int:
        return self._places.most

    @property
    def connections(self) -> list[ServerConnection]:
        return list(self._connections)

    def admit(self, connection: ServerConnection) -> str:
        """Count a new connection. Returns why it must be turned away; empty if it need not be."""
        text = connection.peer.decode("ascii")
        source = source_of(text)
        places = self._places
        if self._trusted and (peer := parse_address(text)) is not None and self._trusted.has(peer):
            source = ""
        if places.has(source) >= places.most_of_source and not self._make_room(source, own=True):
            return self._away(f"your address has {places.most_of_source} connections already", "max_source_connections")
        if places.full and not self._make_room(source):
            return self._away(f"the gateway has {places.most} connections in each worker already", "max_connections")
        if not self._has_descriptors(connection, source):
            return self._away("the gateway is short of file descriptors", "max_connections, or the limit of open files")
        places.take(source)
        self._connections[connection] = source
        return ""

    def descriptors_for(self, source: str) -> int:
        """The highest number that the connection for a call of `source` to an upstream may have; 0 is no such bound."""
        return 0 if self._places.has_little(source) else self._for_calls

    def trusts(self, connection: ServerConnection) -> bool:
        """Whether an admitted connection is a trusted proxy's."""
        return bool(self._trusted) and self._connections.get(connection) == ""

    def left(self, connection: ServerConnection) -> None:
        """A connection has closed, or is about to: the second time means nothing."""
        source = self._connections.pop(connection, None)
        if source is not None:
            self._places.give_back(source)

    def _has_descriptors(self, connection: ServerConnection, source: str) -> bool:
        descriptor = connection.transport.get_extra_info("socket").fileno()
        if descriptor <= self._for_all or (descriptor <= self._for_few and self._places.has_little(source)):
            return True
        # What makes room is closed at the end of this turn of the event loop: until then there is one more.
        return descriptor <= self._last and self._make_room(source)

    def _make_room(self, source: str, *, own: bool = False) -> bool:
        """End a connection that waits for its client. False: there is none, but of sources that have no more than `source`.

        With `own`, only those of `source` count.
        """
        if self._end_one(source, own=own):
            return True
        now = monotonic()
        if now - self._looked_at < _LOOK_EVERY:
            return False
        self._looked_at = now
        places, owners = self._places, self._connections
        found = [
            (not one.idle, -places.has(owner), since, one)
            for one, owner in owners.items()
            if (since := one.waits_since) < now - (0 if one.idle else _STALLED)
        ]
        found.sort(key=lambda entry: entry[:3])
        self._candidates = {one: None for _, _, _, one in found[:_CANDIDATES]}
        return self._end_one(source, own=own)

    def _end_one(self, source: str, *, own: bool) -> bool:
        for connection in tuple(self._candidates):
            owner = self._connections.get(connection)
            if owner is not None and owner != source and (own or self._places.has(owner) <= self._places.has(source)):
                continue
            del self._candidates[connection]
            if owner is not None and connection.waits_since < inf:
                connection.make_room()
                self.left(connection)
                return True
        return False

    def _away(self, why: str, setting: str) -> str:
        self._turned_away += 1
        now = monotonic()
        if now - self._said_at >= _SAY_EVERY or not self._said_at:
            self._said_at = now
            _log.warning("connections turned away", reason=why, count=self._turned_away)
            self._turned_away = 0
        return f"{why} (setting gateway.{setting})"
