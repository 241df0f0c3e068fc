"""What the supervisor hands to a worker: one JSON document on an inherited file descriptor."""

from __future__ import annotations

import msgspec

from hilbert.core.settings import Settings


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a worker is told. It reads no settings of its own."""

    settings: Settings
    index: int
    workers: int = 1
    """How many there are."""
    listen_fd: int
    """Listening TCP socket, this worker's own share of the port."""
    feed_path: str
    control_path: str
    inside_path: str = ""
    """Where connections of functions to `gateway` are handed over; empty: nowhere."""
    delivery_secret: str = ""
    """With which the gateway proves that it makes a queued call."""
    lifeline_fd: int
    """Where the worker tells the supervisor how it is."""
