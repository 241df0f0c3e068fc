"""Limits on calls and their use, as the REST API tells them."""

from __future__ import annotations

import msgspec


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One limit of a namespace, or of one of its functions."""

    namespace: str
    function: str
    """Empty: the namespace's own, which its functions share."""
    limit: str
    """`rate` or `concurrency`."""
    value: float
    """Calls a second, or calls at once."""
    burst: int
    """Of a rate: calls that may come together after a pause."""
    used: float
    """Calls that came in the last second, or calls at once now. Refused ones are among the former."""
    refused: int
    """Calls that were refused since the gateway's workers started, or since it was last idle for a minute."""
    raised_by: str
    """Who can raise it: `administrator` or `owner`."""
