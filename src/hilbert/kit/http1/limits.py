"""What one connection may cost, on either side. `core/bounds.py` lists these beside all other bounds."""

from __future__ import annotations

from typing import Final, NamedTuple


class Limits(NamedTuple):
    """What a client may send. Sizes in bytes, times in seconds; 0 is no limit, except for `head`, `lines` and `held`."""

    head: int = 65536
    """Request line and headers together, and trailers together; more is refused with 431."""
    lines: int = 256
    """Header lines of a request, and trailer lines; more is refused with 431."""
    body: int = 0
    """Body of a request; more is refused with 413."""
    head_time: float = 60.0
    """From a request's first byte to the end of its head; more is refused with 408."""
    body_time: float = 60.0
    """Between two bytes of a body that is wanted; more is refused with 408."""
    write_time: float = 60.0
    """The client takes no byte of what is ready for it; then the connection is cut."""
    keep_alive: float = 75.0
    """Idle between two requests; then the connection is closed."""
    pipelined: int = 16
    """Requests that wait behind the one being answered before reading stops."""
    held: int = 65536
    """Bytes of the bodies of such requests before reading stops."""


class UpstreamLimits(NamedTuple):
    """What an upstream may send. Sizes in bytes; beyond each of them the answer counts as malformed."""

    head: int = 65536
    """The head of an answer with all interim answers before it, and trailers together."""
    lines: int = 256
    """Header lines of an answer, and trailer lines."""
    interim: int = 32
    """Interim answers (1xx) to one request, and one more for each second that it takes."""


LINGER: Final = 3.0
"""Seconds for which a refused client may go on sending before its connection is cut, so that it gets to read the answer."""
LINGER_BYTES: Final = 4 * 1024 * 1024
"""Bytes that it may send meanwhile."""

FRAMING: Final = 16384
"""Bytes of a chunked body that are neither data nor `FRAMING_SHARE` a byte of data: chunk sizes and extensions."""
FRAMING_SHARE: Final = 16
"""Bytes of framing that each byte of data may bring with it: a chunk of one byte needs five."""


class ChunkMeter:
    """Bounds what a chunked body holds beside its data, which a parser drops (extensions) or keeps (trailers) unseen."""

    __slots__ = ("_most", "_quiet", "_total")

    def __init__(self, most: int) -> None:
        """`most` bytes may come in a row without one of data."""
        self._most = most
        self._total = 0
        self._quiet = 0

    def exceeds(self, framing: int, data: int, received: int) -> bool:
        """Whether it is too much, `framing` bytes having come with `data` bytes of data; `received` is all data so far."""
        self._total += framing
        self._quiet = 0 if data else self._quiet + framing
        return self._quiet > self._most or self._total > self._most + FRAMING + FRAMING_SHARE * received
