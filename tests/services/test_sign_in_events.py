"""What the log and the audit have of signing in: everything, once, and nothing that was typed."""

from __future__ import annotations

import datetime as dt
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, sessionmaker

import models
from services.people import sign_in_events, throttle
from services.people.accounts import create_user
from services.people.api_tokens import WRONG_TOKENS, count_wrong
from services.people.sign_in import check_password
from services.people.sign_in_events import LOCKED, SIGNED_IN, Way, signed_in
from services.people.throttle import ThrottledError

GOOD, HERE, TYPED = "correct horse battery", "203.0.113.7", "hunter2 is my password"
MINUTE = dt.timedelta(minutes=1)
Open = Callable[[], Session]


@pytest.fixture
def open_session(engine: Engine, now: dt.datetime) -> Open:
    """Sessions of a database that has the user anna; a password is compared in no time."""
    opener = sessionmaker(engine, expire_on_commit=False)
    with opener() as session, session.begin():
        admin = models.Role.ADMIN
        create_user(session, name="anna", password=GOOD, role=admin, actor="root", now=now)
    return opener


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.people.passwords.matches", lambda _stored, given: given == GOOD)


def guess(open_session: Open, now: dt.datetime, name: str = "anna", address: str = HERE) -> bool:
    """Whether a wrong password was looked at."""
    try:
        check_password(open_session, name=name, password=TYPED, address=address, now=now)
    except ThrottledError:
        return False
    return True


def events(open_session: Open, action: str = LOCKED) -> list[models.AuditEvent]:
    query = sa.select(models.AuditEvent).where(models.AuditEvent.action == action)
    with open_session() as session:
        return list(session.scalars(query.order_by(models.AuditEvent.id)))


@contextmanager
def writes_of(engine: Engine) -> Iterator[list[str]]:
    """Every statement that changes something."""
    found: list[str] = []

    def look(_c: Any, _k: Any, statement: str, *_rest: Any) -> None:
        if statement.split(maxsplit=1)[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            found.append(statement)

    sa.event.listen(engine, "before_cursor_execute", look)
    yield found
    sa.event.remove(engine, "before_cursor_execute", look)


# --- lockouts -----------------------------------------------------------------------------------


def test_a_thousand_guesses_are_one_event(open_session: Open, now: dt.datetime) -> None:
    looked_at = sum(guess(open_session, now) for _ in range(1000))
    (event,) = events(open_session)
    assert looked_at == 10
    assert (event.actor, event.subject) == ("Tallybridge", "user anna")
    assert event.after == {
        "way": "password", "refused": f"from {HERE}", "failed_attempts": "10 within 15 minutes",
    }  # fmt: skip


def test_a_refused_guess_writes_nothing(
    open_session: Open, engine: Engine, now: dt.datetime
) -> None:
    counts = []
    for _ in range(12):
        with writes_of(engine) as written:
            guess(open_session, now)
        counts.append(len(written))
    assert counts == [2] * 9 + [3] + [0, 0]  # counted; with its event; refused


def test_the_name_that_was_typed_is_kept_only_if_it_is_an_account_s(
    open_session: Open, now: dt.datetime, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(60):
        guess(open_session, now, name=TYPED)
    guess(open_session, now, name=" ANNA ", address="192.0.2.1")
    lines = [vars(record) for record in caplog.records]
    assert TYPED not in repr(lines)
    accounts = [line["account"] for line in lines if line["msg"] == "sign-in failed"]
    assert accounts == [None] * 10 + ["anna"]
    with open_session() as session:
        counted = session.scalars(sa.select(models.LoginAttempt.account)).all()
    assert TYPED not in repr(counted)
    assert len(set(counted)) == 2
    (event,) = events(open_session)
    assert event.subject == "a name that nobody has"
    assert TYPED not in json.dumps(event.after)


def test_as_much_is_written_for_a_name_that_nobody_has(
    open_session: Open, engine: Engine, now: dt.datetime
) -> None:
    for name in ("anna", "nobody"):
        with writes_of(engine) as written:
            for _ in range(12):
                guess(open_session, now, name=name)
        assert len(written) == 21, name


def test_an_address_that_tries_many_names_is_stopped_and_told(
    open_session: Open, now: dt.datetime
) -> None:
    for number in range(100):
        guess(open_session, now, name=f"name {number}", address="2001:db8::7")
    (event,) = events(open_session)
    assert event.subject == "address 2001:db8::/64"
    assert event.after is not None
    assert event.after["failed_attempts"] == "50 within 15 minutes"


def test_guesses_from_many_addresses_are_told_of_the_account(
    open_session: Open, now: dt.datetime
) -> None:
    for number in range(200):
        guess(open_session, now, address=f"203.0.113.{number}")
    (event,) = events(open_session)
    assert event.after is not None
    assert (event.subject, event.after["refused"]) == ("user anna", "from everywhere")


def test_who_goes_on_is_told_once_an_hour(open_session: Open, now: dt.datetime) -> None:
    for minute in range(4 * 60):
        guess(open_session, now + minute * MINUTE)
    assert len(events(open_session)) == 4


def test_a_thousand_addresses_do_not_fill_the_audit(open_session: Open, now: dt.datetime) -> None:
    with open_session() as session, session.begin():
        for number in range(1000):
            for limit in throttle.PASSWORDS[-1:]:
                attempt = throttle.Attempt(1, f"10.0.{number // 250}.{number % 250}", (limit,))
                sign_in_events.failed(
                    session, attempt, Way.PASSWORD, None, address="", now=now
                )  # fmt: skip
    found = events(open_session)
    assert len(found) == 100
    assert "more stand in the log" in (found[-1].after or {})["why"]
    assert "why" not in (found[-2].after or {})


def test_the_right_password_at_the_last_moment_is_no_lockout(
    open_session: Open, now: dt.datetime
) -> None:
    for _ in range(9):
        guess(open_session, now)
    assert check_password(open_session, name="anna", password=GOOD, address=HERE, now=now)
    assert events(open_session) == []


def test_wrong_api_tokens_are_told_too(open_session: Open, now: dt.datetime) -> None:
    for _ in range(WRONG_TOKENS[0].attempts + 5):
        try:
            with open_session() as session, session.begin():
                count_wrong(session, HERE, now=now)
        except ThrottledError:
            continue
    (event,) = events(open_session)
    assert event.subject == "API tokens"
    assert (event.after or {})["refused"] == f"from {HERE}"


# --- who came in --------------------------------------------------------------------------------


def test_each_sign_in_is_told_with_its_way(
    open_session: Open, now: dt.datetime, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with open_session() as session, session.begin():
        anna = session.scalars(sa.select(models.User)).one()
        for _ in range(2):
            signed_in(session, anna, Way.PASSWORD, Way.CODE, address=HERE, now=now)
    first, second = events(open_session, SIGNED_IN)
    assert (first.actor, first.subject) == ("anna", "user anna")
    assert first.after == second.after == {"way": "password and one-time code", "address": HERE}
    assert [vars(r)["account"] for r in caplog.records if r.msg == "signed in"] == ["anna"] * 2


def test_a_proxy_that_names_somebody_with_each_request_is_told_once_an_hour(
    open_session: Open, now: dt.datetime
) -> None:
    for minute in (0, 1, 30, 61):
        with open_session() as session, session.begin():
            anna = session.scalars(sa.select(models.User)).one()
            at = now + minute * MINUTE
            signed_in(session, anna, Way.HEADER, address=HERE, now=at)
    assert len(events(open_session, SIGNED_IN)) == 2
