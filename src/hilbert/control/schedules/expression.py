"""Expressions that say when: five fields of cron, descriptors, and `@every`. Pure.

They mean what they mean to OpenFaaS's cron-connector, which reads them with the Go library robfig/cron (version 3):

- minute, hour, day of the month, month, day of the week (0 to 6; 7 is an error), with lists, ranges, steps and English
  names of three letters for months and weekdays; `?` is `*`. There are no seconds, and no `L`, `W` or `#`.
- If both day fields are restricted, one of them has to match; a step (`*/2`) restricts.
- `CRON_TZ=Europe/Berlin ` or `TZ=...` in front sets the time zone.
- What the clocks skip when they go forward does not run; what they show twice when they go back runs twice.
"""

from __future__ import annotations

import functools
import re
from datetime import date, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from hilbert.core.errors import Invalid
from hilbert.core.values import Duration

LONGEST: Final = 256
"""Characters of an expression."""
_YEARS: Final = 5
"""What has no time in so many years has none."""
_MOST_EVERY: Final = 366 * 86_400
_DESCRIPTORS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS: Final = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_NUMBER: Final = re.compile(r"\+?[0-9]{1,9}")
_DAY: Final = timedelta(days=1)


class Every(msgspec.Struct, frozen=True):
    """`@every`: again and again, counted from an anchor."""

    seconds: int

    def next(self, after: float, *, anchor: float) -> float | None:
        """The first time later than `after`; both in Unix seconds."""
        start = float(int(anchor))
        return start + (max(0, int((after - start) // self.seconds)) + 1) * self.seconds


class Cron(msgspec.Struct, frozen=True, kw_only=True):
    """Five fields, each as the sorted values that match."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    both: bool
    """Whether both day fields must match, since one of them is `*`."""
    zone: str

    def next(self, after: float, *, anchor: float = 0.0) -> float | None:
        """The first time later than `after`, in Unix seconds; None when there is none within five years."""
        del anchor
        zone = ZoneInfo(self.zone)
        now = datetime.fromtimestamp(after, zone)
        day = now.date()
        last = date(day.year + _YEARS, day.month, 1)
        while day <= last:
            if day.month not in self.months:
                day = (day.replace(day=1) + 32 * _DAY).replace(day=1)
                continue
            if self._matches(day):
                found = self._within(day, zone, after, now if now.date() == day else None)
                if found is not None:
                    return found
            day += _DAY
        return None

    def _matches(self, day: date) -> bool:
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return (of_month and of_week) if self.both else (of_month or of_week)

    def _within(self, day: date, zone: ZoneInfo, after: float, now: datetime | None) -> float | None:
        begin = datetime(day.year, day.month, day.day, tzinfo=zone)
        end = datetime.combine(day + _DAY, begin.timetz())
        if begin.utcoffset() != end.utcoffset():
            return self._within_change(begin, after)
        for hour in self.hours:
            if now is not None and hour < now.hour:
                continue
            for minute in self.minutes:
                if now is None or (hour, minute) > (now.hour, now.minute):
                    return begin.replace(hour=hour, minute=minute).timestamp()
        return None

    def _within_change(self, begin: datetime, after: float) -> float | None:
        """On a day on which the clocks are changed: every moment at which they show a time that matches."""
        found: float | None = None
        for hour in self.hours:
            for minute in self.minutes:
                for fold in (0, 1):
                    shown = begin.replace(hour=hour, minute=minute, fold=fold)
                    moment = shown.timestamp()
                    back = datetime.fromtimestamp(moment, begin.tzinfo)
                    exists = (back.day, back.hour, back.minute) == (shown.day, hour, minute)
                    if exists and moment > after and (found is None or moment < found):
                        found = moment
        return found


When = Cron | Every


@functools.lru_cache(maxsize=1_024)
def parse(text: str, *, zone: str = "UTC") -> When:
    """An expression; `zone` is where it says none itself. Raises `Invalid`."""
    if len(text) > LONGEST:
        raise Invalid(f"must be at most {LONGEST} characters")
    text = text.strip()
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, text = text.partition("=")[2].partition(" ")
        text = text.strip()
    zone = parse_zone(zone)
    if text.startswith("@"):
        if text.startswith("@every "):
            return _every(text.removeprefix("@every "))
        if text not in _DESCRIPTORS:
            raise Invalid(f"({text:.40}) is not one of @every DURATION, {', '.join(_DESCRIPTORS)}")
        text = _DESCRIPTORS[text]
    fields = text.split()
    if len(fields) != 5:
        raise Invalid(
            f"needs 5 fields (minute, hour, day of the month, month, day of the week), and ({text:.60}) has {len(fields)}"
        )
    minutes, _ = _field(fields[0], "minute", 0, 59)
    hours, _ = _field(fields[1], "hour", 0, 23)
    days, any_day = _field(fields[2], "day of the month", 1, 31)
    months, _ = _field(fields[3], "month", 1, 12, _MONTHS)
    weekdays, any_weekday = _field(fields[4], "day of the week", 0, 6, _DAYS)
    return Cron(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=days,
        months=months,
        weekdays=weekdays,
        both=any_day or any_weekday,
        zone=zone,
    )


def parse_zone(text: str) -> str:
    """The name of a time zone that this machine knows. Raises `Invalid`."""
    try:
        if text:
            ZoneInfo(text)
    except (ValueError, OSError, KeyError) as exc:  # What zoneinfo raises for names that are none, or are a folder.
        raise Invalid(f"({text:.60}) is not a time zone; write it like Europe/Berlin") from exc
    return text or "UTC"


def _every(text: str) -> Every:
    seconds = int(Duration.parse(text.strip()).seconds)
    if seconds > _MOST_EVERY:
        raise Invalid("@every can be at most a year")
    return Every(max(1, seconds))


def _field(text: str, what: str, least: int, most: int, names: list[str] | None = None) -> tuple[frozenset[int], bool]:
    """The values that match, and whether the field is `*`."""
    values: set[int] = set()
    is_any = False
    for part in filter(None, text.split(",")):
        try:
            found, star = _range(part, least, most, names or [])
        except Invalid as exc:
            raise Invalid(f"{what} ({part:.40}): {exc.message}") from exc
        values |= found
        is_any = is_any or star
    if not values:
        raise Invalid(f"{what}: names no value")
    return frozenset(values), is_any


def _range(text: str, least: int, most: int, names: list[str]) -> tuple[set[int], bool]:
    span, *steps = text.split("/")
    low, *high = span.split("-")
    if len(steps) > 1:
        raise Invalid("has more than one slash")
    star = low in ("*", "?")
    if star:
        start, end = least, most
    elif len(high) > 1:
        raise Invalid("has more than one hyphen")
    else:
        start = _value(low, least, names)
        end = _value(high[0], least, names) if high else start
    step = 1
    if steps:
        step = _value(steps[0], 0, [])
        end = most if not high else end
        star = star and step == 1
    if start < least or end > most:
        raise Invalid(f"must be from {least} to {most}")
    if start > end:
        raise Invalid("begins after its end")
    if not step:
        raise Invalid("has a step of 0")
    return set(range(start, end + 1, step)), star


def _value(text: str, least: int, names: list[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + least
    if not _NUMBER.fullmatch(text):
        raise Invalid(f"({text:.20}) is not a number" + (", and no name of three letters" if names else ""))
    return int(text)
