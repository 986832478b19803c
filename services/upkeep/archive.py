"""The backup file: a ZIP of one JSON-lines file a table, and a manifest with schema and checksums.

The same for SQLite and PostgreSQL, and for every schema: tables are taken as the database has
them. It holds what the database holds: secrets only encrypted, and of passwords only hashes.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from services.database import revision, revisions

MOST_BYTES = 4 << 30
"""Unpacked. A backup of ten years and a thousand customers has a tenth of this."""
MOST_PACKED = 200
"""How many times smaller than its content a large backup can be; bombs are far beyond that."""
_PACKED_FROM = 64 << 20
_MOST_FILES = 200
_LONGEST_MANIFEST = 1 << 20
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
"""The others unpack a piece as a whole, however large it becomes and whatever size was said."""
_LONGEST_LINE = 64 << 20
_PIECE = 1 << 20
_BATCH = 1000
_MANIFEST = "manifest.json"
_FORMAT = 1
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError,
    RuntimeError, ArithmeticError, LookupError, ValueError, TypeError,
)  # fmt: skip
"""What reading a ZIP file, or rows out of it, may raise when bits of it have changed."""


class BackupError(Exception):
    """The backup or restore did not happen; the message says why. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup says of itself: when it was made, its schema, and the rows of each table."""

    revision: str
    made_at: dt.datetime | None
    tables: Mapping[str, int]


# --- writing ------------------------------------------------------------------------------------


def tables_of(connection: Connection) -> list[sa.Table]:
    """The tables that a database has, in an order in which they can be filled."""
    metadata = sa.MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != "alembic_version"]


def write(connection: Connection, target: IO[bytes], *, now: dt.datetime) -> int:
    """Write everything that this transaction sees; returns the number of rows.

    Raises OSError when the file cannot be written.
    """
    tables: dict[str, dict[str, Any]] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        at = revision(connection)
        for table in tables_of(connection):
            digest, count = hashlib.sha256(), 0
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
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


def _lines(connection: Connection, table: sa.Table) -> Iterator[bytes]:
    """The rows as the database stores them, some at a time."""
    query = sa.select(table).order_by(*table.primary_key).execution_options(yield_per=_BATCH)
    for row in connection.execute(query):
        values = {name: _plain(value) for name, value in row._mapping.items()}
        # As ASCII: a document of a vendor may hold half a character, which UTF-8 cannot.
        yield (json.dumps(values) + "\n").encode()


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, dt.date) else value


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Archive:
    """An open backup. `called` is what messages name it."""

    zip: zipfile.ZipFile
    called: str

    @classmethod
    def at(cls, source: Path, called: str | None = None) -> Archive:
        """Open a backup. Raises BackupError when it is none, or would unpack to far too much."""
        called = called or str(source)
        try:
            archive = cls(zipfile.ZipFile(source), called)
        except OSError as error:
            raise BackupError(f"{called} cannot be read: {error.strerror}.") from None
        except UNREADABLE:
            raise BackupError(
                f"{called} is not a backup of Tallybridge. Nothing was changed."
            ) from None
        archive._refuse_bombs()
        return archive

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.zip.close()

    def manifest(self) -> Manifest:
        """What it says of itself, after every table was read whole once. Raises BackupError."""
        damaged = BackupError(
            f"{self.called} is damaged, or not a backup of Tallybridge. Nothing was changed."
        )
        try:
            document = json.loads(self._start_of(_MANIFEST))
            if document["format"] != _FORMAT:
                raise self._newer()
            tables = document["tables"]
            whole = all(self._checksum(name) == tables[name]["sha256"] for name in tables)
            known = isinstance(document["revision"], str)
            rows = {str(name): int(table.get("rows", 0)) for name, table in tables.items()}
            made_at = _instant(document.get("made_at"))
        except (AttributeError, *UNREADABLE):
            raise damaged from None
        if not whole or not known:
            raise damaged
        if document["revision"] not in revisions():
            raise self._newer()
        return Manifest(document["revision"], made_at, rows)

    def rows(self, table: str) -> Iterator[Any]:
        """The rows of a table; raises one of UNREADABLE for a line that is none."""
        with self.zip.open(f"{table}.jsonl") as file:
            while line := file.readline(_LONGEST_LINE):
                yield json.loads(line)

    def load(self, connection: Connection, manifest: Manifest) -> int:
        """Fill the empty tables of a database at the backup's schema; returns the rows.

        Raises ValueError, or another of UNREADABLE, for what does not fit.
        """
        tables = tables_of(connection)
        if {table.name for table in tables} != set(manifest.tables):
            # One that is missing would be restored as empty: as if nothing had ever been mapped.
            raise ValueError(
                f"its tables are not those of a whole backup of schema {manifest.revision}"
            )
        total = 0
        for table in tables:
            batch: list[dict[str, Any]] = []
            for values in self.rows(table.name):
                batch.append(_row(table, values))
                total += 1
                if len(batch) == _BATCH:
                    connection.execute(sa.insert(table), batch)
                    batch = []
            if batch:
                connection.execute(sa.insert(table), batch)
            _continue_numbering(connection, table)
        return total

    def _refuse_bombs(self) -> None:
        """By what the file says of its parts; more than that is never unpacked of any of them."""
        files = self.zip.infolist()
        total = sum(file.file_size for file in files)
        packed = sum(file.compress_size for file in files)
        bomb = total > _PACKED_FROM and total > MOST_PACKED * packed
        if any(file.compress_type not in _METHODS for file in files):
            self.zip.close()
            raise BackupError(
                f"{self.called} is packed as no backup of Tallybridge is. Nothing was changed."
            )
        if len(files) > _MOST_FILES or total > MOST_BYTES or bomb:
            self.zip.close()
            raise BackupError(
                f"{self.called} would unpack to {total:,} bytes in {len(files)} files, which no "
                "backup of Tallybridge does. Nothing was changed."
            )

    def _newer(self) -> BackupError:
        return BackupError(
            f"{self.called} was made by a newer version of Tallybridge, or is not a whole backup. "
            "Nothing was changed; restore it with the version that made it."
        )

    def _start_of(self, name: str) -> bytes:
        """No more than a manifest can have; one that is cut off there is no JSON."""
        with self.zip.open(name) as file:
            return file.read(_LONGEST_MANIFEST)

    def _checksum(self, table: str) -> str:
        digest = hashlib.sha256()
        with self.zip.open(f"{table}.jsonl") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
        return digest.hexdigest()


def _instant(text: object) -> dt.datetime | None:
    found = dt.datetime.fromisoformat(text) if isinstance(text, str) else None
    return found if found is None or found.tzinfo else found.replace(tzinfo=dt.UTC)


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


def _continue_numbering(connection: Connection, table: sa.Table) -> None:
    """PostgreSQL counts ids on its own; go on after the highest one restored."""
    if connection.dialect.name != "postgresql" or "id" not in table.columns:
        return
    sequence = sa.func.pg_get_serial_sequence(table.name, "id")
    highest = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 1)).scalar_subquery()
    connection.execute(sa.select(sa.func.setval(sequence, highest)))
