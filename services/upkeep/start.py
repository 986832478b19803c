"""What has to be true before Tallybridge begins to work: the schema, the keys, the clock."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa

import models
from services.database import DatabaseUnusableError, head, upgrade
from services.installation import Installation
from services.upkeep import keys
from services.upkeep.backup import BackupError
from services.upkeep.backup_files import Kind, automatic

_CLOCK_MAY_DIFFER = dt.timedelta(hours=1)


def bring_up(installation: Installation) -> None:
    """Upgrade the database to this version's schema, saving an older one first.

    Raises DatabaseUnusableError; nothing was changed then. Without a backup nothing is upgraded.
    """

    def save(schema: str) -> str:
        folder = installation.backups
        try:
            file = automatic(
                installation.engine, folder, Kind.UPGRADE, schema=schema, now=installation.now()
            )
        except BackupError as error:
            raise DatabaseUnusableError(
                f"The database has schema {schema} and must be brought to {head()}, but it cannot "
                f"be saved first: {error} Nothing was changed; make room in {folder} and start "
                "again."
            ) from None
        return f"A backup of it is {file}."

    upgrade(installation.engine, before=save)


def prepare(installation: Installation) -> list[str]:
    """Everything that a start needs; returns warnings in words.

    Raises DatabaseUnusableError, or WrongKeyError when a stored secret cannot be read.
    """
    bring_up(installation)
    keys.check(installation)
    return [*_clock(installation)]


def _clock(installation: Installation) -> list[str]:
    """What was done in the future tells that the clock is wrong, now or then."""
    now = installation.now()
    with installation.reading() as session:
        newest = session.scalar(sa.select(sa.func.max(models.SyncRun.started_at)))
    if newest is None or newest - now < _CLOCK_MAY_DIFFER:
        return []
    return [
        f"The clock of this machine says {now:%Y-%m-%d %H:%M} UTC, but the newest sync run began "
        f"at {newest:%Y-%m-%d %H:%M} UTC. Nothing is lost by it; set the clock right."
    ]
