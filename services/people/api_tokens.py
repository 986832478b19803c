"""Personal tokens of the JSON API: shown once, kept as a hash, worth no more than their owner."""

from __future__ import annotations

import dataclasses
import datetime as dt
import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import Role, TokenScope
from services import audit
from services.people import sign_in_events, throttle
from services.people.sign_in_events import Way

PREFIX = "tb_"
LIFETIMES = (30, 90, 365)
"""How many days a token may live: one of these, so none lives for ever."""
USE_NOTED_EVERY = dt.timedelta(minutes=1)
WRONG_TOKENS = (throttle.Limit(50, throttle.WINDOW, throttle.Of.BOTH),)
"""A token cannot be guessed; this keeps the log and the database small while somebody tries."""
_SOON = dt.timedelta(days=14)


class TokenError(ValueError):
    """The token cannot be made or revoked as asked; the message says why."""


class TokenExpiredError(Exception):
    """The token was right once; its days are over."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls the API by a living token, and as what: the smaller of scope and present role."""

    token_id: int
    token_name: str
    user_id: int
    user_name: str
    role: Role
    used_at: dt.datetime | None

    @property
    def actor(self) -> str:
        """The name under which runs and the audit record what this caller does."""
        return f"{self.user_name} (API token {self.token_name})"[:150]


@dataclass(frozen=True, slots=True)
class TokenLine:
    """A token as the list shows it."""

    id: int
    name: str
    owner_id: int
    owner: str
    scope: TokenScope
    role: Role
    created_at: dt.datetime
    expires_at: dt.datetime
    last_used_at: dt.datetime | None
    now: dt.datetime

    @property
    def narrowed(self) -> bool:
        """Whether its owner's role allows less today than its scope says."""
        return self.scope is TokenScope.SYNC and self.role is Role.VIEWER

    @property
    def state(self) -> tuple[str, str]:
        """Colour and words of its state."""
        left = self.expires_at - self.now
        if left <= dt.timedelta(0):
            return "bad", "expired"
        if left > _SOON:
            return "good", "active"
        days = "less than a day" if not left.days else f"{left.days} days"
        return "warn", f"{'1 day' if left.days == 1 else days} left"


def effective_role(scope: TokenScope, role: Role) -> Role:
    """What a token may do today; never what administrators alone may."""
    if scope is TokenScope.READ or role is Role.VIEWER:
        return Role.VIEWER
    return Role.OPERATOR


def allowed_scopes(role: Role) -> tuple[TokenScope, ...]:
    """The scopes that somebody of this role may give to a token."""
    return (TokenScope.READ,) if role is Role.VIEWER else tuple(TokenScope)


# --- making and ending --------------------------------------------------------------------------


def make_token(
    session: Session,
    owner: models.User,
    *,
    name: str,
    scope: TokenScope,
    days: int,
    now: dt.datetime,
) -> str:
    """Make a token for `days` and return it: it is not kept, so this is the only time to see it.

    Raises TokenError.
    """
    name = name.strip()
    if not name or len(name) > 100:
        raise TokenError("The name must have 1 to 100 characters. Nothing was changed.")
    if days not in LIFETIMES:
        raise TokenError("Choose how long the token may live. Nothing was changed.")
    if scope not in allowed_scopes(owner.role):
        raise TokenError("A viewer's token can only read. Nothing was changed.")
    same = sa.select(models.ApiToken.id).where(
        models.ApiToken.user_id == owner.id, models.ApiToken.name == name
    )
    if session.scalar(same) is not None:
        raise TokenError(
            f"You have a token {name!r} already. Nothing was changed; choose another name, or "
            "revoke that one first."
        )
    token = PREFIX + secrets.token_urlsafe(32)
    row = models.ApiToken(
        user_id=owner.id,
        name=name,
        token_hash=_digest(token),
        scope=scope,
        created_at=now,
        expires_at=now + dt.timedelta(days=days),
    )
    session.add(row)
    after = {"scope": scope.value, "expires": row.expires_at.date().isoformat()}
    _record(session, "token.create", name, owner, actor=owner.name, now=now, after=after)
    return token


