"""Expressions mean what they mean to cron-connector: tables of cases, and a slow search minute by minute beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hilbert.control.schedules.expression import Cron, Every, parse
from hilbert.core.errors import Invalid


def moment(text: str) -> float:
    """An ISO time; UTC where it says none."""
    found = datetime.fromisoformat(text)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def following(text: str, after: str, count: int = 1) -> list[str]:
    """The next times, in the expression's own zone."""
    when = parse(text)
    zone = ZoneInfo(when.zone) if isinstance(when, Cron) else UTC
    at, found = moment(after), []
    for _ in range(count):
        later = when.next(at, anchor=at)
        if later is None:
            break
        at = later
        found.append(datetime.fromtimestamp(at, zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:30", "2026-01-01T00:01+00:00"),
        ("* * * * *", "2026-01-01T00:01:00", "2026-01-01T00:02+00:00"),
        ("*/15 * * * *", "2026-01-01T00:59", "2026-01-01T01:00+00:00"),
        ("7-10,30 3 * * *", "2026-01-01T03:10", "2026-01-01T03:30+00:00"),
        ("50/5 * * * *", "2026-01-01T00:51", "2026-01-01T00:55+00:00"),
        ("0 9 * * mon-FRI", "2026-01-02T09:00", "2026-01-05T09:00+00:00"),
        ("0 0 ? * 0", "2026-01-01T00:00", "2026-01-04T00:00+00:00"),
        ("0 0 1 jan,jul *", "2026-01-01T00:00", "2026-07-01T00:00+00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00", "2028-02-29T00:00+00:00"),
        ("0 0 31 12 *", "2026-12-31T00:00", "2027-12-31T00:00+00:00"),
        ("@hourly", "2026-01-01T00:00", "2026-01-01T01:00+00:00"),
        ("@daily", "2026-01-01T00:00", "2026-01-02T00:00+00:00"),
        ("@midnight", "2026-01-01T00:00", "2026-01-02T00:00+00:00"),
        ("@weekly", "2026-01-01T00:00", "2026-01-04T00:00+00:00"),
        ("@monthly", "2026-01-01T00:00", "2026-02-01T00:00+00:00"),
        ("@yearly", "2026-01-01T00:00", "2027-01-01T00:00+00:00"),
        ("@annually", "2026-01-01T00:00", "2027-01-01T00:00+00:00"),
        ("CRON_TZ=Asia/Tokyo 0 9 * * *", "2026-01-01T00:00", "2026-01-02T09:00+09:00"),
        ("TZ=Asia/Tokyo  @daily", "2026-01-01T00:00", "2026-01-02T00:00+09:00"),
        # Both days restricted: either will do. A step restricts; a star, alone or in a list, does not.
        ("0 0 13 * 5", "2026-01-03T00:00", "2026-01-09T00:00+00:00"),
        ("0 0 */2 * 1", "2026-01-01T00:00", "2026-01-03T00:00+00:00"),
        ("0 0 */1 * 1", "2026-01-01T00:00", "2026-01-05T00:00+00:00"),
        ("0 0 *,1 * 1", "2026-01-01T00:00", "2026-01-05T00:00+00:00"),
        ("0 0 10 * */1", "2026-01-01T00:00", "2026-01-10T00:00+00:00"),
    ],
)
def test_the_next_time(text: str, after: str, expected: str) -> None:
    assert following(text, after) == [expected]


@pytest.mark.parametrize("text", ["0 0 30 2 *", "0 0 31 4,6 *"])
def test_what_never_comes(text: str) -> None:
    assert following(text, "2026-01-01T00:00") == []


