"""Changing and removing accounts: never the last administrator, never by surprise."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import Role
from services.people import passwords, second_factor, throttle
from services.people.accounts import AccountError, find_by_name, record, refuse_weak
from services.people.api_tokens import end_tokens_of
from services.people.sign_in import alive, end_sessions_of, guessed_at

_GONE = "This user is gone: somebody else removed it. Nothing was changed."


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the list shows it."""

    id: int
    name: str
    role: Role
    created_at: dt.datetime
    second_factor: bool
    elsewhere: bool
    """Signs in by an identity provider, and so has no password here."""
    seen_at: dt.datetime | None
    sessions: int


def accounts(session: Session, *, now: dt.datetime) -> list[Account]:
    """Everybody who may sign in, by name, with the sessions that are alive."""
    login, user = models.LoginSession, models.User
    sessions = sa.func.count(sa.case((alive(now), 1)))
    query = (
        sa.select(
            user.id, user.name, user.role, user.created_at, user.totp_since.is_not(None),
            user.subject.is_not(None),
            sa.func.max(login.last_seen_at, type_=login.last_seen_at.type), sessions,
        )
        .outerjoin(login, login.user_id == user.id)
        .group_by(user.id)
        .order_by(sa.func.lower(user.name))
    )  # fmt: skip
    return [Account(*row) for row in session.execute(query)]


def change_role(
    session: Session, user_id: int, role: Role, *, by: models.User, now: dt.datetime
) -> models.User:
    """Give a user another role; their sessions end. Raises AccountError."""
    user = _other(session, user_id, by)
    before = user.role
    if before is role:
        return user
    if before is Role.ADMIN:
        _keep_an_administrator(session, user)
    user.role = role
    end_sessions_of(session, user)
    was, becomes = {"role": before}, {"role": role}
    record(session, "user.role", user, actor=by.name, now=now, before=was, after=becomes)
    return user


def set_password(
    session: Session,
    user_id: int,
    password: str,
    *,
    actor: str,
    now: dt.datetime,
    kept: str | None = None,
) -> models.User:
    """A new password; every session and API token of the user ends. Raises AccountError.

    `kept` is its hash, for who has asked the database something already: making it takes long,
    and everybody else's writes would wait for it.
    """
    refuse_weak(password, "")
    kept = kept or passwords.hashed(password)
    user = _found(session, user_id)
    _refuse_elsewhere(user)
    refuse_weak(password, user.name)
    user.password_hash = kept
    end_sessions_of(session, user)
    end_tokens_of(session, user, actor=actor, now=now)
    throttle.forgive(session, guessed_at(user.name))
    after = {"password": "(secret)"}
    record(session, "user.password", user, actor=actor, now=now, after=after)
    return user


def end_sessions(session: Session, user_id: int, *, now: dt.datetime) -> models.User:
    """End every session of a user, as the user wants it. Raises AccountError."""
    user = _found(session, user_id)
    end_sessions_of(session, user)
    record(session, "user.sessions", user, actor=user.name, now=now, after={"sessions": "ended"})
    return user


def remove_second_factor(
    session: Session, user_id: int, *, by: models.User, now: dt.datetime
) -> models.User:
    """Let somebody else in who lost their second factor; their sessions end. Raises AccountError.

    One's own is switched off on the account's page, which asks for the password.
    """
    user = _other(session, user_id, by)
    second_factor.remove(session, user, actor=by.name, now=now)
    return user


def delete_user(session: Session, user_id: int, *, by: models.User, now: dt.datetime) -> str:
    """Remove an account with its sessions, tokens and unsaved edits; returns its name.

    The audit keeps what it did. Raises AccountError.
    """
    user = _other(session, user_id, by)
    if user.role is Role.ADMIN:
        _keep_an_administrator(session, user)
    _lock(session, user)
    end_sessions_of(session, user)
    end_tokens_of(session, user, actor=by.name, now=now)
    for table in (models.StagedEdit, models.RecoveryCode):
        session.execute(sa.delete(table).where(table.user_id == user.id))
    record(session, "user.delete", user, actor=by.name, now=now, before={"role": user.role})
    session.delete(user)
    return user.name


def find_user(session: Session, user_id: int) -> models.User:
    """The user with this id. Raises AccountError."""
    return _found(session, user_id)


def named(session: Session, name: str) -> models.User:
    """The user of this name, for who has only the name. Raises AccountError."""
    user = find_by_name(session, name)
    if user is None:
        raise AccountError(f"There is no user {name!r}. Nothing was changed.")
    return user


def _found(session: Session, user_id: int) -> models.User:
    user = session.get(models.User, user_id)
    if user is None:
        raise AccountError(_GONE)
    return user


def _refuse_elsewhere(user: models.User) -> None:
    """A password would be a second way in, which the groups over there do not close."""
    if user.subject is not None:
        raise AccountError(
            f"{user.name} signs in elsewhere and gets no password here. Nothing was changed; for "
            "a way in that does not depend on the identity provider add another user."
        )


def _other(session: Session, user_id: int, by: models.User) -> models.User:
    user = _found(session, user_id)
    if user.id == by.id:
        raise AccountError(
            "This is your own account. Nothing was changed; ask another administrator."
        )
    return user


def _keep_an_administrator(session: Session, user: models.User) -> None:
    """Locks the administrators, so that two cannot remove each other at the same moment."""
    admins = sa.select(models.User.id).where(models.User.role == Role.ADMIN).with_for_update()
    if set(session.scalars(admins)) <= {user.id}:
        raise AccountError(
            f"{user.name} is the only administrator. Nothing was changed; make another one first."
        )


def _lock(session: Session, user: models.User) -> None:
    """Whoever signs in as this user right now has done so, or will find nobody."""
    users = models.User
    row = sa.select(users.id).where(users.id == user.id).with_for_update()
    if session.scalar(row) is None:
        raise AccountError(_GONE)
