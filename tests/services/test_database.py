"""SQLite under several writers, the locks, and upgrades by two processes at once."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from services.database import (
    AlreadyLockedError,
    DatabaseUnusableError,
    exclusive,
    head,
    revision,
    upgrade,
)
from tests.databases import drop, empty_url, engine_at, make_engine, sqlite_only

ROOT = Path(__file__).resolve().parents[2]


def test_readers_who_become_writers_wait_for_each_other(engine: Engine) -> None:
    """Deferred transactions would fail here at once with "database is locked"."""
    with Session(engine) as session, session.begin():
        session.add(models.Setting(name="count", value={"value": 0}))
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def count() -> None:
        try:
            start.wait(10)
            for _ in range(10):
                with Session(engine) as session, session.begin():
                    row = session.get_one(models.Setting, "count")
                    time.sleep(0.001)
                    row.value = {"value": row.value["value"] + 1}
        except BaseException as error:  # noqa: BLE001  (told by the assertion below)
            errors.append(error)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with Session(engine) as session:
        assert session.get_one(models.Setting, "count").value == {"value": 40}


@sqlite_only
def test_pragmas_hold_for_every_connection(engine: Engine) -> None:
    with engine.connect() as one, engine.connect() as two:
        for connection in (one, two):
            found = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
            }
            assert found == {
                "journal_mode": "wal",
                "foreign_keys": 1,
                "synchronous": 2,
                "busy_timeout": 15_000,
            }
            connection.rollback()


def test_foreign_keys_are_kept(engine: Engine, now: dt.datetime) -> None:
    with pytest.raises(sa.exc.IntegrityError), Session(engine) as session, session.begin():
        session.add(models.SerialAssignment(serial="s", tenant_id="nobody"))


def test_a_failed_transaction_leaves_nothing(engine: Engine) -> None:
    def half_a_thing() -> None:
        with Session(engine) as session, session.begin():
            session.add(models.Setting(name="x", value={}))
            session.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half_a_thing()
    with Session(engine) as session:
        assert session.get(models.Setting, "x") is None


# --- locks --------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one_only(engine: Engine) -> None:
    with exclusive(engine, "sync"):
        with pytest.raises(AlreadyLockedError), exclusive(engine, "sync"):
            pass
        with exclusive(engine, "other"):
            pass
    with exclusive(engine, "sync"):
        pass


def test_a_lock_ends_with_an_exception(engine: Engine) -> None:
    with pytest.raises(RuntimeError), exclusive(engine, "sync"):
        raise RuntimeError
    with exclusive(engine, "sync"):
        pass


def test_a_lock_ends_with_the_process_however_that_dies(engine: Engine) -> None:
    code = (
        "import sys, sqlalchemy as sa; from services.database import exclusive\n"
        "with exclusive(sa.create_engine(sys.argv[1]), 'sync'):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(engine.url)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as other:  # fmt: skip
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(AlreadyLockedError), exclusive(engine, "sync"):
            pass
        other.kill()
        other.wait(10)
    with exclusive(engine, "sync"):
        pass


# --- the schema ---------------------------------------------------------------------------------


def test_upgrading_again_does_nothing(engine: Engine) -> None:
    with engine.connect() as connection:
        assert revision(connection) == head()
    statements: list[str] = []
    sa.event.listen(engine, "before_cursor_execute", lambda *a: statements.append(a[2]))
    upgrade(engine)
    assert not [s for s in statements if not s.startswith(("SELECT", "BEGIN", "PRAGMA"))]


def test_a_newer_schema_is_refused(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnusableError, match=r"schema 9999.*Nothing was changed"):
        upgrade(engine)


def test_those_who_upgrade_at_once_all_find_a_whole_schema(tmp_path: Path) -> None:
    """One upgrades; the others wait for it."""
    url = empty_url(tmp_path, "new")
    results: list[str] = []
    start = threading.Barrier(4)

    def bring_up() -> None:
        engine = make_engine(url)
        start.wait(10)
        try:
            upgrade(engine)
            results.append("done")
        except DatabaseUnusableError as error:
            results.append(str(error))
        finally:
            engine.dispose()

    threads = [threading.Thread(target=bring_up) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == ["done"] * 4
    with engine_at(url) as engine, engine.connect() as connection:
        assert revision(connection) == head()


def test_two_processes_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, sqlalchemy as sa; from services.database import *\n"
        "e = sa.create_engine(sys.argv[1]); configure(e)\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "try: upgrade(e)\n"
        "except DatabaseUnusableError as error: print(error)\n"
        "else: print('done')"
    )
    url = empty_url(tmp_path, "new")
    others = [
        subprocess.Popen(
            [sys.executable, "-c", code, url],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    for other in others:
        assert other.stdout is not None
        assert other.stdout.readline() == "ready\n"
    for other in others:
        assert other.stdin is not None
        other.stdin.write("\n")
        other.stdin.flush()
    said = [other.communicate(timeout=30)[0].strip() for other in others]
    assert said == ["done", "done"]
    assert [other.returncode for other in others] == [0, 0]
    drop(url)


def test_who_waits_in_vain_is_told(empty: Engine) -> None:
    with (
        exclusive(empty, "migrate"),
        pytest.raises(DatabaseUnusableError, match="Another Tallybridge is upgrading"),
    ):
        upgrade(empty, patience=0.2)
    with empty.connect() as connection:
        assert revision(connection) is None


@sqlite_only
def test_what_is_written_goes_to_the_file_that_stands_there_now(
    engine: Engine, tmp_path: Path, now: dt.datetime
) -> None:
    """As when another process set a damaged one aside and restored a backup in its place."""
    with Session(engine) as session:
        assert session.scalar(sa.select(models.Setting.name)) is None
    file, aside = Path(engine.url.database or ""), tmp_path / "aside.db"
    file.rename(aside)
    for companion in ("-wal", "-shm"):
        Path(f"{file}{companion}").rename(f"{aside}{companion}")
    with Session(engine) as session:
        assert session.scalar(sa.select(models.Setting.name)) is None, "nothing stands there yet"
    assert not file.exists()
    with engine_at(f"sqlite:///{file}") as other:
        upgrade(other)
        with Session(other) as session, session.begin():
            session.add(models.Setting(name="restored", value={"value": 1}))
    with Session(engine) as session, session.begin():
        assert session.scalar(sa.select(models.Setting.name)) == "restored"
        session.add(models.Setting(name="after", value={"value": 1}))
    with engine_at(f"sqlite:///{file}") as other, Session(other) as session:
        assert len(session.scalars(sa.select(models.Setting)).all()) == 2
