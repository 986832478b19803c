"""The daily backup fails: one notice however often it is tried, and one when it works again."""

from __future__ import annotations

import datetime as dt
import errno
from typing import Any

import pytest
import sqlalchemy as sa

import models
from services.installation import Installation
from services.monitoring.notifications import notify_tick
from services.upkeep import housekeeping as subject
from services.upkeep.housekeeping import backup_state, housekeeping
from tests.services.test_notifications import DAY, HOUR, NOW, Receiver, message, target
from tests.services.test_notifications import here as here  # noqa: PLC0414
from tests.services.test_notifications import receiver as receiver  # noqa: PLC0414


@pytest.fixture(autouse=True)
def nothing_failed_before() -> None:
    subject._failed.clear()


def day_of(here: Installation, now: dt.datetime) -> list[str]:
    """What is done about once a minute, once; returns what housekeeping said."""
    said = housekeeping(here, now)
    notify_tick(here, now)
    return said


def in_the_way(here: Installation) -> None:
    here.backups.write_text("a file where the folder should be")


def store(here: Installation, name: str, **values: Any) -> None:
    with here.session() as session, session.begin():
        session.merge(models.Setting(name=name, value={"value": values}))


def test_told_once_and_again_when_it_works(here: Installation, receiver: Receiver) -> None:
    target(here, receiver.url)
    store(here, "notifications", no_good_run=False)
    day_of(here, NOW - DAY)
    assert receiver.got == []
    good = here.backups.rename(here.backups.with_name("good"))
    in_the_way(here)
    for hours in range(0, 60, 2):
        [said] = [s for s in day_of(here, NOW + hours * HOUR) if "backup" in s]
        assert "could not be made" in said
    assert "The daily backup has failed since Sun 22 Nov 2026 09:30 (UTC)." in message(receiver)
    assert "The last one is of Sat 21 Nov 2026 09:30 (UTC)." in message(receiver)
    assert str(here.config.data_dir) not in message(receiver), "a chat need not know our paths"
    with here.reading() as session:
        state = backup_state(session)
    assert (state.failures, state.failed_at, state.good_at) == (30, NOW, NOW - DAY)
    assert "cannot be made" in state.reason

    here.backups.unlink()
    good.rename(here.backups)
    receiver.got.clear()
    for hours in (60, 61, 90):
        day_of(here, NOW + hours * HOUR)
    mended = "The daily backup works again: one was made Tue 24 Nov 2026 21:30 (UTC)."
    assert mended in message(receiver)

    receiver.got.clear()
    good = here.backups.rename(here.backups.with_name("good"))
    in_the_way(here)
    day_of(here, NOW + 8 * DAY)
    # Another failure is news.
    assert "The daily backup has failed since Mon 30 Nov" in message(receiver)


def test_a_full_volume(
    here: Installation, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    target(here, receiver.url)
    monkeypatch.setattr("services.upkeep.backup.tempfile.mkstemp", full)
    day_of(here, NOW)
    assert "has failed since" in message(receiver)
    assert "There is none yet." in message(receiver)
    with here.reading() as session:
        assert "No space left on device" in backup_state(session).reason


def test_what_mended_itself_untold_is_not_told(here: Installation, receiver: Receiver) -> None:
    in_the_way(here)
    housekeeping(here, NOW)
    here.backups.unlink()
    housekeeping(here, NOW + 2 * HOUR)
    target(here, receiver.url)
    notify_tick(here, NOW + 2 * HOUR)
    assert receiver.got == []


@pytest.mark.parametrize(
    ("name", "values"),
    [("notifications", {"backup": False}), ("backups", {"daily": False, "keep": 14})],
)
def test_who_wants_no_backup_or_no_word_of_it_gets_none(
    here: Installation, receiver: Receiver, name: str, values: dict[str, Any]
) -> None:
    in_the_way(here)
    housekeeping(here, NOW)
    store(here, name, **values)
    target(here, receiver.url)
    day_of(here, NOW + 2 * HOUR)
    assert receiver.got == []


def test_a_database_that_takes_no_note_stops_nothing(
    here: Installation, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(*_: object) -> None:
        raise sa.exc.OperationalError("INSERT", None, Exception("disk I/O error"))

    in_the_way(here)
    monkeypatch.setattr(sa.orm.Session, "add", refused)
    caplog.set_level("INFO")
    housekeeping(here, NOW)
    assert "could not be noted" in caplog.text
    assert "could not be made" in caplog.text
