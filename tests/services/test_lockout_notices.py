"""What people are told of guesses at their passwords: little, and not again and again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

import models
from services.monitoring.notices import collect, due
from services.people.sign_in_events import LOCKED, Way
from services.settings import AppSettings, Notifications, Schedule

NOW = dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)
MINUTE, HOUR, DAY = (dt.timedelta(**{unit: 1}) for unit in ("minutes", "hours", "days"))
EVERYTHING = AppSettings(schedule=Schedule(when="by_hand"))


def locked(at: dt.datetime, way: Way = Way.PASSWORD) -> models.AuditEvent:
    return models.AuditEvent(
        at=at, actor="Tallybridge", action=LOCKED, subject="user @anna", after={"way": way.value}
    )


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """Of a database with a target that was added a day ago."""
    with sessionmaker(engine, autoflush=True)() as opened:
        opened.add(models.NotificationTarget(name="chat", sealed_url="", created_at=NOW - DAY))
        yield opened


def told(session: Session, settings: AppSettings = EVERYTHING) -> list[str]:
    return [each.message for each in due(session, settings, NOW)]


def test_one_lockout_is_no_news_and_three_of_a_day_are(session: Session) -> None:
    session.add_all([locked(NOW), locked(NOW - HOUR), locked(NOW - 10 * HOUR)])
    assert told(session) == []  # the third one was yesterday
    session.add(locked(NOW))
    (message,) = told(session)
    assert message.startswith("On 2026-11-22 failed sign-ins were stopped 3 times and more.")
    assert told(session, AppSettings(notifications=Notifications(lockouts=False))) == []


def test_a_hundred_of_them_are_one_notice_a_day(session: Session) -> None:
    kept = 0
    for minute in range(100):
        session.add(locked(NOW + minute * MINUTE))
        kept += collect(session, EVERYTHING, NOW + minute * MINUTE)
    assert kept == 1
    session.add_all(locked(NOW + DAY) for _ in range(3))
    assert collect(session, EVERYTHING, NOW + DAY) == 1


def test_the_evening_s_are_told_after_midnight_once(session: Session) -> None:
    late = dt.datetime(2026, 11, 22, 23, 59, tzinfo=dt.UTC)
    session.add_all(locked(late) for _ in range(3))
    assert collect(session, EVERYTHING, late + 2 * MINUTE) == 1
    assert collect(session, EVERYTHING, late + HOUR) == 0


@pytest.mark.parametrize("way", [Way.CODE, Way.RECOVERY_CODE])
def test_who_knows_the_password_is_told_at_once(session: Session, way: Way) -> None:
    session.add(locked(NOW, way))
    (message,) = told(session)
    assert "knows the password of (at)anna" in message
