"""The hop from one HTTP connection to another: what the gateway and the watchdog do alike.

`hop` carries one request to an upstream and its answer back, `relay` what follows an upgrade, and `fields` says which header fields
belong to one connection alone. Not imported by `kit.http1`, so that a watchdog which passes nothing on does not pay for it.
"""

from hilbert.kit.http1.forward.fields import HOP_FIELDS, IDEMPOTENT, NOT_TRAILING, first_value, named_by, passing
from hilbert.kit.http1.forward.hop import Client, Hop, Patience
from hilbert.kit.http1.forward.relay import HALF_CLOSED, Relay

__all__ = [
    "HALF_CLOSED",
    "HOP_FIELDS",
    "IDEMPOTENT",
    "NOT_TRAILING",
    "Client",
    "Hop",
    "Patience",
    "Relay",
    "first_value",
    "named_by",
    "passing",
]
