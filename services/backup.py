"""Backup and restore: every table as one archive, the same for SQLite and PostgreSQL.

The archive is a ZIP of one JSON-lines file a table and a manifest with the schema revision and a
checksum of each. It holds what the database holds: no credentials, and of passwords only hashes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import lzma
import os
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import alembic.command
import alembic.util
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from models import Base
from services.damage import set_aside
from services.database import (
    AlreadyLockedError,
    DatabaseUnusableError,
    alembic_config,
    exclusive,
    head,
    revision,
    revisions,
)

_MANIFEST = "manifest.json"
_FORMAT = 1
_BATCH = 1000
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    RuntimeError, ArithmeticError, LookupError, ValueError, TypeError,
)  # fmt: skip
"""What reading a ZIP file, or rows out of it, may raise when bits of it have changed."""


class BackupError(Exception):
    """The backup or restore did not happen; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore brought back, and where a damaged database was moved that stood there."""

    rows: int
    damaged: Path | None = None


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What a backup says of itself: its schema, and the checksum of each table."""

    revision: str
    tables: Mapping[str, str]


def backup(engine: Engine, target: Path, *, now: dt.datetime) -> int:
    """Write a backup, consistent even while others write; returns the number of rows.

    The file appears under its name only when it is whole. Raises BackupError.
    """
    try:
        handle, name = tempfile.mkstemp(dir=target.absolute().parent, prefix=f".{target.name}.")
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}.") from None
    partial = Path(name)
    try:
        with os.fdopen(handle, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z:
            rows = _write(engine, z, now)
        partial.replace(target)
    except OSError as error:
        raise BackupError(f"{target} cannot be written: {error.strerror}.") from None
    finally:
        partial.unlink(missing_ok=True)
    return rows


def restore(engine: Engine, source: Path, *, now: dt.datetime) -> Restored:
    """Replace everything in the database by a backup, in one transaction.

    The database may be empty, of any version, or damaged: that one is moved aside and kept. A
    backup of an older version is brought to this version's schema. Raises BackupError when the
    file is not a whole backup of this or an older version, or while a sync run is going on.
    """
    with _opened(source) as archive:
        manifest = _manifest(archive)
        try:
            with exclusive(engine, "sync"):
                return _replace(engine, archive, manifest, now)
        except AlreadyLockedError:
            raise BackupError(
                "A sync run is going on. Nothing was changed; wait for it to end and try again."
            ) from None
        except (sa.exc.SQLAlchemyError, alembic.util.CommandError, *_UNREADABLE) as error:
            reason = (str(getattr(error, "orig", error)).splitlines() or ["it is damaged"])[0]
            raise BackupError(
                f"{source} cannot be restored: {reason}. Nothing was changed."
            ) from None


def _replace(
    engine: Engine, archive: zipfile.ZipFile, manifest: _Manifest, now: dt.datetime
) -> Restored:
    aside = set_aside(engine, now)
    try:
        with engine.connect() as connection, connection.begin():
            _empty(connection)
            alembic.command.upgrade(alembic_config(connection), manifest.revision)
            rows = _load(connection, archive, manifest)
            alembic.command.upgrade(alembic_config(connection), "head")
    except BaseException:
        if aside is not None:
            aside.put_back()
        raise
    return Restored(rows, aside.kept if aside else None)


# --- writing ------------------------------------------------------------------------------------


def _write(engine: Engine, archive: zipfile.ZipFile, now: dt.datetime) -> int:
    tables: dict[str, dict[str, Any]] = {}
    with _snapshot(engine) as connection:
        at = revision(connection)
        if at != head():
            raise DatabaseUnusableError("The database is not at this version's schema.")
        for table in Base.metadata.sorted_tables:
            digest, count = hashlib.sha256(), 0
            with archive.open(f"{table.name}.jsonl", "w") as file:
                for line in _lines(connection, table):
                    digest.update(line)
                    file.write(line)
                    count += 1
            tables[table.name] = {"rows": count, "sha256": digest.hexdigest()}
    manifest = {
        "format": _FORMAT,
        "revision": at,
        "made_at": now.isoformat(),
        "tables": tables,
    }
    archive.writestr(_MANIFEST, json.dumps(manifest, indent=1))
    return sum(t["rows"] for t in tables.values())


def _snapshot(engine: Engine) -> Connection:
    """A connection whose transaction sees one moment of the database."""
    connection = engine.connect()
    if engine.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _lines(connection: Connection, table: sa.Table) -> Iterator[bytes]:
    """The rows as the database stores them: types of ours are not applied."""
    columns = [sa.type_coerce(c, _raw(c.type)).label(c.name) for c in table.columns]
    for row in connection.execute(sa.select(*columns).order_by(*table.primary_key)):
        values = {k: _plain(v) for k, v in row._mapping.items()}
        yield (json.dumps(values, ensure_ascii=False) + "\n").encode()


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.date) else value


