"""What the supervisor hands to the control process: one JSON document on an inherited file descriptor."""

from __future__ import annotations

import msgspec

from hilbert.core.settings import Settings


class ControlConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that the control process is told. It reads no settings of its own."""

    settings: Settings
    url: str
    """Where the workers listen, e.g. `http://127.0.0.1:8080`."""
    metrics_url: str
    workers: int
    control_fd: int
    """Listening unix socket of the REST API."""
    feed_fd: int
    """Listening unix socket of the route feed."""
    metrics_fd: int
    """Listening TCP socket of the metrics."""
    delivery_secret: str
    """With which it proves to workers that it makes a queued call."""
    lifeline_fd: int
    """Where it tells the supervisor how it is."""
    supervisor_pid: int
    started_at: str
    """RFC 3339, of the supervisor."""
