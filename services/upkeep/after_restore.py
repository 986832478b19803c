"""What must not come back with a backup: sign-ins, tokens and codes that are over by now."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection

import models
from services.scheduling.slots import forget_the_past
from services.upkeep.archive import Manifest

_TOTP_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Present:
    """What was valid just before a restore; None where there was no database to ask."""

    tokens: frozenset[str] | None = None
    codes: frozenset[str] | None = None


def present(connection: Connection) -> Present:
    """The hashes of the API tokens and recovery codes that are valid now."""
    if not _has(connection, "users") or not connection.scalar(sa.select(sa.exists(models.User.id))):
        return Present()  # an empty database knows nothing of what was taken back
    return Present(
        tokens=_hashes(connection, models.ApiToken.token_hash),
        codes=_hashes(connection, models.RecoveryCode.code_hash),
    )


def settle(connection: Connection, known: Present, *, now: dt.datetime) -> None:
    """End what a backup brought back from the past, within the caller's transaction.

    Every sign-in ends. A token stays only if it was valid just before: one that was withdrawn
    since stays withdrawn, and where nobody knows, none is valid. A recovery code that was used
    since stays used. A one-time code of this half minute, or an earlier one, works no more. What
    the schedule asked for before this moment is not made up: somebody is to look first.
    """
    connection.execute(sa.delete(models.LoginSession))
    token, code = models.ApiToken, models.RecoveryCode
    connection.execute(sa.delete(token).where(token.token_hash.not_in(known.tokens or ())))
    if known.codes is not None:
        connection.execute(sa.delete(code).where(code.code_hash.not_in(known.codes)))
    step, user = int(now.timestamp()) // _TOTP_SECONDS, models.User
    connection.execute(
        sa.update(user)
        .where(user.totp_secret.is_not(None), sa.func.coalesce(user.totp_last_step, 0) < step)
        .values(totp_last_step=step)
    )
    forget_the_past(connection, now)


def record(
    connection: Connection, manifest: Manifest, rows: int, *, actor: str, now: dt.datetime
) -> None:
    """Say in the restored audit that it was restored, by whom, and from when."""
    made = manifest.made_at.isoformat() if manifest.made_at else None
    connection.execute(
        sa.insert(models.AuditEvent).values(
            at=now,
            actor=actor,
            action="backup.restore",
            subject="database",
            before=sa.null(),
            after={"made_at": made, "schema": manifest.revision, "rows": rows},
        )
    )


def _hashes(connection: Connection, column: sa.orm.InstrumentedAttribute[str]) -> frozenset[str]:
    table = column.class_.__tablename__
    return (
        frozenset(connection.scalars(sa.select(column))) if _has(connection, table) else frozenset()
    )


def _has(connection: Connection, table: str) -> bool:
    return sa.inspect(connection).has_table(table)
