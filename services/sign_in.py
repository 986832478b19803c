"""Signing in: passwords, throttled attempts, and sessions that live on the server."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy.orm import Session

import models

IDLE = dt.timedelta(hours=12)
ABSOLUTE = dt.timedelta(days=7)
WINDOW = dt.timedelta(minutes=15)
ATTEMPTS_PER_ACCOUNT = 10
ATTEMPTS_PER_ADDRESS = 50

_hasher = PasswordHasher()
_NOBODY = _hasher.hash(secrets.token_urlsafe())
"""Checked for names that do not exist, so that time does not tell which do."""


class ThrottledError(Exception):
    """Too many failed attempts; the password was not even looked at."""


def check_password(
    session: Session, *, name: str, password: str, address: str, now: dt.datetime
) -> models.User | None:
    """The user with this name and password, or None. Raises ThrottledError.

    Failed attempts are counted per account and per address in the database, so that neither a
    restart nor a second process forgets them.
    """
    _refuse_guessing(session, name, address, now)
    user = session.scalar(sa.select(models.User).where(models.User.name == name))
    if _matches(user.password_hash if user else _NOBODY, password) and user is not None:
        return user
    session.add(models.LoginAttempt(at=now, account=name[:150], address=address))
    session.execute(sa.delete(models.LoginAttempt).where(models.LoginAttempt.at < now - WINDOW))
    return None


def begin_session(session: Session, user: models.User, *, now: dt.datetime) -> str:
    """A new session for a user; returns the token that the browser is to hold."""
    token = secrets.token_urlsafe(32)
    session.add(
        models.LoginSession(
            token_hash=_digest(token), user_id=user.id, created_at=now, last_seen_at=now
        )
    )
    return token


def find_session(session: Session, token: str, *, now: dt.datetime) -> models.LoginSession | None:
    """The living session of a token, marked as seen (at most once a minute)."""
    found = session.get(models.LoginSession, _digest(token))
    if found is None:
        return None
    if now - found.last_seen_at > IDLE or now - found.created_at > ABSOLUTE:
        return None
    if now - found.last_seen_at > dt.timedelta(minutes=1):
        found.last_seen_at = now
    return found


def end_session(session: Session, token: str) -> None:
    """Make a token worthless, wherever a copy of it is."""
    session.execute(
        sa.delete(models.LoginSession).where(models.LoginSession.token_hash == _digest(token))
    )


def end_sessions_of(session: Session, user: models.User) -> None:
    """End every session of a user: after a new password or another role."""
    session.execute(sa.delete(models.LoginSession).where(models.LoginSession.user_id == user.id))


def _refuse_guessing(session: Session, name: str, address: str, now: dt.datetime) -> None:
    recent = models.LoginAttempt.at > now - WINDOW
    count = sa.select(sa.func.count()).select_from(models.LoginAttempt)
    by_account = session.scalar(count.where(recent, models.LoginAttempt.account == name[:150]))
    by_address = session.scalar(count.where(recent, models.LoginAttempt.address == address))
    if (by_account or 0) >= ATTEMPTS_PER_ACCOUNT or (by_address or 0) >= ATTEMPTS_PER_ADDRESS:
        raise ThrottledError


def _matches(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
