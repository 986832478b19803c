"""Backup and restore as services: every value of every table, also while others write."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from models import Base
from services.context import SyncContext
from services.database import MIGRATIONS, alembic_config, head, revision
from services.runs import sync_runs
from services.upkeep.backup import BackupError, Restored, backup, restore
from tests.databases import empty_url, engine_at, url_of

ROOT = Path(__file__).resolve().parents[2]


def content(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            table.name: [
                tuple(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in Base.metadata.sorted_tables
        }


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Engine]:
    """An empty database elsewhere."""
    with engine_at(empty_url(tmp_path, "other")) as made:
        yield made


def filled(work: SyncContext) -> Engine:
    """Rows in nearly every table, with values that are hard to carry."""
    run = sync_runs.run(work, approve_all=True)
    with Session(work.engine) as session, session.begin():
        session.add(
            models.AuditEvent(
                at=dt.datetime(2026, 2, 28, 23, 59, 59, 999999, tzinfo=dt.UTC),
                actor="Ünï \u2028 \x00 \U0001f600",
                action="a",
                subject='"quoted", \\ and\nmore',
                before=None,
                after={"nested": {"n": 1.5, "none": None, "list": [1, "2"]}},
                run_id=run.run_id,
            )
        )
        change = session.scalars(sa.select(models.Change)).first()
        assert change is not None
        change.after = Decimal("0.000001")
        tenant = session.scalars(sa.select(models.TenantMapping)).first()
        assert tenant is not None
        session.add(models.SerialAssignment(serial="S1", tenant_id=tenant.tenant_id))
    return work.engine


def test_everything_arrives_elsewhere(
    work: SyncContext, other: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    engine, file = filled(work), tmp_path / "b.zip"
    rows = backup(engine, file, now=now)
    assert restore(other, file, now=now) == Restored(rows)
    assert rows == sum(len(r) for r in content(engine).values())
    assert content(other) == content(engine)
    with other.connect() as connection:
        assert revision(connection) == head()


def test_a_restored_database_goes_on(work: SyncContext, tmp_path: Path, now: dt.datetime) -> None:
    file = tmp_path / "b.zip"
    first = sync_runs.run(work, approve_all=True)
    backup(work.engine, file, now=now)
    restore(work.engine, file, now=now)
    second = sync_runs.run(work)
    assert second.run_id == first.run_id + 1
    with work.session() as session:
        assert session.get_one(models.SyncRun, second.run_id).changes == []


BACKUPS = 12
WRITER = """
import datetime as dt, sys
import sqlalchemy as sa
from sqlalchemy.orm import Session
import models
from services.database import configure

engine = sa.create_engine(sys.argv[1])
configure(engine)
now = dt.datetime.now(dt.UTC)
number = 0
while True:
    number += 1
    with Session(engine) as session, session.begin():
        name = f"{sys.argv[2]}{number}"
        session.add(models.Setting(name=name, value={"value": number}))
        session.flush()
        session.add(
            models.User(name=name, role=models.Role.VIEWER, password_hash="x", created_at=now)
        )
    if number == 1:
        print("writing", flush=True)
"""


def test_backups_while_others_write_without_a_pause_are_each_one_moment(
    engine: Engine, other: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    """Two processes add two rows in each transaction; no backup ever holds one of a pair."""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url_of(engine), name],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    try:
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "writing\n"
        for number in range(BACKUPS):
            backup(engine, tmp_path / f"{number}.zip", now=now)
        assert all(writer.poll() is None for writer in writers)
    finally:
        for writer in writers:
            writer.kill()
            writer.communicate()
    sizes = []
    for number in range(BACKUPS):
        restore(other, tmp_path / f"{number}.zip", now=now)
        found = content(other)
        assert len(found["settings"]) == len(found["users"])
        sizes.append(len(found["users"]))
    assert sizes == sorted(sizes)
    assert sizes[-1] > sizes[0] > 0, "they wrote all the while"


def test_a_backup_waits_for_nobody(engine: Engine, tmp_path: Path, now: dt.datetime) -> None:
    """Not even for a transaction that holds the lock for writing all the time."""
    with Session(engine) as session, session.begin():
        session.add(models.Setting(name="never", value={"value": 1}))
        session.flush()
        backup(engine, tmp_path / "b.zip", now=now)
        session.rollback()


def test_every_table_is_in_it(engine: Engine, tmp_path: Path, now: dt.datetime) -> None:
    backup(engine, tmp_path / "b.zip", now=now)
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        manifest = json.loads(archive.read("manifest.json"))
    assert manifest["tables"].keys() == {t.name for t in Base.metadata.sorted_tables}
    assert manifest["revision"] == head()
    assert manifest["made_at"] == now.isoformat()


def test_a_restore_that_fails_halfway_leaves_what_was_there(
    work: SyncContext, tmp_path: Path, now: dt.datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables have been dropped and made anew by then: all of that is undone as well."""
    engine, file = filled(work), tmp_path / "b.zip"
    backup(engine, file, now=now)
    before = content(engine)

    def bad(table: sa.Table, values: Any) -> Any:
        raise ValueError(f"{table.name} is odd")

    monkeypatch.setattr("services.upkeep.archive._row", bad)
    with pytest.raises(BackupError, match=r"cannot be restored: .*Nothing was changed\.$"):
        restore(engine, file, now=now)
    assert content(engine) == before


@pytest.mark.parametrize(
    "older", [s.revision for s in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][1:]
)
def test_a_backup_of_an_older_version_is_brought_up(
    older: str, work: SyncContext, other: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    """Made as that version would have made it: its tables, its columns, its revision."""
    file, old_file = tmp_path / "b.zip", tmp_path / "old.zip"
    backup(work.engine, file, now=now)
    with other.connect() as connection:
        alembic.command.upgrade(alembic_config(connection), older)
        connection.commit()
        tables = {
            name: {column["name"] for column in sa.inspect(connection).get_columns(name)}
            for name in sa.inspect(connection).get_table_names()
            if name != "alembic_version"
        }
    with zipfile.ZipFile(file) as source, zipfile.ZipFile(old_file, "w") as target:
        manifest = json.loads(source.read("manifest.json"))
        manifest["revision"] = older
        manifest["tables"] = {n: t for n, t in manifest["tables"].items() if n in tables}
        for name, columns in tables.items():
            lines = [json.loads(line) for line in source.read(f"{name}.jsonl").splitlines()]
            kept = [{k: v for k, v in line.items() if k in columns} for line in lines]
            data = b"".join(json.dumps(row).encode() + b"\n" for row in kept)
            manifest["tables"][name]["sha256"] = hashlib.sha256(data).hexdigest()
            target.writestr(f"{name}.jsonl", data)
        target.writestr("manifest.json", json.dumps(manifest))
    restore(other, old_file, now=now)
    with other.connect() as connection:
        assert revision(connection) == head()
    ours, theirs = content(work.engine), content(other)
    assert theirs["tenant_mappings"] == ours["tenant_mappings"]
    assert theirs["product_mappings"] == ours["product_mappings"]
