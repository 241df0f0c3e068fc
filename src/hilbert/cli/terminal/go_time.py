"""Times written by a layout of Go: the moment `Mon Jan 2 15:04:05.000 MST 2006`, written as one wants to see others.

Elements are those of Go's package `time`. What is no element stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

NAMED: Final = {
    "ANSIC": "Mon Jan _2 15:04:05 2006",
    "UnixDate": "Mon Jan _2 15:04:05 MST 2006",
    "RubyDate": "Mon Jan 02 15:04:05 -0700 2006",
    "RFC822": "02 Jan 06 15:04 MST",
    "RFC822Z": "02 Jan 06 15:04 -0700",
    "RFC850": "Monday, 02-Jan-06 15:04:05 MST",
    "RFC1123": "Mon, 02 Jan 2006 15:04:05 MST",
    "RFC1123Z": "Mon, 02 Jan 2006 15:04:05 -0700",
    "RFC3339": "2006-01-02T15:04:05Z07:00",
    "RFC3339Nano": "2006-01-02T15:04:05.999999999Z07:00",
    "Kitchen": "3:04PM",
    "Stamp": "Jan _2 15:04:05",
    "StampMilli": "Jan _2 15:04:05.000",
    "StampMicro": "Jan _2 15:04:05.000000",
    "StampNano": "Jan _2 15:04:05.000000000",
    "DateTime": "2006-01-02 15:04:05",
    "DateOnly": "2006-01-02",
    "TimeOnly": "15:04:05",
}
"""The layouts that Go has names for."""

_ELEMENT: Final = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|_2006|__2|002|_2|0[1-6]|15|[1-5]|PM|pm"
    r"|[Z-]07(?::?00(?::?00)?)?|[.,](?:0+|9+)(?![0-9])"
)
"""The longest first where one begins with another."""

_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip


def is_layout(text: str) -> bool:
    """Whether any part of it stands for a part of a time."""
    return _ELEMENT.search(text) is not None


def write_time(moment: datetime, layout: str, *, nanoseconds: int | None = None) -> str:
    """`moment`, which has a time zone; `nanoseconds` of its second where they are known."""
    nano = moment.microsecond * 1000 if nanoseconds is None else nanoseconds
    return _ELEMENT.sub(lambda match: _write(moment, match[0], nano), layout)


def _write(moment: datetime, element: str, nano: int) -> str:
    if element[0] in ".,":
        digits = f"{nano:09d}"[: len(element) - 1].ljust(len(element) - 1, "0")
        if element[1] == "9":
            digits = digits.rstrip("0")
        return f"{element[0]}{digits}" if digits else ""
    if element[0] in "Z-":
        return _offset(moment.utcoffset() or timedelta(), element)
    return _PARTS[element](moment)


def _offset(offset: timedelta, element: str) -> str:
    if element[0] == "Z" and not offset:
        return "Z"
    seconds = int(offset.total_seconds())
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    colon = ":" if ":" in element else ""
    parts = [f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"]
    return sign + colon.join(parts[: len(element.replace(":", "")) // 2])


def _zone(moment: datetime) -> str:
    """Its abbreviation; Go writes the offset of a zone that has none."""
    name = moment.tzname() or ""
    return name if name.isalpha() else _offset(moment.utcoffset() or timedelta(), "-07")


_PARTS: Final[dict[str, Callable[[datetime], str]]] = {
    "January": lambda moment: _MONTHS[moment.month - 1],
    "Jan": lambda moment: _MONTHS[moment.month - 1][:3],
    "Monday": lambda moment: _DAYS[moment.weekday()],
    "Mon": lambda moment: _DAYS[moment.weekday()][:3],
    "MST": _zone,
    "2006": lambda moment: f"{moment.year:04d}",
    "_2006": lambda moment: f"_{moment.year:04d}",
    "06": lambda moment: f"{moment.year % 100:02d}",
    "01": lambda moment: f"{moment.month:02d}",
    "1": lambda moment: f"{moment.month}",
    "02": lambda moment: f"{moment.day:02d}",
    "_2": lambda moment: f"{moment.day:2d}",
    "2": lambda moment: f"{moment.day}",
    "002": lambda moment: f"{moment.timetuple().tm_yday:03d}",
    "__2": lambda moment: f"{moment.timetuple().tm_yday:3d}",
    "15": lambda moment: f"{moment.hour:02d}",
    "03": lambda moment: f"{moment.hour % 12 or 12:02d}",
    "3": lambda moment: f"{moment.hour % 12 or 12}",
    "04": lambda moment: f"{moment.minute:02d}",
    "4": lambda moment: f"{moment.minute}",
    "05": lambda moment: f"{moment.second:02d}",
    "5": lambda moment: f"{moment.second}",
    "PM": lambda moment: "PM" if moment.hour >= 12 else "AM",
    "pm": lambda moment: "pm" if moment.hour >= 12 else "am",
}
