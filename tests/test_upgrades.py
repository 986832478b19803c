"""From every earlier schema to the newest with rows in every table: all of them arrive."""

from __future__ import annotations

import datetime as dt
import zipfile
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine

from config import Config
from services.database import (
    MIGRATIONS,
    DatabaseUnusableError,
    alembic_config,
    head,
    revision,
    upgrade,
)
from services.installation import Installation
from services.secrets import Vault
from services.upkeep.archive import tables_of
from services.upkeep.backup import backup, restore
from services.upkeep.backup_files import KEPT, kept
from services.upkeep.start import bring_up
from tests.databases import empty_url, engine_at

EARLIER = [s.revision for s in ScriptDirectory(str(MIGRATIONS)).walk_revisions()][1:]
Rows = dict[str, list[dict[str, Any]]]


def at_schema(engine: Engine, schema: str) -> None:
    with engine.connect() as connection:
        alembic.command.upgrade(alembic_config(connection), schema)
        connection.commit()


def fill(engine: Engine, count: int = 3) -> None:
    """Rows in every table, each referring to others where it can."""
    with engine.begin() as connection:
        for table in tables_of(connection):
            for number in range(1, count + 1):
                row = {c.name: value(c, number) for c in table.columns}
                connection.execute(sa.insert(table).values(**row))


def value(column: sa.Column[Any], number: int) -> Any:
    kind = column.type
    if column.foreign_keys and column.table in {k.column.table for k in column.foreign_keys}:
        return number - 1 or None  # the row before it
    if isinstance(kind, sa.Boolean):
        return number % 2 == 0
    if isinstance(kind, sa.Integer):
        return number
    if isinstance(kind, sa.DateTime):
        return dt.datetime(2026, 2, 28, 23, 59, 59, number)  # noqa: DTZ001  (as it is stored)
    if isinstance(kind, sa.Date):
        return dt.date(2026, 2, number)
    if isinstance(kind, sa.JSON):
        return {"number": number, "none": None, "list": [1, "2"]}
    length = getattr(kind, "length", None)
    return str(number) if _refers(column) else f"{number} Ünï\u2028 {column.name}"[:length]


def _refers(column: sa.Column[Any]) -> bool:
    """Whether it names a row of a table, or is named so by others."""
    return bool(column.foreign_keys) or column.primary_key


def content(engine: Engine) -> Rows:
    with engine.connect() as connection:
        return {
            table.name: [
                dict(row._mapping)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in tables_of(connection)
        }


def holds(after: Rows, before: Rows) -> bool:
    """Whether every row of before is there, with all its values."""
    return all(
        [{k: new[k] for k in old} for old, new in zip(rows, after[name], strict=True)] == rows
        for name, rows in before.items()
    )


@pytest.fixture
def here(empty: Engine, tmp_path: Path) -> Installation:
    return Installation(Config(data_dir=tmp_path / "data"), empty, Vault([], "there is none."))


@pytest.mark.parametrize("schema", EARLIER)
def test_every_row_of_an_earlier_schema_arrives(
    schema: str, here: Installation, tmp_path: Path
) -> None:
    at_schema(here.engine, schema)
    fill(here.engine)
    before = content(here.engine)
    assert all(len(rows) == 3 for rows in before.values())
    bring_up(here)
    assert holds(content(here.engine), before)
    with here.engine.connect() as connection:
        assert revision(connection) == head()
    [saved] = kept(here.backups)
    assert saved.schema == schema
    assert saved.file.stat().st_mode & 0o777 == 0o600
    with engine_at(empty_url(tmp_path, "restored")) as other:
        restore(other, saved.file, now=here.now())
        after = content(other)
        after["login_sessions"] = before.get("login_sessions", [])  # all are ended
        after["api_tokens"] = before.get("api_tokens", [])
        assert holds(after, before)


def test_a_new_database_and_a_current_one_need_no_backup(here: Installation) -> None:
    bring_up(here)
    bring_up(here)
    assert kept(here.backups) == []


def test_an_upgrade_that_fails_in_the_middle_leaves_the_old_schema(
    here: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_schema(here.engine, "0002")
    fill(here.engine)
    before = content(here.engine)
    last = ScriptDirectory(str(MIGRATIONS)).get_revision("head").module
    original = alembic.command.upgrade

    def failing(config: Any, target: str) -> None:
        original(config, last.down_revision)  # some of the way is gone already
        config.attributes["connection"].exec_driver_sql("CREATE TABLE half (id INTEGER)")
        raise KeyError("a fault of ours")

    monkeypatch.setattr(alembic.command, "upgrade", failing)
    with pytest.raises(DatabaseUnusableError) as told:
        bring_up(here)
    [saved] = kept(here.backups)
    assert f"from schema 0002 to {head()}: KeyError: 'a fault of ours'. It is as it was." in str(
        told.value
    )
    assert f"A backup of it is {saved.file}." in str(told.value)
    assert content(here.engine) == before
    with here.engine.connect() as connection:
        assert revision(connection) == "0002"
    monkeypatch.undo()
    bring_up(here)
    assert holds(content(here.engine), before)


def test_without_a_backup_there_is_no_upgrade(here: Installation) -> None:
    at_schema(here.engine, "0003")
    fill(here.engine)
    before = content(here.engine)
    here.config.data_dir.mkdir()
    here.backups.write_text("not a folder")
    with pytest.raises(
        DatabaseUnusableError,
        match=r"schema 0003 and must be brought to \d+, but it cannot be saved first: .*"
        r"Nothing was changed; make room",
    ):
        bring_up(here)
    assert content(here.engine) == before
    with here.engine.connect() as connection:
        assert revision(connection) == "0003"


def test_the_newest_backups_before_upgrades_are_kept(
    here: Installation, tmp_path: Path, now: dt.datetime
) -> None:
    at_schema(here.engine, "0001")
    from services.upkeep.backup_files import Kind, automatic

    for day in range(KEPT + 3):
        moment = now + dt.timedelta(days=day)
        automatic(here.engine, here.backups, Kind.UPGRADE, schema="0001", now=moment)
    automatic(here.engine, here.backups, Kind.DAILY, schema="0001", now=now)
    (here.backups / "holiday.zip").write_text("of a person")
    found = kept(here.backups)
    assert [each.at for each in found if each.kind is Kind.UPGRADE] == [
        now + dt.timedelta(days=day) for day in reversed(range(3, KEPT + 3))
    ]
    assert len(found) == KEPT + 1
    assert (here.backups / "holiday.zip").exists()


def test_a_backup_says_its_own_schema(here: Installation, tmp_path: Path) -> None:
    """Also one that this version would not make any more, and one of a newer version."""
    at_schema(here.engine, "0001")
    fill(here.engine)
    with here.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        connection.exec_driver_sql("CREATE TABLE later (id INTEGER PRIMARY KEY)")
    backup(here.engine, tmp_path / "b.zip", now=here.now())
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        assert '"revision": "9999"' in archive.read("manifest.json").decode()
        assert "later.jsonl" in archive.namelist()


def test_only_one_of_many_saves_and_upgrades(here: Installation) -> None:
    """Whoever waited finds nothing left to do, and saves nothing a second time."""
    import threading

    at_schema(here.engine, "0001")
    fill(here.engine)
    saved: list[str] = []
    start = threading.Barrier(4)

    def save(schema: str) -> str:
        saved.append(schema)
        return ""

    def come() -> None:
        start.wait(10)
        upgrade(here.engine, before=save)

    threads = [threading.Thread(target=come) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert saved == ["0001"]
    with here.engine.connect() as connection:
        assert revision(connection) == head()
