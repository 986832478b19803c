"""Slots as instants: one for each local day or month, whatever the clocks there do."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduling.schedule import (
    due_instant,
    instant_in_words,
    next_slot,
    signature,
    slots_between,
)
from services.settings import AppSettings, Schedule

DAY = dt.timedelta(days=1)
ZONES = sorted(zoneinfo.available_timezones() - {"localtime", "posixrules", "Factory"})
# Both changes of a year, half an hour, a change at midnight, a day that was left out, one twice.
ODD = [
    "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo", "America/Havana",
    "America/Sao_Paulo", "Asia/Beirut", "Asia/Kathmandu", "Pacific/Apia", "Pacific/Kwajalein",
    "Pacific/Kiritimati", "Asia/Pyongyang", "Africa/Casablanca", "America/Nuuk",
    "Antarctica/Troll", "Asia/Tehran", "Pacific/Chatham", "UTC",
]  # fmt: skip

zones = st.sampled_from(ODD) | st.sampled_from(ZONES)
days = st.dates(dt.date(1975, 1, 1), dt.date(2036, 12, 31))
times = st.times().map(lambda t: t.strftime("%H:%M"))


def asked(when: str, time: str = "06:00", zone: str = "Europe/Berlin", day: int = 1) -> AppSettings:
    return AppSettings(
        timezone=zone,
        schedule=Schedule.model_validate({"when": when, "time": time, "day": day}),
    )


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def noon(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(12), dt.UTC)


def first_instant_shown(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """The oracle: look at the clock on the wall every minute until it shows this or more."""
    instant = wall.replace(tzinfo=dt.UTC) - dt.timedelta(hours=15)  # no zone is further ahead
    while instant.astimezone(zone).replace(tzinfo=None) < wall:
        instant += dt.timedelta(minutes=1)
    return instant


def local_days(zone: dt.tzinfo, first: dt.datetime, last: dt.datetime) -> set[dt.date]:
    """The oracle: every day that a calendar there shows between two instants."""
    quarter = dt.timedelta(minutes=15)
    count = int((last - first) / quarter)
    return {(first + n * quarter).astimezone(zone).date() for n in range(count + 1)}


@settings(max_examples=200, deadline=None)
@given(day=days, time=st.times(), zone=zones)
def test_due_is_the_first_instant_that_shows_the_time(
    day: dt.date, time: dt.time, zone: str
) -> None:
    time, there = time.replace(second=0, microsecond=0), zoneinfo.ZoneInfo(zone)
    expected = first_instant_shown(dt.datetime.combine(day, time), there)
    assert due_instant(day, time, there) == expected


@pytest.mark.parametrize("zone", ODD)
def test_the_oracle_agrees_on_every_day_of_change(zone: str) -> None:
    """Every day from 2010 to 2027 on which the zone's clocks are set, and those around it."""
    there = zoneinfo.ZoneInfo(zone)
    noons = [noon(dt.date(2010, 1, 1)) + n * DAY for n in range(18 * 365)]
    offsets = [each.astimezone(there).utcoffset() for each in noons]
    changes = [noons[n + 1].date() for n, (a, b) in enumerate(pairwise(offsets)) if a != b]
    for day in {change + n * DAY for change in changes for n in (-1, 0, 1)}:
        for time in ("00:00", "00:30", "02:00", "02:30", "23:59"):
            wall = dt.datetime.combine(day, dt.time.fromisoformat(time))
            assert due_instant(day, wall.time(), there) == first_instant_shown(wall, there), wall


@settings(max_examples=100, deadline=None)
@given(day=days, span=st.integers(1, 40), time=times, zone=zones)
def test_every_local_day_has_exactly_one_slot(
    day: dt.date, span: int, time: str, zone: str
) -> None:
    first, last = noon(day), noon(day) + span * DAY
    slots = slots_between(asked("daily", time, zone), first - 4 * DAY, last + 4 * DAY)
    keys = [slot.key for slot in slots]
    assert len(keys) == len(set(keys))
    there = zoneinfo.ZoneInfo(zone)
    for shown in local_days(there, first, last):
        assert keys.count(f"daily {shown}") == 1
    dues = [slot.due_at for slot in slots]
    assert dues == sorted(set(dues))


@settings(max_examples=100, deadline=None)
@given(day=days, of_month=st.integers(1, 28), time=times, zone=zones)
def test_every_month_has_exactly_one_slot(
    day: dt.date, of_month: int, time: str, zone: str
) -> None:
    slots = slots_between(asked("monthly", time, zone, of_month), noon(day), noon(day) + 400 * DAY)
    keys = [slot.key for slot in slots]
    assert 13 <= len(keys) == len(set(keys)) <= 14
    numbers = [int(k[8:12]) * 12 + int(k[13:]) for k in keys]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@settings(max_examples=100, deadline=None)
