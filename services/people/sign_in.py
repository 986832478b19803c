"""Signing in with a password, and sessions that live on the server."""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.people import passwords, sign_in_events, throttle
from services.people.accounts import find_by_name, folded
from services.people.sign_in_events import Way
from services.people.throttle import ThrottledError

__all__ = ["ThrottledError"]

IDLE = dt.timedelta(hours=12)
ABSOLUTE = dt.timedelta(days=7)
FOR_THE_CODE = dt.timedelta(minutes=5)
"""How long after the password the one-time code may be entered."""


@dataclass(frozen=True, slots=True)
class Proof:
    """The password was right a moment ago; `accept` turns this into a user."""

    user_id: int
    attempt: int
    stored: str
    renewed: str | None


def check_password(
    open_session: Callable[[], Session],
    *,
    name: str,
    password: str,
    address: str,
    now: dt.datetime,
) -> Proof | None:
    """Whether this is the user's password. Raises ThrottledError before it is looked at.

    The attempt is counted in a short transaction of its own. None is open while the password is
    hashed, which takes long: everybody else's writes would wait for it.
    """
    with open_session() as session, session.begin():
        attempt = throttle.claim(session, guessed_at(name), address, throttle.PASSWORDS, now=now)
        user = find_by_name(session, name)
    stored = user.password_hash if user else ""
    if not passwords.matches(stored, password) or user is None:
        sign_in_events.failed_alone(
            open_session, attempt, Way.PASSWORD, user, address=address, now=now
        )
        return None
    renewed = passwords.hashed(password) if passwords.outdated(stored) else None
    return Proof(user.id, attempt.id, stored, renewed)


def accept(session: Session, proof: Proof | None) -> models.User | None:
    """The user whose password was right, and still is; the attempt counts no more.

    Meanwhile the password may have been changed, or the user removed: then nobody.
    """
    if proof is None:
        return None
    users = models.User
    user = session.scalar(sa.select(users).where(users.id == proof.user_id).with_for_update())
    if user is None or user.password_hash != proof.stored:
        return None
    throttle.succeeded(session, proof.attempt)
    user.password_hash = proof.renewed or user.password_hash
    return user


def guessed_at(name: str) -> str:
    """Under which account guesses at the password of this name are counted.

    Only as much of a hash as tells names apart: what was typed may be a password, and no backup
    should hold it.
    """
    shown = "".join(letter for letter in folded(name) if letter.isprintable())
    return f"password:{_digest(shown)[:8]}"


def begin_session(session: Session, user: models.User, *, now: dt.datetime) -> str:
    """A new session for a user; returns the token that the browser is to hold.

    Sessions that are over anyway are removed.
    """
    login = models.LoginSession
    session.execute(
        sa.delete(login).where(
            sa.or_(login.last_seen_at < now - IDLE, login.created_at < now - ABSOLUTE)
        )
    )
    return _begin(session, user, now=now, awaits_code=False)


def begin_waiting(session: Session, user: models.User, *, now: dt.datetime) -> str:
    """Remember that the password was right; the token only lets the one-time code be entered."""
    return _begin(session, user, now=now, awaits_code=True)


def find_session(session: Session, token: str, *, now: dt.datetime) -> models.LoginSession | None:
    """The living session of a token, marked as seen (at most once a minute).

    One that still waits for its code is none.
    """
    found = session.get(models.LoginSession, _digest(token))
    if found is None or found.awaits_code:
        return None
    if now - found.last_seen_at > IDLE or now - found.created_at > ABSOLUTE:
        return None
    if now - found.last_seen_at > dt.timedelta(minutes=1):
        found.last_seen_at = now
    return found


def find_waiting(session: Session, token: str, *, now: dt.datetime) -> models.LoginSession | None:
    """The session that waits for its one-time code, if it is not too late."""
    found = session.get(models.LoginSession, _digest(token))
    if found is None or not found.awaits_code or now - found.created_at > FOR_THE_CODE:
        return None
    return found


def sessions_of(session: Session, user_id: int, *, now: dt.datetime) -> list[models.LoginSession]:
    """The living sessions of a user, the one used last first."""
    login = models.LoginSession
    query = sa.select(login).where(login.user_id == user_id, alive(now))
    return list(session.scalars(query.order_by(login.last_seen_at.desc())))


def alive(now: dt.datetime) -> sa.ColumnElement[bool]:
    """The condition that a session lets somebody in."""
    login = models.LoginSession
    return sa.and_(
        login.last_seen_at >= now - IDLE,
        login.created_at >= now - ABSOLUTE,
        login.awaits_code.is_(sa.false()),
    )


def is_of(login: models.LoginSession, token: str) -> bool:
    """Whether this session is the token's."""
    return login.token_hash == _digest(token)


def end_session(session: Session, token: str) -> bool:
    """Make a token worthless, wherever a copy of it is. False: it was worthless already."""
    login = models.LoginSession
    gone = sa.delete(login).where(login.token_hash == _digest(token)).returning(login.user_id)
    return session.scalar(gone) is not None


def end_sessions_of(session: Session, user: models.User) -> None:
    """End every session of a user: whenever how they sign in, or what they may do, changes."""
    session.flush()  # first the change, so that no session begins under what was before
    session.execute(sa.delete(models.LoginSession).where(models.LoginSession.user_id == user.id))


def _begin(session: Session, user: models.User, *, now: dt.datetime, awaits_code: bool) -> str:
    token = secrets.token_urlsafe(32)
    session.add(
        models.LoginSession(
            token_hash=_digest(token),
            user_id=user.id,
            created_at=now,
            last_seen_at=now,
            awaits_code=awaits_code,
        )
    )
    return token


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
