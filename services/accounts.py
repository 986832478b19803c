"""People who may sign in."""

from __future__ import annotations

import datetime as dt

from argon2 import PasswordHasher
from sqlalchemy import select
from sqlalchemy.orm import Session

import models
from services import audit

MIN_PASSWORD = 12


class AccountError(ValueError):
    """The account cannot be made as asked; the message says why."""


def create_user(
    session: Session,
    *,
    name: str,
    password: str,
    role: models.Role,
    actor: str,
    now: dt.datetime,
) -> models.User:
    """Make an account; only a hash of the password is kept. Raises AccountError."""
    name = name.strip()
    if not name or len(name) > 150:
        raise AccountError("The name must have 1 to 150 characters. Nothing was changed.")
    if len(password) < MIN_PASSWORD:
        raise AccountError(
            f"The password must have at least {MIN_PASSWORD} characters. Nothing was changed."
        )
    if session.scalar(select(models.User).where(models.User.name == name)):
        raise AccountError(f"There is a user {name!r} already. Nothing was changed.")
    user = models.User(
        name=name, role=role, password_hash=PasswordHasher().hash(password), created_at=now
    )
    session.add(user)
    audit.record(
        session,
        at=now,
        actor=actor,
        action="user.create",
        subject=f"user {name}",
        after={"role": role.value},
    )
    return user
