"""What is done once a day, unasked: the automatic backup, and removing what is too old."""

from __future__ import annotations

import datetime as dt
import logging
import zoneinfo
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.database import AlreadyLockedError, DatabaseUnusableError, exclusive, head
from services.installation import Installation
from services.upkeep import retention
from services.upkeep.backup import BackupError
from services.upkeep.backup_files import Kind, automatic, forget_uploads

logger = logging.getLogger("tallybridge.housekeeping")

BACKUP, PURGE = "daily backup", "daily purge"
"""The markers that say when each was done last."""
FAILED = "daily backup failed"
"""The marker of a backup that fails: since when, how often it was tried (0: it works), and why."""
_TRY_AGAIN = dt.timedelta(hours=1)
_failed: dict[str, dt.datetime] = {}
"""When a backup failed, by the database: known to this process only."""


@dataclass(frozen=True, slots=True)
class BackupState:
    """The daily backup: the last good one, and when it began to fail last.

    `failures` counts since then, and is 0 when it works again; `reason` is a sentence.
    """

    good_at: dt.datetime | None = None
    failed_at: dt.datetime | None = None
    failures: int = 0
    reason: str = ""

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self.failures > 0


def backup_state(session: Session) -> BackupState:
    """How the daily backup is, whether it is switched on or not."""
    good, failed = session.get(models.Marker, BACKUP), session.get(models.Marker, FAILED)
    if failed is None:
        return BackupState(good.at if good else None)
    return BackupState(good.at if good else None, failed.at, failed.number, failed.note or "")


def housekeeping(installation: Installation, now: dt.datetime) -> list[str]:
    """Do what is due today; returns a sentence for each thing that was done, or could not be.

    Cheap when nothing is due, so it may be called every minute, by several processes too. What
    failed is tried again an hour later. First the backup, then what is too old is removed.
    """
    told: list[str] = []
    try:
        with exclusive(installation.engine, "housekeeping"):
            for work in (_backup, _purge):
                for sentence in work(installation, now):
                    logger.info("%s", sentence)
                    told.append(sentence)
    except (AlreadyLockedError, sa.exc.OperationalError, OSError) as error:
        logger.info("housekeeping waits: %s", error)
    return told


def _backup(installation: Installation, now: dt.datetime) -> list[str]:
    settings = installation.settings().backups
    failed = _failed.get(str(installation.engine.url))
    if failed is not None and abs(now - failed) < _TRY_AGAIN:
        return []
    if not settings.daily or not _is_due(installation, BACKUP, now):
        return []
    try:
        folder, schema = installation.backups, head() or ""
        forget_uploads(folder, now=now)  # first: they may be what takes the room
        file = automatic(
            installation.engine, folder, Kind.DAILY, schema=schema, now=now, keep=settings.keep
        )
    except (BackupError, DatabaseUnusableError, OSError) as error:
        _failed[str(installation.engine.url)] = now
        _note_failure(installation, str(error), now)
        return [f"The daily backup could not be made: {error} It is tried again in an hour."]
    _failed.pop(str(installation.engine.url), None)
    _did(installation, BACKUP, now)
    _note_success(installation)
    return [f"The daily backup was made: {file}."]


def _note_failure(installation: Installation, reason: str, now: dt.datetime) -> None:
    """Where people look. A full volume may refuse even that; the log has it in any case."""
    try:
        with installation.session() as session, session.begin():
            marker = session.get(models.Marker, FAILED)
            if marker is None:
                marker = models.Marker(name=FAILED, number=0)
                session.add(marker)
            if not marker.number:
                marker.at = now
            marker.number += 1
            marker.note = reason
    except sa.exc.SQLAlchemyError as error:
        logger.warning("the failed backup could not be noted: %s", type(error).__name__)


def _note_success(installation: Installation) -> None:
    with installation.session() as session, session.begin():
        marker = session.get(models.Marker, FAILED)
        if marker is not None:
            marker.number = 0


def _purge(installation: Installation, now: dt.datetime) -> list[str]:
    if not _is_due(installation, PURGE, now):
        return []
    try:
        done = retention.purge(installation.engine, installation.settings().retention, now=now)
    except AlreadyLockedError:
        return []  # a run is going on; the next call finds it over
    _did(installation, PURGE, now)
    return [str(done)] if done != retention.Purged() else []


def _is_due(installation: Installation, what: str, now: dt.datetime) -> bool:
    """Whether it was not done yet on this day of the billing time zone.

    A marker from the future, left by a wrong clock, does not stop it.
    """
    zone = zoneinfo.ZoneInfo(installation.settings().timezone)
    with installation.reading() as session:
        marker = session.get(models.Marker, what)
    return marker is None or marker.at.astimezone(zone).date() != now.astimezone(zone).date()


def _did(installation: Installation, what: str, now: dt.datetime) -> None:
    with installation.session() as session, session.begin():
        marker = session.get(models.Marker, what)
        if marker is None:
            marker = models.Marker(name=what, number=0)
            session.add(marker)
        marker.at = now
        marker.number += 1
