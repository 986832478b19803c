"""People who may sign in: their names, and how an account begins."""

from __future__ import annotations

import datetime as dt
import unicodedata
from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session

import models
from services import audit
from services.people import passwords
from services.people.turns import take_turn

LONGEST_NAME = 150
NAMES = "names of users"
"""What takes turns when an account is made."""
MIN_PASSWORD = passwords.SHORTEST
_NOT_FOR_PEOPLE = ("tallybridge", "single sign-on", "set-up", "the environment")
_COMMAND_LINE = "command line"
"""The audit has it with who sat there: `command line (root)`."""


class AccountError(ValueError):
    """The account cannot be made or changed as asked; the message says why."""


def create_user(
    session: Session,
    *,
    name: str,
    password: str,
    role: models.Role,
    actor: str,
    now: dt.datetime,
) -> models.User:
    """Make an account; only a hash of the password is kept. Raises AccountError.

    The database is asked after the hash was made, so that nobody waits for it meanwhile.
    """
    name = tidy(name)
    _refuse_name(name)
    refuse_weak(password, name)
    kept = passwords.hashed(password)
    take_turn(session, NAMES)
    taken = find_by_name(session, name)
    if taken is not None:
        raise AccountError(f"There is a user {taken.name!r} already. Nothing was changed.")
    user = models.User(name=name, role=role, password_hash=kept, created_at=now)
    session.add(user)
    record(session, "user.create", user, actor=actor, now=now, after={"role": role.value})
    return user


def find_by_name(session: Session, name: str) -> models.User | None:
    """The user of this name, however it is written: `anna ` is Anna.

    The database compares letters of other alphabets exactly, so a few dozen names are compared
    here. Who is called exactly so comes first.
    """
    wanted = folded(name)
    found = [u for u in session.scalars(select(models.User)) if folded(u.name) == wanted]
    return next((u for u in found if u.name == name), found[0] if found else None)


def tidy(name: str) -> str:
    """A name as it is kept: single spaces, and one way to write each letter."""
    return " ".join(unicodedata.normalize("NFKC", name).split())


def folded(name: str) -> str:
    """A name as it is compared: neither capitals nor spaces at its ends make another one."""
    return unicodedata.normalize("NFKC", tidy(name).casefold())


def belongs_to_the_audit(name: str) -> bool:
    """Whether what this person does would stand in the audit as if no person had done it."""
    return folded(name) in _NOT_FOR_PEOPLE or folded(name).startswith(_COMMAND_LINE)


def refuse_weak(password: str, name: str) -> None:
    """Raise AccountError for a password that this user must not have."""
    reason = passwords.weakness(password, name)
    if reason is not None:
        raise AccountError(f"{reason} Nothing was changed.")


def record(
    session: Session,
    action: str,
    user: models.User,
    *,
    actor: str,
    now: dt.datetime,
    before: Mapping[str, object] | None = None,
    after: Mapping[str, object] | None = None,
) -> None:
    """Add to the audit what was done to an account."""
    audit.record(
        session,
        at=now,
        actor=actor,
        action=action,
        subject=f"user {user.name}",
        before=before,
        after=after,
    )


def _refuse_name(name: str) -> None:
    if not name or len(name) > LONGEST_NAME:
        raise AccountError(
            f"The name must have 1 to {LONGEST_NAME} characters. Nothing was changed."
        )
    if not name.isprintable():
        raise AccountError("The name has characters that cannot be seen. Nothing was changed.")
    if belongs_to_the_audit(name):
        raise AccountError(
            "Under such a name the audit records what no person did; choose another one. Nothing "
            "was changed."
        )