@given(
    start=days,
    when=st.sampled_from(["daily", "invoice", "monthly"]),
    time=times,
    zone=zones,
    steps=st.lists(st.integers(1, 200_000), min_size=1, max_size=30),
)
def test_looking_in_pieces_finds_the_same_slots_once(
    start: dt.date, when: str, time: str, zone: str, steps: list[int]
) -> None:
    schedule, at = asked(when, time, zone, 15), noon(start)
    found, first = [], at
    for seconds in steps:
        then = at + dt.timedelta(seconds=seconds)
        found += slots_between(schedule, at, then)
        at = then
    assert found == slots_between(schedule, first, at)


@settings(max_examples=200, deadline=None)
@given(
    start=days,
    seconds=st.integers(0, 86_399),
    when=st.sampled_from(["daily", "invoice", "monthly"]),
    time=times,
    zone=zones,
)
def test_the_next_run_shown_is_the_first_that_fires(
    start: dt.date, seconds: int, when: str, time: str, zone: str
) -> None:
    now, schedule = noon(start) + dt.timedelta(seconds=seconds), asked(when, time, zone, 28)
    shown = next_slot(schedule, now)
    assert shown is not None
    assert slots_between(schedule, now, shown.due_at) == [shown]
    assert slots_between(schedule, now, shown.due_at - dt.timedelta(seconds=1)) == []


@pytest.mark.parametrize(
    ("zone", "day", "time", "due"),
    [
        ("Europe/Berlin", "2026-11-22", "06:00", "2026-11-22T05:00"),
        ("Europe/Berlin", "2026-03-29", "02:30", "2026-03-29T01:00"),  # left out
        ("Europe/Berlin", "2026-03-29", "03:00", "2026-03-29T01:00"),
        ("Europe/Berlin", "2026-10-25", "02:30", "2026-10-25T00:30"),  # twice: the first
        ("Australia/Lord_Howe", "2026-10-04", "02:15", "2026-10-03T15:30"),
        ("Australia/Lord_Howe", "2026-04-05", "01:45", "2026-04-04T14:45"),
        ("America/Havana", "2026-03-08", "00:30", "2026-03-08T05:00"),  # midnight is left out
        ("Pacific/Apia", "2011-12-29", "06:00", "2011-12-29T16:00"),
        ("Pacific/Apia", "2011-12-31", "06:00", "2011-12-30T16:00"),
    ],
)
def test_nights_that_are_known(zone: str, day: str, time: str, due: str) -> None:
    there = zoneinfo.ZoneInfo(zone)
    found = due_instant(dt.date.fromisoformat(day), dt.time.fromisoformat(time), there)
    assert found == utc(due)


def test_a_day_that_a_zone_skipped_has_no_slot() -> None:
    slots = slots_between(
        asked("daily", "06:00", "Pacific/Apia"), utc("2011-12-28T00:00"), utc("2012-01-01T00:00")
    )
    shown = [slot.key for slot in slots]
    assert shown == [f"daily 2011-12-{n}" for n in (28, 29, 31)] + ["daily 2012-01-01"]


def test_a_month_whose_day_was_skipped_keeps_its_slot() -> None:
    slots = slots_between(
        asked("monthly", "06:00", "Pacific/Kwajalein", 21),
        utc("1993-08-01T00:00"),
        utc("1993-09-01T00:00"),
    )
    assert [slot.key for slot in slots] == ["monthly 1993-08"]


def test_by_hand_has_no_slots() -> None:
    assert next_slot(asked("by_hand"), utc("2026-11-22T00:00")) is None
    assert slots_between(asked("by_hand"), utc("2026-01-01T00:00"), utc("2027-01-01T00:00")) == []


def test_keys_and_words_name_the_local_occasion() -> None:
    found = next_slot(asked("invoice", "00:30", "Asia/Tokyo"), utc("2026-11-22T12:00"))
    assert found is not None
    assert (found.key, found.due_at) == ("invoice 2026-11-23", utc("2026-11-22T15:30"))
    assert instant_in_words(found.due_at, "Asia/Tokyo") == "Mon 23 Nov 2026 00:30 (Asia/Tokyo)"
    monthly = next_slot(asked("monthly", day=28), utc("2026-11-28T06:00"))
    assert monthly is not None
    assert monthly.key == "monthly 2026-12"


def test_the_signature_notices_every_change() -> None:
    kinds = [
        asked("daily"), asked("invoice"), asked("daily", "06:01"), asked("by_hand"),
        asked("daily", zone="Europe/Paris"), asked("monthly"), asked("monthly", day=2),
    ]  # fmt: skip
    assert len({signature(each) for each in kinds}) == len(kinds)
    assert signature(asked("daily")) == signature(asked("daily"))
