"""Accounts: a hash, a role, and an event that says who made it."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.orm import Session

import models
from services.accounts import MIN_PASSWORD, AccountError, create_user

GOOD = "p" * MIN_PASSWORD


def make(session: Session, now: dt.datetime, name: str = "anna", password: str = GOOD) -> None:
    create_user(
        session, name=name, password=password, role=models.Role.ADMIN, actor="root", now=now
    )


def test_only_a_hash_is_kept(session: Session, now: dt.datetime) -> None:
    make(session, now, " anna ")
    session.commit()
    [user] = session.scalars(sa.select(models.User))
    assert (user.name, user.role, user.created_at) == ("anna", models.Role.ADMIN, now)
    assert user.password_hash.startswith("$argon2id$")
    assert PasswordHasher().verify(user.password_hash, GOOD)


def test_two_equal_passwords_have_two_hashes(session: Session, now: dt.datetime) -> None:
    make(session, now, "a")
    make(session, now, "b")
    assert len(set(session.scalars(sa.select(models.User.password_hash)))) == 2


def test_the_audit_says_who_made_it_and_not_the_password(
    session: Session, now: dt.datetime
) -> None:
    make(session, now)
    session.flush()
    [event] = session.scalars(sa.select(models.AuditEvent))
    assert (event.actor, event.action, event.subject) == ("root", "user.create", "user anna")
    assert event.at == now
    assert GOOD not in f"{event.before} {event.after}"
    assert event.after is not None
    assert event.after["role"] == "admin"


@pytest.mark.parametrize(
    ("name", "password"),
    [("", GOOD), ("  ", GOOD), ("x" * 151, GOOD), ("ben", ""), ("ben", GOOD[:-1]), ("anna", GOOD)],
)
def test_what_cannot_be_an_account_is_refused(
    session: Session, now: dt.datetime, name: str, password: str
) -> None:
    make(session, now)
    session.commit()
    with pytest.raises(AccountError, match=r"Nothing was changed\.$"):
        make(session, now, name, password)
    session.rollback()
    assert session.scalar(sa.select(sa.func.count()).select_from(models.User)) == 1
    assert session.scalar(sa.select(sa.func.count()).select_from(models.AuditEvent)) == 1
