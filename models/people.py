"""People, what they may do, how they are signed in, and what they did."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, enum_column


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class User(Base):
    __tablename__ = "users"
    __table_args__ = (sa.Index("ix_users_subject", "subject", unique=True),)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(150), unique=True)
    role: Mapped[Role] = mapped_column(enum_column(Role))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    """Empty for those who sign in elsewhere: no password fits it."""
    created_at: Mapped[dt.datetime]
    subject: Mapped[str | None] = mapped_column(sa.String(255))
    """Who this is at the identity provider: issuer and subject."""
    totp_secret: Mapped[str | None] = mapped_column(sa.Text)
    """The encrypted secret of one-time codes; `totp_since` is empty until a code proved it."""
    totp_since: Mapped[dt.datetime | None]
    totp_last_step: Mapped[int | None] = mapped_column(sa.BigInteger)
    """The newest time step whose code was used: it and all before are worthless."""


class RecoveryCode(Base):
    """A single-use code for when the phone is gone. Only a hash is kept; used ones are deleted."""

    __tablename__ = "recovery_codes"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    code_hash: Mapped[str] = mapped_column(sa.String(64))


class TokenScope(StrEnum):
    READ = "read"
    SYNC = "sync"
    """Read, and everything that an operator may do."""


class ApiToken(Base):
    """A personal token for the JSON API: never more than its owner may. Only a hash is kept."""

    __tablename__ = "api_tokens"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    name: Mapped[str] = mapped_column(sa.String(100))
    token_hash: Mapped[str] = mapped_column(sa.String(64), unique=True)
    scope: Mapped[TokenScope] = mapped_column(enum_column(TokenScope))
    created_at: Mapped[dt.datetime]
    expires_at: Mapped[dt.datetime]
    last_used_at: Mapped[dt.datetime | None]
    user: Mapped[User] = relationship(lazy="joined")


class Setting(Base):
    """One setting that a person changed; what is missing here has its default."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[dict[str, Any]]


class AuditEvent(Base):
    """Who did what, when, with the values before and after. Only ever added to."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(sa.Text)
    action: Mapped[str] = mapped_column(sa.String(64))
    subject: Mapped[str] = mapped_column(sa.Text)
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))


class LoginSession(Base):
    """A signed-in browser. Only a hash of its token is kept; without its row a cookie is dead."""

    __tablename__ = "login_sessions"

    token_hash: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), index=True)
    created_at: Mapped[dt.datetime]
    last_seen_at: Mapped[dt.datetime]
    awaits_code: Mapped[bool] = mapped_column(default=False, server_default=sa.false())
    """The password was right, the one-time code is still to come: nobody is signed in yet."""
    user: Mapped[User] = relationship(lazy="joined")


class LoginAttempt(Base):
    """A failed attempt to sign in, counted per account and per address."""

    __tablename__ = "login_attempts"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    account: Mapped[str] = mapped_column(sa.String(150), index=True)
    address: Mapped[str] = mapped_column(sa.String(64), index=True)


class ConnectionValue(Base):
    """A value that reaching a vendor needs. Secrets are encrypted; the key is not in here."""

    __tablename__ = "connection_values"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[str] = mapped_column(sa.Text)
    secret: Mapped[bool]
    updated_at: Mapped[dt.datetime]
