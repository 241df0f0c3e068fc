"""Limits and their use, as the REST API tells them."""

from __future__ import annotations

import msgspec


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One limit of a namespace, or of one of its functions."""

    namespace: str
    function: str
    """Empty: the namespace's own, which its functions share."""
    limit: str
    """As in its annotation: `rate`, `concurrency`, `held`, ... For queued calls `queued` and `queued-bytes`."""
    value: float
    """In the limit's unit: calls, bytes, or how much of it a second."""
    burst: int = 0
    """Of what is counted a second: how much may come together after a pause."""
    used: float | None = None
    """How much there is now; of a `rate`, the calls of the last second, refused ones included; of `log-bytes`, the bytes a second over the last ten. None: it is not known now."""
    refused: int = 0
    """How often it refused since the gateway's workers started, or since it was last idle for a minute.

    For `starts`, how often a function had to wait for its turn; for `log-bytes`, how often a replica had to."""
    raised_by: str
    """Who can raise it: `administrator` or `owner`."""
