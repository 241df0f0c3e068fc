"""Errors as JSON, for clients that prefer it to text."""

from __future__ import annotations

import msgspec


class ProblemBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What went wrong."""

    code: str
    """One of the codes in docs/reference/errors.md."""
    message: str
    hint: str = ""
    """What to do next."""
    call_id: str = ""
    """Names this call in the gateway's log."""


class Problem(msgspec.Struct, frozen=True):
    """`{"error": {...}}`."""

    error: ProblemBody
