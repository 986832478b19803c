"""Changing and removing accounts: never the last administrator, never by surprise."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.orm import Session

import models
from models import Role
from services import audit
from services.accounts import MIN_PASSWORD, AccountError
from services.sign_in import ABSOLUTE, IDLE, end_sessions_of


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the list shows it."""

    id: int
    name: str
    role: Role
    created_at: dt.datetime
    seen_at: dt.datetime | None
    sessions: int


def accounts(session: Session, *, now: dt.datetime) -> list[Account]:
    """Everybody who may sign in, by name, with the sessions that are alive."""
    login, user = models.LoginSession, models.User
    alive = sa.and_(login.last_seen_at > now - IDLE, login.created_at > now - ABSOLUTE)
    sessions = sa.func.count(sa.case((alive, 1)))
    query = (
        sa.select(
            user.id, user.name, user.role, user.created_at,
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
    _record(session, "user.role", user, by, now, before={"role": before}, after={"role": role})
    return user


def set_password(
    session: Session, user_id: int, password: str, *, by: models.User, now: dt.datetime
) -> models.User:
    """A new password; every session of the user ends. Raises AccountError."""
    user = _found(session, user_id)
    if len(password) < MIN_PASSWORD:
        raise AccountError(
            f"The password must have at least {MIN_PASSWORD} characters. Nothing was changed."
        )
    user.password_hash = PasswordHasher().hash(password)
    end_sessions_of(session, user)
    _record(session, "user.password", user, by, now, before=None, after={"password": "(secret)"})
    return user


def delete_user(session: Session, user_id: int, *, by: models.User, now: dt.datetime) -> str:
    """Remove an account with its sessions and unsaved edits; returns its name.

    The audit keeps what it did. Raises AccountError.
    """
    user = _other(session, user_id, by)
    if user.role is Role.ADMIN:
        _keep_an_administrator(session, user)
    end_sessions_of(session, user)
    session.execute(sa.delete(models.StagedEdit).where(models.StagedEdit.user_id == user.id))
    _record(session, "user.delete", user, by, now, before={"role": user.role}, after=None)
    session.delete(user)
    return user.name


def find_user(session: Session, user_id: int) -> models.User:
    """The user with this id. Raises AccountError."""
    return _found(session, user_id)


def _found(session: Session, user_id: int) -> models.User:
    user = session.get(models.User, user_id)
    if user is None:
        raise AccountError("This user is gone: somebody else removed it. Nothing was changed.")
    return user


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


def _record(
    session: Session,
    action: str,
    user: models.User,
    by: models.User,
    now: dt.datetime,
    *,
    before: dict[str, str] | None,
    after: dict[str, str] | None,
) -> None:
    audit.record(
        session,
        at=now,
        actor=by.name,
        action=action,
        subject=f"user {user.name}",
        before=before,
        after=after,
    )
