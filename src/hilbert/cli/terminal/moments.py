"""Moments as tables show them."""

from __future__ import annotations

from datetime import UTC, datetime


def moment_text(moment: datetime | None) -> str:
    """`2030-01-31 12:00:00Z`; empty for none."""
    return moment.astimezone(UTC).strftime("%4Y-%m-%d %H:%M:%SZ") if moment is not None else ""
