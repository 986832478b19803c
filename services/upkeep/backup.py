"""Backup and restore: everything in the database as one file, consistent while others write."""

from __future__ import annotations

import datetime as dt
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import alembic.command
import alembic.util
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from services.damage import set_aside
from services.database import (
    AlreadyLockedError,
    DatabaseUnusableError,
    alembic_config,
    exclusive,
    reading,
    revision,
)
from services.upkeep import after_restore
from services.upkeep.archive import UNREADABLE, Archive, BackupError, Manifest, tables_of, write

__all__ = ["BackupError", "Restored", "backup", "restore"]

_LOCK_TIMEOUT = "15s"
_OURS = frozenset({"sync_runs", "audit_events", "product_mappings"})
"""Tables that every version of Tallybridge has."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back, and what became of what stood there.

    `damaged` is where a damaged database was moved, `safety` the backup of one that was replaced.
    """

    rows: int
    damaged: Path | None = None
    safety: Path | None = None


def backup(engine: Engine, target: Path, *, now: dt.datetime) -> int:
    """Write a backup of one moment, of whatever schema; nobody waits for it. Returns the rows.

    The file, for its owner's eyes only, appears under its name when it is whole. Raises
    BackupError when it cannot be written, DatabaseUnusableError when there is nothing to write.
    """
    # Not as a writer: who only looks for SQLite's lock now and then may never get it from one who
    # writes without a pause.
    with reading(engine).connect() as connection:
        if revision(connection) is None:
            raise DatabaseUnusableError("The database is empty: there is nothing to back up.")
        return _written(target, lambda file: write(connection, file, now=now))


def restore(
    engine: Engine,
    source: Path,
    *,
    now: dt.datetime,
    actor: str | None = None,
    safety: Callable[[str], Path] | None = None,
    called: str | None = None,
) -> Restored:
    """Replace everything in the database by a backup, in one transaction.

    The database may be empty, of any version, or damaged: that one is moved aside and kept. What
    is replaced is written first to the file that `safety` names for its schema. A backup of an
    older version is brought to this version's schema. Everybody is signed out (see
    after_restore), and the `actor` is recorded in the audit. Raises BackupError when the file is
    not a whole backup of this or an older version, when what is there cannot be saved, or while
    a sync run is going on.
    """
    with Archive.at(source, called) as archive:
        manifest = archive.manifest()
        try:
            with exclusive(engine, "sync"):
                return _replace(engine, archive, manifest, now, actor, safety)
        except AlreadyLockedError:
            raise BackupError(
                "A sync run is going on. Nothing was changed; wait for it to end and try again."
            ) from None
        except (sa.exc.SQLAlchemyError, alembic.util.CommandError, *UNREADABLE) as error:
            reason = (str(getattr(error, "orig", error)).splitlines() or ["it is damaged"])[0]
            raise BackupError(
                f"{archive.called} cannot be restored: {reason}. Nothing was changed."
            ) from None


def _replace(
    engine: Engine,
    archive: Archive,
    manifest: Manifest,
    now: dt.datetime,
    actor: str | None,
    safety: Callable[[str], Path] | None,
) -> Restored:
    aside = set_aside(engine, now)
    written: Path | None = None
    try:
        with engine.connect() as connection, connection.begin():
            _keep_others_out(connection)
            _refuse_foreign(connection)
            known = after_restore.present(connection)
            replaced = revision(connection)
            if safety is not None and replaced is not None:
                written = _save(connection, safety(replaced), now)
            _empty(connection)
            alembic.command.upgrade(alembic_config(connection), manifest.revision)
            rows = archive.load(connection, manifest)
            alembic.command.upgrade(alembic_config(connection), "head")
            after_restore.settle(connection, known, now=now)
            if actor is not None:
                after_restore.record(connection, manifest, rows, actor=actor, now=now)
    except BaseException:
        if written is not None:
            written.unlink(missing_ok=True)  # nothing was replaced, so it saves nothing
        if aside is not None:
            aside.put_back()
        raise
    return Restored(rows, aside.kept if aside else None, written)


# --- writing ------------------------------------------------------------------------------------


def _written(target: Path, fill: Callable[[IO[bytes]], int]) -> int:
    """A file that is there as a whole or not at all; raises BackupError."""
    partial: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
        partial = Path(name)
        with os.fdopen(handle, "wb") as file:
            rows = fill(file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror or error}.") from None
    finally:
        if partial is not None:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
    return rows


def _save(connection: Connection, target: Path, now: dt.datetime) -> Path:
    try:
        _written(target, lambda file: write(connection, file, now=now))
    except BackupError as error:
        raise BackupError(
            f"What is in the database now has to be saved first, but {error} Nothing was changed; "
            "make room there and try again."
        ) from None
    return target


# --- replacing ----------------------------------------------------------------------------------


def _keep_others_out(connection: Connection) -> None:
    """Nobody writes between the safety backup and the replacement. SQLite's lock is held already.

    PostgreSQL would wait for ever for whoever reads; it gives up after a while.
    """
    if connection.dialect.name != "postgresql":
        return
    connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
    names = [connection.dialect.identifier_preparer.quote(t.name) for t in tables_of(connection)]
    if names:
        connection.exec_driver_sql(f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE")


def _refuse_foreign(connection: Connection) -> None:
    """An address with a mistake in it must not cost another program its tables."""
    there = set(sa.inspect(connection).get_table_names()) - {"alembic_version"}
    if there and not there >= _OURS:
        raise BackupError(
            f"The database holds tables that are not Tallybridge's ({min(there)}). Nothing was "
            "changed; check TALLYBRIDGE_DATABASE_URL, and give Tallybridge a database of its own."
        )


def _empty(connection: Connection) -> None:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    metadata.drop_all(connection)
