"""Once a day: a backup and the purge; what fails is said, tried again, and stops nothing else."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine

import models
from config import Config
from services.database import exclusive
from services.installation import Installation
from services.secrets import Vault
from services.upkeep import housekeeping as subject
from services.upkeep.backup_files import Kind, kept, place, upload_place
from services.upkeep.housekeeping import housekeeping

START = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Still(Installation):
    moments: list[dt.datetime] = field(default_factory=lambda: [START])

    def now(self) -> dt.datetime:
        return self.moments[-1]


@pytest.fixture
def here(engine: Engine, tmp_path: Path) -> Installation:
    subject._failed.clear()
    return Still(Config(data_dir=tmp_path), engine, Vault([], ""))


def dailies(here: Installation) -> list[dt.datetime]:
    return [each.at for each in kept(here.backups) if each.kind is Kind.DAILY]


def store(here: Installation, **values: object) -> None:
    with here.session() as session, session.begin():
        session.merge(models.Setting(name="backups", value={"value": values}))


def test_once_a_day_however_often_it_is_called(here: Installation) -> None:
    told = housekeeping(here, START)
    assert [sentence.split(":")[0] for sentence in told] == ["The daily backup was made"]
    for minutes in range(0, 14 * 60, 7):
        assert housekeeping(here, START + dt.timedelta(minutes=minutes)) == []
    assert dailies(here) == [START]
    housekeeping(here, START + DAY)
    assert len(dailies(here)) == 2


def test_the_newest_are_kept(here: Installation) -> None:
    store(here, daily=True, keep=3)
    for number in range(6):
        housekeeping(here, START + number * DAY)
    assert dailies(here) == [START + n * DAY for n in (5, 4, 3)]


def test_switched_off(here: Installation) -> None:
    store(here, daily=False, keep=14)
    housekeeping(here, START)
    assert dailies(here) == []


def test_a_failure_is_told_and_tried_again_later(here: Installation) -> None:
    here.backups.write_text("a file stands in the way")
    [told] = housekeeping(here, START)
    assert told.startswith("The daily backup could not be made: ")
    assert "tried again in an hour" in told
    assert housekeeping(here, START + dt.timedelta(minutes=59)) == []
    here.backups.unlink()
    assert len(housekeeping(here, START + dt.timedelta(minutes=61))) == 1
    assert len(dailies(here)) == 1


def test_the_purge_goes_on_without_a_backup(here: Installation) -> None:
    here.backups.write_text("a file stands in the way")
    with here.session() as session, session.begin():
        old = START - 60 * DAY
        session.add(models.LoginAttempt(at=old, account="a", address="b"))
    told = housekeeping(here, START)
    assert len(told) == 2
    assert "1 other rows were removed" in told[1]


def test_while_a_run_goes_on_the_purge_waits_for_its_end(here: Installation) -> None:
    with exclusive(here.engine, "sync"):
        housekeeping(here, START)
    with here.reading() as session:
        names = set(session.scalars(sa.select(models.Marker.name)))
    assert names == {subject.BACKUP}
    housekeeping(here, START + dt.timedelta(minutes=1))
    with here.reading() as session:
        assert session.get(models.Marker, subject.PURGE) is not None


def test_another_process_does_it_already(here: Installation) -> None:
    with exclusive(here.engine, "housekeeping"):
        assert housekeeping(here, START) == []
    assert dailies(here) == []


def test_a_clock_set_back_does_not_stop_it(here: Installation) -> None:
    housekeeping(here, START + 400 * DAY)
    housekeeping(here, START)
    assert sorted(dailies(here)) == [START, START + 400 * DAY]


def test_backups_from_a_future_that_was_none_do_not_crowd_out_new_ones(here: Installation) -> None:
    store(here, daily=True, keep=2)
    for days in (400, 401, 0, 1, 2):
        housekeeping(here, START + days * DAY)
    assert dailies(here) == [START + 2 * DAY, START + 1 * DAY]


def test_a_strange_name_among_the_backups_stops_nothing(here: Installation) -> None:
    here.backups.mkdir()
    (here.backups / "tallybridge-daily-schema0005-20261399T000000Z.zip").write_bytes(b"x")
    housekeeping(here, START)
    assert dailies(here) == [START]


def test_files_that_nobody_decided_about_are_removed(here: Installation) -> None:
    file = upload_place(here.backups, now=START)
    begun = place(here.backups, Kind.DAILY, "0005", now=START)
    left = [file, *(each.with_name(f".{each.name}.x1_y2z3") for each in (file, begun))]
    for each in left:
        each.write_bytes(b"x")
        os.utime(each, ((START - DAY).timestamp(),) * 2)
    fresh = begun.with_name(f".{begun.name}.new")
    fresh.write_bytes(b"x")
    os.utime(fresh, (START.timestamp(),) * 2)
    housekeeping(here, START)
    assert [each for each in left if each.exists()] == []
    assert fresh.exists(), "somebody writes it just now"
