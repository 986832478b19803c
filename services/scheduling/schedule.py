"""When sync runs start: the slots of a schedule, as instants and in words. No clock, no database.

A slot is due at the first instant at which a clock on the wall there shows its time or a later
one. So a time that a clock change leaves out is made up right after the gap, one that comes twice
counts once, and a day that a zone skipped has no slot.
"""

from __future__ import annotations

import datetime as dt
import itertools
import zlib
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass

from services.settings import AppSettings, Schedule

_ONE_DAY = dt.timedelta(days=1)
_ONE_SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Slot:
    """One occasion to run: `key` names it in local terms, `due_at` is its instant in UTC."""

    key: str
    due_at: dt.datetime


def in_words(schedule: Schedule) -> str:
    """What a schedule means, as a person would say it."""
    return {
        "by_hand": "Only by hand, with Sync now",
        "invoice": f"With the monthly Sophos invoice, looked for every day at {schedule.time}",
        "monthly": f"Once a month, on day {schedule.day} at {schedule.time}",
        "daily": f"Once a day at {schedule.time}",
    }[schedule.when]


def instant_in_words(instant: dt.datetime, timezone: str) -> str:
    """An instant as people there write it, with the zone: Sun 22 Nov 2026 06:00 (Europe/Berlin)."""
    local = instant.astimezone(zoneinfo.ZoneInfo(timezone))
    return f"{local:%a} {local.day} {local:%b %Y %H:%M} ({timezone})"


def signature(settings: AppSettings) -> int:
    """A number that stands for the schedule and its time zone, to notice that they changed."""
    schedule = settings.schedule
    words = f"{schedule.when} {schedule.day} {schedule.time} {settings.timezone}"
    return zlib.crc32(words.encode()) & 0x7FFFFFFF


def slots_between(settings: AppSettings, after: dt.datetime, until: dt.datetime) -> list[Slot]:
    """The slots due after one instant and no later than the other, in order."""
    if until <= after:
        return []
    slots = itertools.takewhile(lambda slot: slot.due_at <= until, _slots_from(settings, after))
    return [slot for slot in slots if slot.due_at > after]


def next_slot(settings: AppSettings, after: dt.datetime) -> Slot | None:
    """The first slot due after an instant; None when runs are started by hand only."""
    return next((slot for slot in _slots_from(settings, after) if slot.due_at > after), None)


def due_instant(day: dt.date, time: dt.time, zone: dt.tzinfo) -> dt.datetime:
    """The first instant, in UTC, at which a local clock shows this time of this day or later."""
    wall = dt.datetime.combine(day, time)
    due = wall.replace(tzinfo=zone).astimezone(dt.UTC)  # of a time that comes twice, the first
    if due.astimezone(zone).replace(tzinfo=None) == wall:
        return due
    return _after_the_gap(wall, zone)


def _after_the_gap(wall: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    """The instant at which the clocks leap over `wall`, by halving the time around it."""
    early = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    late = wall.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
    while late - early > _ONE_SECOND:
        middle = early + (late - early) // (2 * _ONE_SECOND) * _ONE_SECOND
        if middle.astimezone(zone).replace(tzinfo=None) >= wall:
            late = middle
        else:
            early = middle
    return late


def _slots_from(settings: AppSettings, after: dt.datetime) -> Iterator[Slot]:
    """The slots from a little before an instant on, without end."""
    schedule, zone = settings.schedule, zoneinfo.ZoneInfo(settings.timezone)
    time = dt.time.fromisoformat(schedule.time)
    # Two days earlier: a slot that a gap delays falls on the day after its own.
    day = after.astimezone(zone).date() - 2 * _ONE_DAY
    if schedule.when == "by_hand":
        return
    if schedule.when == "monthly":
        for year, month in _months_from(day):
            due = due_instant(dt.date(year, month, schedule.day), time, zone)
            yield Slot(f"monthly {year}-{month:02}", due)
        return
    for each in (day + n * _ONE_DAY for n in itertools.count()):
        if _exists(each, zone):
            yield Slot(f"{schedule.when} {each}", due_instant(each, time, zone))


def _months_from(day: dt.date) -> Iterator[tuple[int, int]]:
    for n in itertools.count(day.year * 12 + day.month - 1):
        yield n // 12, n % 12 + 1


def _exists(day: dt.date, zone: dt.tzinfo) -> bool:
    """Whether the zone has this day at all: Apia went from 29 to 31 December 2011."""
    return due_instant(day, dt.time(0), zone).astimezone(zone).date() == day
