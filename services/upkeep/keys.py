"""The keys for secrets at rest: are they the right ones, exchange them, do without lost secrets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.engine import Connection, Engine

import models
from services import audit
from services.installation import Installation
from services.secrets import Vault, WrongKeyError

_NAMES_SAID = 3


@dataclass(frozen=True, slots=True)
class _Place:
    """A column that holds secrets: `called` is what they are named in words."""

    called: str
    key: sa.ColumnElement[Any]
    column: sa.Column[Any]
    where: sa.ColumnElement[bool]


def _places() -> tuple[_Place, ...]:
    value, user, target = (
        models.Base.metadata.tables[name].c
        for name in ("connection_values", "users", "notification_targets")
    )
    return (
        _Place("", value.name, value.value, value.secret),
        _Place("second factor of user", user.id, user.totp_secret, user.totp_secret.is_not(None)),
        _Place("address of notification", target.id, target.sealed_url, sa.true()),
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """A secret as it is stored: what it is called, and its encrypted text."""

    place: _Place
    key: Any
    sealed: str

    @property
    def called(self) -> str:
        """What it is, in words."""
        return f"{self.place.called} {self.key}".strip()


@dataclass(frozen=True, slots=True)
class Rotated:
    """How many secrets are under the newest key now, and how many were already."""

    changed: int
    already: int


def new_key() -> str:
    """A new random key."""
    return Fernet.generate_key().decode()


def stored(connection: Connection) -> list[Stored]:
    """Every stored secret, in a database of this or an older schema."""
    return list(_stored(connection))


def _stored(connection: Connection) -> Iterator[Stored]:
    there = sa.inspect(connection)
    for place in _places():
        table = place.column.table
        if not there.has_table(table.name):
            continue
        if place.column.name not in {c["name"] for c in there.get_columns(table.name)}:
            continue
        for key, sealed in connection.execute(
            sa.select(place.key, place.column).where(place.where).order_by(place.key)
        ):
            yield Stored(place, key, sealed)


def any_stored(engine: Engine) -> bool | None:
    """Whether the database holds a secret; None when it cannot be read."""
    try:
        with engine.connect() as connection:
            return bool(stored(connection))
    except (sa.exc.SQLAlchemyError, OSError):
        return None


def unreadable(connection: Connection, vault: Vault) -> list[Stored]:
    """The stored secrets that none of the keys can read."""
    return [each for each in stored(connection) if not vault.reads(each.sealed)]


def check(installation: Installation) -> None:
    """Raises WrongKeyError when a stored secret cannot be read; says what to do about it."""
    with installation.reading() as session:
        lost = unreadable(session.connection(), installation.vault)
    if lost:
        raise WrongKeyError(
            f"{_named(lost)} cannot be read: {installation.vault.why_not} Set "
            "TALLYBRIDGE_ENCRYPTION_KEY to the key of then, or add it after yours with a comma "
            "between. If it is lost for good, `keys forget` removes what cannot be read, to be "
            "entered anew. Nothing was changed."
        )


def rotate(installation: Installation, *, actor: str) -> Rotated:
    """Encrypt every secret with the newest key: all, or none when one cannot be read.

    What is under that key already stays as it is. Raises WrongKeyError.
    """
    vault, changed, already = installation.vault, 0, 0
    with installation.session() as session, session.begin():
        for each in stored(session.connection()):
            if vault.is_newest(each.sealed):
                already += 1
                continue
            if not vault.reads(each.sealed):
                raise WrongKeyError(
                    f"The stored {each.called} cannot be read: {vault.why_not} No secret was "
                    "encrypted anew; add the key that is missing, or use `keys forget`."
                )
            place = each.place
            session.execute(
                sa.update(place.column.table)
                .where(place.key == each.key)
                .values({place.column: vault.renewed(each.sealed)})
            )
            changed += 1
        if changed:
            audit.record(
                session,
                at=installation.now(),
                actor=actor,
                action="keys.rotate",
                subject="encryption key",
                after={"encrypted anew": changed},
            )
    return Rotated(changed, already)


def forget(installation: Installation, *, actor: str) -> list[str]:
    """Remove the secrets that no key can read; returns what they are called.

    A user without the second factor signs in with the password alone, until it is set up again.
    """
    with installation.session() as session, session.begin():
        lost = unreadable(session.connection(), installation.vault)
        for each in lost:
            table = each.place.column.table
            here = each.place.key == each.key
            if table is models.User.__table__:
                none = dict.fromkeys(("totp_secret", "totp_since", "totp_last_step"), sa.null())
                session.execute(sa.update(table).where(here).values(**none))
                session.execute(
                    sa.delete(models.RecoveryCode).where(models.RecoveryCode.user_id == each.key)
                )
            else:
                session.execute(sa.delete(table).where(here))
            audit.record(
                session,
                at=installation.now(),
                actor=actor,
                action="keys.forget",
                subject=each.called,
            )
    return [each.called for each in lost]


def lost_names(installation: Installation) -> list[str]:
    """What `forget` would remove."""
    with installation.reading() as session:
        return [each.called for each in unreadable(session.connection(), installation.vault)]


def _named(lost: Sequence[Stored]) -> str:
    names = ", ".join(each.called for each in lost[:_NAMES_SAID])
    more = f" and {len(lost) - _NAMES_SAID} more" if len(lost) > _NAMES_SAID else ""
    if len(lost) == 1:
        return f"The stored secret {names}"
    return f"{len(lost)} stored secrets ({names}{more})"
