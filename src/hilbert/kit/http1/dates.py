"""The Date field: HTTP's form of the present second (RFC 9110, sections 5.6.7 and 6.6.1)."""

from __future__ import annotations

import time
from typing import Final

_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(seconds: float) -> bytes:
    """`Sun, 06 Nov 1994 08:49:37 GMT`, of Unix time; with English names whatever the locale."""
    year, month, day, hour, minute, second, weekday, *_ = time.gmtime(seconds)
    text = f"{_DAYS[weekday]}, {day:02} {_MONTHS[month - 1]} {year:04} {hour:02}:{minute:02}:{second:02} GMT"
    return text.encode("ascii")
