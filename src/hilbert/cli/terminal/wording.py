"""Numbers, sizes and times as people say them."""

from __future__ import annotations


def count(number: int, noun: str) -> str:
    """`1 replica`, `2 replicas`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def size_text(size: int) -> str:
    """Bytes as people read them: `1.4 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def age_text(age: float) -> str:
    """Seconds as people say them: `3 hours ago`."""
    for length, unit in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if age >= length:
            return f"{count(int(age // length), unit)} ago"
    return "just now"
