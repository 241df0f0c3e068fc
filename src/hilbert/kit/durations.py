"""Go's duration text (`time.ParseDuration`): `1m30s`, `250ms`, `1.5h`.

Imports nothing, since each start of a watchdog pays for it.
"""

from __future__ import annotations

UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
"""Nanoseconds of each unit; longer spellings before their prefixes: `ms` before `m`."""

_LONGEST = 40
"""Digits of one number, its point included."""


def parse_nanoseconds(text: str) -> int | None:
    """Whole nanoseconds, what is less dropped; None when it is no duration. Never negative: a sign is no part of one here."""
    total, position = 0, 0
    while position < len(text):
        start = position
        while position < len(text) and text[position] in "0123456789.":
            position += 1
        whole, _, part = text[start:position].partition(".")
        unit = next((unit for unit in UNITS if text.startswith(unit, position)), None)
        if unit is None or not whole + part or "." in part or position - start > _LONGEST:
            return None
        total += int(whole + part) * UNITS[unit] * 10 ** (_LONGEST - len(part))
        position += len(unit)
    return total // 10**_LONGEST if text else None
