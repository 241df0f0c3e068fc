"""The connections of the control process: uvicorn's protocol with bounds on their number, and on a request's head.

The REST API listens on a unix socket for the workers, which have dealt with strangers' bytes; the metrics port may be reached by others.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from hilbert.core.addresses import source_of
from hilbert.dataplane.places import Places

METRICS: Final = 64
"""Connections to the metrics port."""
HEAD_TIME: Final = 5.0
"""Seconds for a request's head, from the connection's beginning or its first byte on."""
HEAD_BYTES: Final = 65536


def api_connections(descriptors: int) -> int:
    """Connections of workers at once, of a process that may open so many descriptors: the rest is for its own work."""
    return descriptors * 5 // 8


def bounded(most: int) -> type[asyncio.Protocol]:
    """A protocol for uvicorn. A connection beyond `most`, or beyond its source's share of them, is closed at once."""
    return type("Bounded", (_Bounded,), {"places": Places(most)})


class _Bounded(HttpToolsProtocol):
    places: ClassVar[Places]

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._source: str | None = None
        """None: it has no place."""
        self._patience: asyncio.TimerHandle | None = None
        """While a head is awaited."""
        self._received = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        source = source_of(self.client[0]) if self.client else ""
        if self.places.take(source):
            self._source = source
            self._await_head()
        else:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        if self._source is not None:
            self.places.give_back(self._source)
            self._source = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._patience is None and (self.cycle is None or self.cycle.response_complete):
            self._await_head()
        self._received += len(data)
        super().data_received(data)
        if self._patience is not None and self._received > HEAD_BYTES:
            self.transport.abort()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def _await_head(self) -> None:
        self._received = 0
        self._patience = self.loop.call_later(HEAD_TIME, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
