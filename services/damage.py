"""A SQLite file that is damaged, or no database at all: known for what it is, and set aside."""

from __future__ import annotations

import datetime as dt
import sqlite3
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Engine

_COMPANIONS = ("", "-wal", "-shm")
"""What SQLite keeps beside a database belongs to it: a strange journal must not meet a new one."""


@dataclass(frozen=True, slots=True)
class SetAside:
    """A damaged database that was moved out of the way, to be kept or put back."""

    engine: Engine
    file: Path
    kept: Path

    def put_back(self) -> None:
        """Let everything be as it was before."""
        self.engine.dispose()
        for companion in _COMPANIONS:
            Path(f"{self.file}{companion}").unlink(missing_ok=True)
            _move(Path(f"{self.kept}{companion}"), Path(f"{self.file}{companion}"))


def damage_of(error: BaseException) -> str | None:
    """SQLite's words when an error means that the file itself is damaged; None for all others."""
    original = getattr(error, "orig", None)
    # Extended codes say more in their higher bits.
    code = (getattr(original, "sqlite_errorcode", None) or 0) & 0xFF
    damaged = code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
    return str(original).splitlines()[0] if damaged else None


def told(engine: Engine, error: BaseException, kept: str) -> str | None:
    """The sentence for an error that means damage; `kept` says what was not changed by it."""
    reason = damage_of(error)
    if reason is None:
        return None
    return (
        f"The database {engine.url.database} is damaged: {reason}. {kept}; restore a backup "
        "(`restore FILE`), which keeps the damaged file under another name."
    )


def unusable(engine: Engine, error: BaseException) -> str:
    """One sentence or two for a database that cannot be used just now: why, and what to do."""
    damaged = told(engine, error, "Nothing was changed")
    if damaged is not None:
        return damaged
    reason = (str(getattr(error, "orig", None) or error).splitlines() or ["no words"])[0].strip()
    return known(reason) or f"The database cannot be used: {reason}. Nothing half-done was kept."


def known(reason: str) -> str | None:
    """What the words of a database mean to a person; None for others."""
    return next((sentence for words, sentence in _KNOWN.items() if words in reason), None)


_KNOWN = {
    "database is locked": "The database is locked by another program for too long. Nothing was "
    "changed; end that program, or try again in a moment.",
    "lock timeout": "The database is locked by another program for too long. Nothing was "
    "changed; end that program, or try again in a moment.",
    "disk is full": "There is no room left on the data volume. Nothing was changed; make room and "
    "try again.",
    "disk I/O error": "The data volume cannot be used: it is full, or it is failing. Nothing was "
    "changed; make room, or look at the volume, and try again.",
    "readonly database": "The database cannot be written. Nothing was changed; check the rights of "
    "the data volume and that it is not mounted read-only.",
}
"""What databases say, and what it means to a person."""


def set_aside(engine: Engine, now: dt.datetime) -> SetAside | None:
    """Move the database out of the way if it is damaged; None when there is nothing to move.

    Raises OSError when it cannot be moved.
    """
    file = Path(engine.url.database or "")
    if engine.dialect.name != "sqlite" or not file.is_file() or not _is_damaged(engine):
        return None
    engine.dispose()
    kept = file.with_name(f"{file.name}.damaged-{now:%Y%m%dT%H%M%SZ}")
    if kept.exists():
        raise FileExistsError(17, "a damaged database was set aside this very second", str(kept))
    for companion in _COMPANIONS:
        _move(Path(f"{file}{companion}"), Path(f"{kept}{companion}"))
    return SetAside(engine, file, kept)


def _is_damaged(engine: Engine) -> bool:
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() != "ok"
    except sa.exc.DatabaseError as error:
        return damage_of(error) is not None


def _move(source: Path, target: Path) -> None:
    if source.exists():
        source.rename(target)