def _raw(kind: sa.types.TypeEngine[Any]) -> sa.types.TypeEngine[Any]:
    return kind.impl_instance if isinstance(kind, sa.types.TypeDecorator) else kind


# --- reading ------------------------------------------------------------------------------------


def _opened(source: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(source)
    except OSError as error:
        raise BackupError(f"{source} cannot be read: {error.strerror}.") from None
    except _UNREADABLE:
        raise BackupError(
            f"{source} is not a backup of Tallybridge. Nothing was changed."
        ) from None


def _manifest(archive: zipfile.ZipFile) -> _Manifest:
    """What the backup says of itself, after every table was read whole once."""
    damaged = BackupError(
        f"{archive.filename} is damaged, or not a backup of Tallybridge. Nothing was changed."
    )
    try:
        document = json.loads(archive.read(_MANIFEST))
        if document["format"] != _FORMAT:
            raise _newer(archive)
        sums = {name: table["sha256"] for name, table in document["tables"].items()}
        whole = all(_checksum(archive, f"{name}.jsonl") == sums[name] for name in sums)
        known = isinstance(document["revision"], str)
    except (AttributeError, *_UNREADABLE):
        raise damaged from None
    if not whole or not known:
        raise damaged
    if document["revision"] not in revisions():
        raise _newer(archive)
    return _Manifest(document["revision"], sums)


def _newer(archive: zipfile.ZipFile) -> BackupError:
    return BackupError(
        f"{archive.filename} was made by a newer version of Tallybridge, or is not a whole backup. "
        "Nothing was changed; restore it with the version that made it."
    )


def _checksum(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as file:
        for line in file:
            digest.update(line)
    return digest.hexdigest()


def _empty(connection: Connection) -> None:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    metadata.drop_all(connection)


def _load(connection: Connection, archive: zipfile.ZipFile, manifest: _Manifest) -> int:
    metadata = sa.MetaData()
    metadata.reflect(connection)
    tables = [table for table in metadata.sorted_tables if table.name != "alembic_version"]
    if {table.name for table in tables} != set(manifest.tables):
        # One that is missing would be restored as empty: as if nothing had ever been mapped.
        raise ValueError(
            f"its tables are not those of a whole backup of schema {manifest.revision}"
        )
    total = 0
    for table in tables:
        with archive.open(f"{table.name}.jsonl") as file:
            rows = [_row(table, json.loads(line)) for line in file]
        for batch in _batches(rows):
            connection.execute(sa.insert(table), batch)
        _continue_numbering(connection, table)
        total += len(rows)
    return total


def _row(table: sa.Table, values: Any) -> dict[str, Any]:
    """Dates as the driver wants them; everything else is as it was stored."""
    if not isinstance(values, dict) or values.keys() != {c.name for c in table.columns}:
        raise ValueError(f"{table.name} has a row that does not fit its columns")
    parse = {sa.DateTime: dt.datetime.fromisoformat, sa.Date: dt.date.fromisoformat}
    for column in table.columns:
        value = values.get(column.name)
        for kind, read in parse.items():
            if isinstance(value, str) and isinstance(column.type, kind):
                values[column.name] = read(value)
    return values


def _batches(rows: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]


def _continue_numbering(connection: Connection, table: sa.Table) -> None:
    """PostgreSQL counts ids on its own; go on after the highest one restored."""
    if connection.dialect.name != "postgresql" or "id" not in table.columns:
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, "id")
    highest = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 1)).scalar_subquery()
    connection.execute(sa.select(sa.func.setval(sequence, highest)))
