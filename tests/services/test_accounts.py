"""Accounts: a hash, a role, and an event that says who made it."""

from __future__ import annotations

import datetime as dt

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.orm import Session

import models
from services.people.accounts import AccountError, create_user, find_by_name

GOOD = "twelve chars"


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
    [
        ("", GOOD),
        ("  ", GOOD),
        ("x" * 151, GOOD),
        ("be\u202en", GOOD),
        ("be\0n", GOOD),
        ("ben", ""),
        ("ben", GOOD[:-1]),
        ("ben", GOOD * 84),
        ("anna", GOOD),
        ("Anna", GOOD),
        ("ANNA ", GOOD),
        ("\uff41nna", GOOD),
    ],
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


@pytest.mark.parametrize("written", ["Jörg Öz", " jörg  öz ", "JÖRG ÖZ", "jo\u0308rg o\u0308z"])
def test_a_name_is_found_however_it_is_written(
    session: Session, now: dt.datetime, written: str
) -> None:
    make(session, now, "Jörg  Öz")
    found = find_by_name(session, written)
    assert found is not None
    assert found.name == "Jörg Öz"
    assert find_by_name(session, "jörg") is None


@pytest.mark.parametrize("name", ["\u00b4anna", "\u00a8 anna", "a\u00a8nna", "\u017fanna"])
def test_a_name_is_found_as_it_was_typed(session: Session, now: dt.datetime, name: str) -> None:
    """Also where a letter is taken apart into a blank and a mark."""
    make(session, now, name)
    session.commit()
    assert find_by_name(session, name) is not None
    with pytest.raises(AccountError, match="There is a user"):
        make(session, now, name)


@pytest.mark.parametrize(
    "name",
    ["Tallybridge", "command line", "Command Line (root)", "command line(root)", "single sign-on"],
)
def test_a_name_of_the_audit_is_nobody_s(session: Session, now: dt.datetime, name: str) -> None:
    """What such a person did would look as if nobody had."""
    with pytest.raises(AccountError, match=r"Nothing was changed\.$"):
        make(session, now, name)


def test_of_two_names_from_before_the_exact_one_is_meant(
    session: Session, now: dt.datetime
) -> None:
    for name in ("Anna", "anna"):
        session.add(
            models.User(name=name, role=models.Role.VIEWER, password_hash="x", created_at=now)
        )
    for name in ("Anna", "anna"):
        found = find_by_name(session, name)
        assert found is not None
        assert found.name == name
