"""What a restore must not do: begin what is over, or take another program's tables away."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from models import SlotState
from services.context import SyncContext
from services.database import head
from services.runs import sync_runs as runs
from services.scheduling import slots
from services.settings import AppSettings, Schedule
from services.upkeep.archive import Archive
from services.upkeep.backup import BackupError, backup, restore

DAILY = AppSettings(schedule=Schedule(when="daily", time="06:00"), timezone="UTC")
LATER = dt.timedelta(days=3)


@pytest.mark.parametrize("state", [SlotState.WAITING, SlotState.RUNNING, None])
def test_a_restore_starts_no_run_of_its_own(
    engine: Engine, tmp_path: Path, now: dt.datetime, state: SlotState | None
) -> None:
    """Three days of slots lie between the backup and the restore, and one that waited then."""
    with Session(engine) as session, session.begin():
        slots.look(session, DAILY, now)
        if state is not None:
            session.add(
                models.ScheduledSlot(
                    key="then", due_at=now, state=state, retry_at=now, started_at=now
                )
            )
    backup(engine, tmp_path / "b.zip", now=now)
    at = now + LATER
    restore(engine, tmp_path / "b.zip", now=at)
    for minutes in (0, 1, 60):
        then = at + dt.timedelta(minutes=minutes)
        with Session(engine) as session, session.begin():
            assert not slots.has_orphans(session, but=None)
            slots.look(session, DAILY, then)
            assert not slots.something_waits(session, then)
    with Session(engine) as session, session.begin():
        told = session.scalars(sa.select(models.ScheduledSlot.message)).all()
        assert told == (["Given up, because a backup was restored."] if state else [])
        slots.look(session, DAILY, at + dt.timedelta(days=1))
        assert slots.something_waits(session, at + dt.timedelta(days=1)), "and on it goes"


def test_the_tables_of_another_program_are_let_alone(
    engine: Engine, empty: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    backup(engine, tmp_path / "b.zip", now=now)
    with empty.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('5a1f')")
        connection.exec_driver_sql("CREATE TABLE tickets (id INTEGER PRIMARY KEY)")
    with pytest.raises(BackupError, match=r"not Tallybridge's \(tickets\). Nothing was changed"):
        restore(empty, tmp_path / "b.zip", now=now)
    assert set(sa.inspect(empty).get_table_names()) == {"alembic_version", "tickets"}


def test_half_a_character_in_a_document_is_carried(
    engine: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    """In JSON both databases keep what no text may hold."""
    strange = {"name": "half \ud83d and \x00"}
    with Session(engine) as session, session.begin():
        session.add(
            models.AuditEvent(
                at=now, actor="a", action="a", subject="a", before=None, after=strange
            )
        )
    backup(engine, tmp_path / "b.zip", now=now)
    restore(engine, tmp_path / "b.zip", now=now)
    with Session(engine) as session:
        assert session.scalar(sa.select(models.AuditEvent.after)) == strange


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_without_a_limit_is_refused_unread(tmp_path: Path, method: int) -> None:
    file = tmp_path / "b.zip"
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("manifest.json", "{}")
    with pytest.raises(BackupError, match="packed as no backup of Tallybridge is"):
        Archive.at(file)


def test_a_manifest_is_never_read_whole_however_large_it_is(tmp_path: Path) -> None:
    file = tmp_path / "b.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        start = f'{{"format": 1, "revision": "{head()}", "tables": {{}}'
        archive.writestr("manifest.json", start + " " * 5_000_000 + "}")
    with Archive.at(file) as archive, pytest.raises(BackupError, match="damaged"):
        archive.manifest()


def test_the_first_plan_after_a_restore_waits_for_a_person(
    work: SyncContext, tmp_path: Path
) -> None:
    """A customer was billed since the backup, which knows nothing of it."""
    runs.preview(work)
    backup(work.engine, tmp_path / "b.zip", now=work.now())
    restore(work.engine, tmp_path / "b.zip", now=work.now(), actor="anna")
    first = runs.run(work).run_id
    assert states(work, first) == {"held"}
    with work.session() as session:
        ids = session.scalars(sa.select(models.Change.id).filter_by(run_id=first)).all()
    runs.approve(work, first, ids[:1])
    assert "applied" in states(work, runs.run(work).run_id)


def states(work: SyncContext, run_id: int) -> set[str]:
    with work.session() as session:
        query = sa.select(models.Change.state).filter_by(run_id=run_id)
        return {state.value for state in session.scalars(query)}
