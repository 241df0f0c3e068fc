"""What one connection may cost."""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Sizes in bytes, times in seconds; 0 is no limit, except for `head`."""

    head: int = 65536
    """Request line and headers together; more is refused with 431."""
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