@pytest.mark.parametrize(
    ("text", "after", "expected"),
    [
        # The clocks skip 02:00 to 03:00, and show it twice in autumn.
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00", ["2026-03-30T02:30+02:00"]),
        ("CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-26T02:30+01:00"]),
        ("CRON_TZ=Europe/Berlin */30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00"]),
        ("CRON_TZ=Europe/Berlin 0 12 * * *", "2026-03-28T12:00", ["2026-03-29T12:00+02:00"]),
        ("CRON_TZ=America/New_York 30 2 * * *", "2026-03-07T12:00", ["2026-03-09T02:30-04:00"]),
        ("CRON_TZ=America/New_York 30 1 * * *", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-01T01:30-05:00"]),
        # Half an hour: 02:00 to 02:30 is skipped, and 01:30 to 02:00 comes twice.
        ("CRON_TZ=Australia/Lord_Howe 15,45 2 * * *", "2026-10-03T10:00", ["2026-10-04T02:45+11:00", "2026-10-05T02:15+11:00"]),
        ("CRON_TZ=Australia/Lord_Howe 45 1 * * *", "2026-04-04T10:00", ["2026-04-05T01:45+11:00", "2026-04-05T01:45+10:30"]),
        # A day without a midnight, and one whose last hour comes twice.
        ("CRON_TZ=America/Sao_Paulo 0 0 * * *", "2018-11-03T12:00", ["2018-11-05T00:00-02:00"]),
        ("CRON_TZ=America/Sao_Paulo 30 23 * * *", "2018-02-17T12:00", ["2018-02-17T23:30-02:00", "2018-02-17T23:30-03:00", "2018-02-18T23:30-03:00"]),
        # A day that there never was.
        ("CRON_TZ=Pacific/Apia 0 12 30 12 *", "2011-12-01T00:00", ["2012-12-30T12:00+14:00"]),
    ],
)  # fmt: skip
def test_when_the_clocks_are_changed(text: str, after: str, expected: list[str]) -> None:
    assert following(text, after, len(expected)) == expected


def test_every_counts_from_its_anchor() -> None:
    when = parse("@every 90s")
    assert when == Every(90)
    assert [when.next(after, anchor=1000.7) for after in (1000.7, 1089.9, 1090, 5000, 10)] == [
        1090,
        1090,
        1180,
        5050,
        1090,
    ]
    assert parse("@every 10ms") == Every(1), "a second at least"
    assert parse("@every 1h30m") == Every(5400)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "5 fields"),
        ("* * * *", "5 fields"),
        ("0 * * * * *", "6"),
        ("0 9 * * 7", "day of the week (7): must be from 0 to 6"),
        ("60 * * * *", "minute (60): must be from 0 to 59"),
        ("* 24 * * *", "hour (24)"),
        ("* * 0 * *", "day of the month (0)"),
        ("* * * 13 *", "month (13)"),
        ("5-3 * * * *", "begins after its end"),
        ("* * * * fri-sun", "begins after its end"),
        ("1-2-3 * * * *", "more than one hyphen"),
        ("1/2/3 * * * *", "more than one slash"),
        ("*/0 * * * *", "step of 0"),
        ("*/x * * * *", "is not a number"),
        ("-5 * * * *", "is not a number"),
        (", * * * *", "names no value"),
        ("0 0 L * *", "is not a number"),
        ("0 0 15W * *", "is not a number"),
        ("0 0 * * mon#1", "no name of three letters"),
        ("jan * * * *", "is not a number"),
        ("@Hourly", "is not one of"),
        ("@reboot", "is not one of"),
        ("@every", "is not one of"),
        ("@every soon", "not a duration"),
        ("@every 9999h", "at most a year"),
        ("CRON_TZ=Mars/Olympus 0 0 * * *", "is not a time zone"),
        ("CRON_TZ=../../etc/passwd 0 0 * * *", "is not a time zone"),
        ("CRON_TZ=/etc/localtime 0 0 * * *", "is not a time zone"),
        ("CRON_TZ=Europe 0 0 * * *", "is not a time zone"),
        ("CRON_TZ=UTC", "5 fields"),
        ("* " * 200, "256"),
    ],
)  # fmt: skip
@pytest.mark.bound("schedule")
def test_what_is_no_expression(text: str, said: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse(text)
    assert said in caught.value.message


_NUMBERS = st.lists(st.integers(0, 59), min_size=1, max_size=3, unique=True)


@settings(max_examples=60, deadline=None)
@given(
    minutes=_NUMBERS,
    hours=st.lists(st.integers(0, 23), min_size=1, max_size=3, unique=True),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    start=st.integers(0, 334 * 86_400).map(lambda seconds: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)),
)  # fmt: skip
def test_against_a_search_minute_by_minute(minutes: list[int], hours: list[int], zone: str, start: datetime) -> None:
    when = parse(f"CRON_TZ={zone} {','.join(map(str, minutes))} {','.join(map(str, hours))} * * *")
    at = start.replace(second=0, microsecond=0) + timedelta(minutes=1)
    local = ZoneInfo(zone)
    while (shown := at.astimezone(local)).minute not in minutes or shown.hour not in hours:
        at += timedelta(minutes=1)
    assert when.next(start.timestamp(), anchor=0) == at.timestamp()
