"""Is this installation able to work? Asked from outside, all the time, by whoever watches it."""

from __future__ import annotations

import datetime as dt
import functools
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from alembic.util import CommandError
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

import models
from models import RunState, SlotState
from services.clients.sessions import VERSION
from services.database import head, revision
from services.settings import AppSettings, load_settings

HEARTBEAT = "scheduler heartbeat"
"""The name of the marker that the scheduler keeps fresh, about once a minute."""
DEAD_AFTER = dt.timedelta(minutes=10)
PATIENCE = 2
"""Seconds that a database may take to answer."""
LEAST_SPACE = 20_000_000
"""Bytes; with less the next run could not store its plan."""


@dataclass(frozen=True, slots=True)
class Health:
    """What was found. `problems` are reasons for "no", in words that help nobody outside."""

    problems: tuple[str, ...]
    database: str = "unknown"
    schema: str = "unknown"
    scheduler: str = "unknown"
    heartbeat_at: dt.datetime | None = None
    last_good_run_at: dt.datetime | None = None

    @property
    def ok(self) -> bool:
        """Whether it can work."""
        return not self.problems

    def document(self, now: dt.datetime) -> dict[str, Any]:
        """As JSON: states in words, instants in UTC, ages in seconds."""
        return {
            "status": "ok" if self.ok else "failing",
            "version": VERSION,
            "database": self.database,
            "schema": self.schema,
            "scheduler": {"state": self.scheduler, **_instant(self.heartbeat_at, now)},
            "last_good_run": _instant(self.last_good_run_at, now),
            "problems": list(self.problems),
        }


def _instant(at: dt.datetime | None, now: dt.datetime) -> dict[str, Any]:
    if at is None:
        return {"at": None, "age_seconds": None}
    text = at.isoformat(timespec="seconds").replace("+00:00", "Z")
    return {"at": text, "age_seconds": max(0, round((now - at).total_seconds()))}


class HealthChecks:
    """Checks on demand; an answer serves everybody for a moment, so that asking costs little."""

    def __init__(
        self,
        engine: Engine,
        data_dir: Path,
        *,
        keep_for: float = 3,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = _impatient(engine)
        self._data_dir = data_dir
        self._keep_for = keep_for
        self._monotonic = monotonic
        self._started = monotonic()
        self._lock = threading.Lock()
        self._last: tuple[float, Health] | None = None

    def health(self, now: dt.datetime, locked: Mapping[str, Any]) -> Health:
        """How it is; `locked` are settings that the environment fixes. Never raises."""
        with self._lock:
            if self._last is None or self._monotonic() - self._last[0] >= self._keep_for:
                found = self._check(now, locked)
                self._last = self._monotonic(), found
            return self._last[1]

    def _check(self, now: dt.datetime, locked: Mapping[str, Any]) -> Health:
        problems = _volume_problems(self._data_dir)
        seen = _Seen()
        try:
            with Session(self._engine) as session:
                _look(session, locked, seen)
        except (SQLAlchemyError, CommandError, ValueError):
            return _unreadable(seen, problems)
        state = self._scheduler(seen, now)
        if state == "stopped":
            problems.append("The scheduler shows no sign of life, so no run starts by itself.")
        return Health(tuple(problems), "ok", "ok", state, seen.heartbeat_at, seen.last_good_run_at)

    def _scheduler(self, seen: _Seen, now: dt.datetime) -> str:
        if seen.settings.schedule.when == "by_hand":
            return "off"
        if seen.heartbeat_at is not None and abs(now - seen.heartbeat_at) < DEAD_AFTER:
            return "running"
        # After a start it has not written yet, and what stands there is from before.
        young = self._monotonic() - self._started < DEAD_AFTER.total_seconds()
        return "starting" if young else "stopped"


@dataclass(slots=True)
class _Seen:
    """What was read so far; an error ends the reading."""

    readable: bool = False
    known_schema: bool = False
    settings: AppSettings = field(default_factory=AppSettings)
    heartbeat_at: dt.datetime | None = None
    last_good_run_at: dt.datetime | None = None


def _look(session: Session, locked: Mapping[str, Any], seen: _Seen) -> None:
    """A few small reads. Raises SQLAlchemyError, or ValueError for another schema."""
    current = revision(session.connection())
    seen.readable = True
    if current != _head():
        raise ValueError(current)
    seen.known_schema = True
    marker = session.get(models.Marker, HEARTBEAT)
    seen.heartbeat_at = marker.at if marker else None
    seen.last_good_run_at = last_good_run(session)
    seen.settings = load_settings(session, locked)


def last_good_run(session: Session) -> dt.datetime | None:
    """When a run last brought ConnectWise up to date, or a look found that there was none to make.

    With the invoice a run may be weeks old, and all is well.
    """
    run, slot = models.SyncRun, models.ScheduledSlot
    ends = (
        session.scalar(sa.select(sa.func.max(run.ended_at)).where(run.state == RunState.SUCCEEDED)),
        session.scalar(
            sa.select(sa.func.max(slot.ended_at)).where(
                slot.state == SlotState.DONE, slot.run_id.is_(None)
            )
        ),
    )
    return max((end for end in ends if end is not None), default=None)


def _unreadable(seen: _Seen, problems: list[str]) -> Health:
    if seen.readable and not seen.known_schema:
        text = "The database was made by another version of Tallybridge."
        return Health((text, *problems), database="ok", schema="foreign")
    text = f"The database does not answer within {PATIENCE} seconds, or cannot be read."
    return Health((text, *problems), database="unusable")


_head = functools.cache(head)


def _volume_problems(data_dir: Path) -> list[str]:
    """Whether something can be kept in the data directory."""
    try:
        with tempfile.TemporaryFile(dir=data_dir) as file:
            file.write(bytes(4096))
            file.flush()
        free = shutil.disk_usage(data_dir).free
    except OSError:
        return ["The data directory cannot be written to."]
    return ["The data directory is almost full."] if free < LEAST_SPACE else []


def _impatient(engine: Engine) -> Engine:
    """The same database by connections of its own, which wait for nobody and make nothing."""
    if engine.dialect.name == "sqlite":
        address = f"file:{quote(str(engine.url.database))}?mode=rw"
        connect = functools.partial(sqlite3.connect, address, uri=True, timeout=PATIENCE)
        return sa.create_engine("sqlite://", creator=connect, poolclass=NullPool)
    given = engine.url.query.get("options", "")  # of which the last one of a name counts
    limits = f"{given} -c statement_timeout={PATIENCE}s -c lock_timeout={PATIENCE}s"
    return sa.create_engine(
        engine.url,
        poolclass=NullPool,
        connect_args={"connect_timeout": PATIENCE, "options": limits},
    )