def find_token(session: Session, number: int, *, by: models.User) -> models.ApiToken:
    """A token that this person may see: their own, for administrators any. Raises TokenError."""
    row = session.get(models.ApiToken, number)
    if row is None or (row.user_id != by.id and by.role is not Role.ADMIN):
        raise TokenError("This token is gone: it was revoked. Nothing was changed.")
    return row


def revoke_token(session: Session, number: int, *, by: models.User, now: dt.datetime) -> str:
    """End a token at once; returns its name. Raises TokenError."""
    row = find_token(session, number, by=by)
    _end(session, row, actor=by.name, now=now)
    return row.name


def end_tokens_of(session: Session, user: models.User, *, actor: str, now: dt.datetime) -> int:
    """End every token of a user, with the account or its password; returns how many."""
    rows = session.scalars(
        sa.select(models.ApiToken)
        .where(models.ApiToken.user_id == user.id)
        .order_by(models.ApiToken.id)
    ).all()
    for row in rows:
        _end(session, row, actor=actor, now=now)
    return len(rows)


def tokens(session: Session, person: models.User, *, now: dt.datetime) -> list[TokenLine]:
    """A person's tokens, or for administrators everybody's, by owner and name."""
    query = (
        sa.select(models.ApiToken, models.User)
        .join(models.User, models.User.id == models.ApiToken.user_id)
        .order_by(sa.func.lower(models.User.name), sa.func.lower(models.ApiToken.name))
    )
    if person.role is not Role.ADMIN:
        query = query.where(models.ApiToken.user_id == person.id)
    return [
        TokenLine(
            row.id, row.name, user.id, user.name, row.scope, user.role, row.created_at,
            row.expires_at, row.last_used_at, now,
        )
        for row, user in session.execute(query)
    ]  # fmt: skip


# --- being used ---------------------------------------------------------------------------------


def identify(session: Session, token: str, *, now: dt.datetime) -> Caller | None:
    """Who holds this token; None when there is no such token. Raises TokenExpiredError."""
    row = session.scalar(
        sa.select(models.ApiToken).where(models.ApiToken.token_hash == _digest(token))
    )
    if row is None:
        return None
    if row.expires_at <= now:
        raise TokenExpiredError
    return Caller(
        token_id=row.id,
        token_name=row.name,
        user_id=row.user_id,
        user_name=row.user.name,
        role=effective_role(row.scope, row.user.role),
        used_at=row.last_used_at,
    )


def use_is_news(caller: Caller, *, now: dt.datetime) -> bool:
    """Whether the last use that was noted is old enough to note another one."""
    return caller.used_at is None or now - caller.used_at >= USE_NOTED_EVERY


def note_use(session: Session, caller: Caller, *, now: dt.datetime) -> None:
    """Remember when a token was used last, in a transaction of its own."""
    session.execute(
        sa.update(models.ApiToken)
        .where(models.ApiToken.id == caller.token_id)
        .values(last_used_at=now)
    )


def count_wrong(session: Session, address: str, *, now: dt.datetime) -> None:
    """Count a wrong token of this address. Raises ThrottledError beyond the limit.

    It is counted apart from wrong passwords: a script with a dead token must not keep the people
    of its office from signing in.
    """
    where = f"api {throttle.neighbourhood(address)}"
    attempt = throttle.claim(session, "api token", where, WRONG_TOKENS, now=now)
    there = dataclasses.replace(attempt, address=throttle.neighbourhood(address))
    sign_in_events.failed(session, there, Way.API_TOKEN, None, address=address, now=now)


def _end(session: Session, row: models.ApiToken, *, actor: str, now: dt.datetime) -> None:
    before = {"scope": row.scope.value, "expires": row.expires_at.date().isoformat()}
    _record(session, "token.revoke", row.name, row.user, actor=actor, now=now, before=before)
    session.delete(row)


def _record(
    session: Session,
    action: str,
    name: str,
    owner: models.User,
    *,
    actor: str,
    now: dt.datetime,
    before: dict[str, str] | None = None,
    after: dict[str, str] | None = None,
) -> None:
    audit.record(
        session,
        at=now,
        actor=actor,
        action=action,
        subject=f"API token {name} of {owner.name}",
        before=before,
        after=after,
    )


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
