"""A database or a backup that cannot be used: said in one sentence, and nothing is lost."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import stat
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.database import exclusive
from services.upkeep.keys import new_key
from tests.cli.installation import Installation, refused
from tests.databases import copied_url, drop, on_postgresql, sqlite_only

Edit = Callable[[str, bytes], bytes | None]
WITHOUT_POWER = (
    sys.executable,
    "-c",
    # Root may write everywhere; without CAP_DAC_OVERRIDE it may not.
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'flask', '--app', 'app', *sys.argv[1:]])",
)
COMMANDS = (
    ("check",),
    ("sync", "plan"),
    ("config", "export", "/dev/null"),
    ("users", "create", "a", "--role", "admin", "--password-file"),
    ("backup", "backup.zip"),
)


@pytest.fixture(scope="module")
def backed(module_desk: Installation) -> Path:
    """A whole backup of a configured installation."""
    file = module_desk.home / "all.backup"
    answer = module_desk.call("backup", file)
    assert answer.code == 0
    assert answer.out == f"Backed up {count(module_desk)} rows to {file}.\n"
    return file


@pytest.fixture
def own(module_desk: Installation, backed: Path, tmp_path: Path) -> Iterator[Installation]:
    """An installation with the same data, to be spoilt."""
    data = tmp_path / "home" / "data"
    data.mkdir(parents=True)
    url = copied_url(module_desk.url, data)
    env = {**module_desk.env, "TALLYBRIDGE_DATA_DIR": str(data)}
    if on_postgresql():
        env["TALLYBRIDGE_DATABASE_URL"] = url
    yield Installation(tmp_path / "home", env, module_desk.sandbox)
    data.chmod(0o700)
    drop(url)


def count(desk: Installation) -> int:
    return sum(len(rows) for table, rows in desk.rows().items() if table != "alembic_version")


def execute(desk: Installation, statement: str) -> None:
    engine = sa.create_engine(desk.url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)


# --- the database -------------------------------------------------------------------------------


def test_a_database_of_a_newer_version_is_not_touched(own: Installation) -> None:
    execute(own, "UPDATE alembic_version SET version_num = '9999'")
    password = own.write("correct horse battery", "password")
    before = own.rows()
    for command in COMMANDS:
        more = (password,) if "--password-file" in command else ()
        file = [str(own.home / part) if part == "backup.zip" else part for part in command]
        with own.unchanged():
            answer = own.call(*file, *more)
        refused(answer, "schema 9999, which this version .* does not know", "Nothing was changed")
    assert own.rows() == before
    assert not (own.home / "backup.zip").exists()


def test_the_advice_to_restore_a_backup_can_be_followed(own: Installation, backed: Path) -> None:
    execute(own, "UPDATE alembic_version SET version_num = '9999'")
    assert own.call("restore", backed).code == 0


@sqlite_only
@pytest.mark.parametrize("damage", ["no database", "cut off"])
def test_a_damaged_database_is_not_touched(own: Installation, damage: str) -> None:
    whole = own.database.read_bytes()
    own.database.write_bytes(b"x" * 8192 if damage == "no database" else whole[: len(whole) // 2])
    before = own.database.read_bytes()
    for command in (("check",), ("sync", "run"), ("backup", own.home / "b.zip")):
        refused(own.call(*command), "[Dd]atabase")
    assert own.database.read_bytes() == before
    assert not (own.home / "b.zip").exists()


@sqlite_only
def test_a_damaged_database_is_told_with_what_to_do(own: Installation) -> None:
    own.database.write_bytes(b"x" * 8192)
    answer = own.call("sync", "run")
    refused(answer, str(own.database), "Nothing was changed; restore a backup")


@sqlite_only
@pytest.mark.parametrize("damage", ["no database", "cut off"])
def test_a_damaged_database_is_set_aside_by_a_restore(
    own: Installation, module_desk: Installation, backed: Path, damage: str
) -> None:
    whole = own.database.read_bytes()
    own.database.write_bytes(b"x" * 8192 if damage == "no database" else whole[: len(whole) // 2])
    before = own.database.read_bytes()
    answer = own.call("restore", backed)
    assert (answer.code, answer.err) == (0, "")
    [kept] = own.database.parent.glob("tallybridge.db.damaged-*Z")
    assert f"The damaged database was kept as {kept}." in answer.out
    assert kept.read_bytes() == before
    assert own.restored() == module_desk.rows()


@sqlite_only
def test_a_damaged_database_stays_where_it_is_when_the_backup_is_no_better(
    own: Installation, backed: Path, tmp_path: Path
) -> None:
    own.database.write_bytes(b"x" * 8192)
    file = edited(backed, tmp_path / "spoilt.zip", table("settings", lambda b: b + b"{"))
    refused(own.call("restore", file), "cannot be restored", "Nothing was changed")
    assert own.database.read_bytes() == b"x" * 8192
    assert not list(own.database.parent.glob("*damaged*"))


@sqlite_only
def test_a_database_that_cannot_be_opened(own: Installation) -> None:
    own.database.unlink()
    own.database.mkdir()
    refused(
        own.call("check"),
        "The database cannot be opened: unable to open database file. Check that "
        "TALLYBRIDGE_DATA_DIR or TALLYBRIDGE_DATABASE_URL is right and writable",
    )


@sqlite_only
def test_a_data_directory_that_is_read_only(own: Installation) -> None:
    data = own.database.parent
    for file in data.iterdir():
        file.chmod(stat.S_IRUSR)
    data.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with own.unchanged():
        answer = own.shell("sync", "run", command=WITHOUT_POWER)
    if answer.code == 0:
        pytest.skip("this user may write everywhere")
    assert answer.code in (1, 2)
    assert len(answer.err.strip().splitlines()) == 1, answer.err
    assert "TALLYBRIDGE_DATA_DIR" in answer.err


@sqlite_only
def test_a_locked_database_is_told(own: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    import services.database

    monkeypatch.setattr(services.database, "BUSY_TIMEOUT_MS", 100)
    with closing(sqlite3.connect(own.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answer = own.call("sync", "run")
    assert answer.code == 1
    assert "locked" in answer.last
    assert answer.last.startswith("Error: ")


# --- backup -------------------------------------------------------------------------------------


def test_a_backup_that_cannot_be_written(own: Installation) -> None:
    for target, words, code in (
        (own.home / "no" / "file", "cannot be written: No such file or directory", 1),
        (own.home, "is a directory", 2),
        (Path("/proc/nobody"), "cannot be written", 1),
    ):
        with own.unchanged():
            refused(own.call("backup", target), words, code=code)
    assert not [path for path in own.home.iterdir() if path.name.startswith(".")]


def test_a_backup_replaces_an_older_one_whole(own: Installation, backed: Path) -> None:
    target = own.write("an older file", "b.zip")
    assert own.call("backup", target, "--json").json == {"rows": count(own)}
    assert zipfile.is_zipfile(target)
    assert stat.S_IMODE(target.stat().st_mode) & 0o077 == 0, "others may not read it"


def test_a_backup_holds_no_secret(own: Installation) -> None:
    file = own.home / "b.zip"
    own.call("backup", file)
    with zipfile.ZipFile(file) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
    for name, value in own.env.items():
        if "SECRET" in name or "KEY" in name:
            assert value.encode() not in content


# --- restore ------------------------------------------------------------------------------------


def edited(backed: Path, target: Path, edit: Edit) -> Path:
    with zipfile.ZipFile(backed) as source, zipfile.ZipFile(target, "w") as out:
        for name in source.namelist():
            data = edit(name, source.read(name))
            if data is not None:
                out.writestr(name, data)
    return target


def manifest(**changes: Any) -> Edit:
    def edit(name: str, data: bytes) -> bytes:
        if name != "manifest.json":
            return data
        return json.dumps({**json.loads(data), **changes}).encode()

    return edit


def without(table_name: str) -> Edit:
    """A table that neither the manifest nor the archive knows of."""

    def edit(name: str, data: bytes) -> bytes | None:
        if name == f"{table_name}.jsonl":
            return None
        document = json.loads(data) if name == "manifest.json" else {}
        if document:
            del document["tables"][table_name]
            data = json.dumps(document).encode()
        return data

    return edit


def table(wanted: str, change: Callable[[bytes], bytes]) -> Edit:
    """Change a table, with a right checksum: what a person with an editor can do."""
    digests: list[str] = []

    def edit(name: str, data: bytes) -> bytes:
        if name == f"{wanted}.jsonl":
            data = change(data)
            digests.append(hashlib.sha256(data).hexdigest())
        if name == "manifest.json":
            document = json.loads(data)
            document["tables"][wanted]["sha256"] = digests[0]
            data = json.dumps(document).encode()
        return data

    return edit


def with_bad_block(archive: bytes) -> bytes:
    """A kind of block that deflate does not have, at the beginning of a table."""
    with zipfile.ZipFile(io.BytesIO(archive)) as source:
        member = max(source.infolist(), key=lambda entry: entry.file_size)
    at = member.header_offset + 30
    name, extra = struct.unpack_from("<HH", archive, at - 4)
    at += name + extra
    return archive[:at] + b"\xff" * 4 + archive[at + 4 :]


FOREIGN = "damaged, or not a backup of Tallybridge. Nothing was changed"
SPOILT = [
    pytest.param(lambda n, d: None if n == "manifest.json" else d, FOREIGN, id="no manifest"),
    pytest.param(lambda n, d: None if n == "product_mappings.jsonl" else d, FOREIGN, id="no table"),
    pytest.param(lambda n, d: d.replace(b"CIXA", b"CIXB"), FOREIGN, id="another code"),
    pytest.param(lambda n, d: b"[1]" if n == "manifest.json" else d, FOREIGN, id="a list"),
    pytest.param(lambda n, d: b"\xff" if n == "manifest.json" else d, FOREIGN, id="no text"),
    pytest.param(manifest(tables=[]), FOREIGN, id="tables as a list"),
    pytest.param(manifest(format=2), "made by a newer version", id="newer format"),
    pytest.param(
        manifest(revision="9999"),
        "newer version|does not know",
        id="newer revision",
    ),
    pytest.param(manifest(revision=None), FOREIGN, id="no revision"),
    pytest.param(manifest(revision=3), FOREIGN, id="a number for a revision"),
    pytest.param(manifest(revision=["0001"]), FOREIGN, id="a list of revisions"),
    pytest.param(manifest(revision="head"), "newer version", id="the newest revision"),
    pytest.param(manifest(revision="head-1"), "newer version", id="the revision before"),
    pytest.param(manifest(revision="base"), "newer version", id="no schema at all"),
    pytest.param(manifest(revision="0001"), "not those of a whole backup", id="older revision"),
    pytest.param(
        manifest(tables={}), "tables are not those of a whole backup", id="no tables at all"
    ),
    pytest.param(without("settings"), "tables are not those of a whole backup", id="table less"),
    pytest.param(
        table("product_mappings", lambda b: b + b"[1]\n"),
        "product_mappings has a row that does not fit",
        id="a line that is no row",
    ),
    pytest.param(
        table("product_mappings", lambda b: b + b"{"), "cannot be restored", id="half a line"
    ),
    pytest.param(
        table("product_mappings", lambda b: b + b.splitlines(keepends=True)[0]),
        "cannot be restored: (UNIQUE|duplicate key)",
        id="a row twice",
    ),
    pytest.param(
        table("tenant_mappings", lambda b: b.replace(b'"tenant_name"', b'"tenant"')),
        "tenant_mappings has a row that does not fit its columns",
        id="a column that is missing",
    ),
    pytest.param(
        table("tenant_mappings", lambda b: b.replace(b'_at": "2', b'_at": "x')),
        "cannot be restored: Invalid isoformat",
        id="a date that is none",
    ),
]


@pytest.mark.parametrize(("edit", "words"), SPOILT)
def test_a_spoilt_backup_changes_nothing(
    own: Installation, backed: Path, tmp_path: Path, edit: Edit, words: str
) -> None:
    file = edited(backed, tmp_path / "spoilt.zip", edit)
    with own.unchanged():
        answer = own.call("restore", file)
        refused(answer, words, "Nothing was changed")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param(lambda b: b[: len(b) // 2], "is not a backup", id="cut off"),
        pytest.param(lambda b: b"", "is not a backup", id="empty"),
        pytest.param(lambda b: b"hello", "is not a backup", id="a text"),
        pytest.param(
            with_bad_block,
            "damaged",
            id="flipped bits",
        ),
    ],
)
def test_a_damaged_file_changes_nothing(
    module_desk: Installation,
    backed: Path,
    tmp_path: Path,
    change: Callable[[bytes], bytes],
    words: str,
) -> None:
    file = tmp_path / "damaged.zip"
    file.write_bytes(change(backed.read_bytes()))
    with module_desk.unchanged():
        refused(module_desk.call("restore", file), words, "Nothing was changed")


def test_a_foreign_zip_and_no_file(module_desk: Installation, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        archive.writestr("beach.txt", "sun")
    with module_desk.unchanged():
        refused(module_desk.call("restore", tmp_path / "holiday.zip"), FOREIGN)
        refused(module_desk.call("restore", tmp_path / "none.zip"), "does not exist", code=2)
        refused(module_desk.call("restore", tmp_path), "is a directory", code=2)


def test_no_restore_while_a_run_goes_on(module_desk: Installation, backed: Path) -> None:
    engine = sa.create_engine(module_desk.url)
    with exclusive(engine, "sync"), module_desk.unchanged():
        answer = module_desk.call("restore", backed)
    engine.dispose()
    refused(answer, "A sync run is going on. Nothing was changed; wait for it to end")


def test_a_restore_brings_back_every_row_and_forgets_newer_ones(
    own: Installation, backed: Path
) -> None:
    before = own.rows()
    assert own.call("sync", "run", "--approve", "all", "--json").code == 0
    assert own.rows() != before
    answer = own.call("restore", backed, "--json")
    assert answer.json == {"rows": sum(len(r) for t, r in before.items() if t != "alembic_version")}
    assert own.restored() == before
    [saved] = (own.database.parent / "backups").glob("tallybridge-before-restore-*.zip")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert stat.S_IMODE(saved.parent.stat().st_mode) == 0o700
    assert own.call("restore", saved).code == 0
    assert len(own.rows()["sync_runs"]) == 1, "what was replaced is not lost"


def test_a_backup_fits_an_empty_data_directory(
    module_desk: Installation, backed: Path, tmp_path: Path
) -> None:
    assert module_desk.sandbox is not None
    fresh = Installation.at(module_desk.sandbox, tmp_path / "fresh")
    assert fresh.call("restore", backed).code == 0
    assert fresh.restored() == module_desk.rows()
    assert os.listdir(fresh.home) == ["data"]  # noqa: PTH208
    if on_postgresql():
        assert not (fresh.home / "data" / "tallybridge.db").exists()


# --- a volume that is full, a database that somebody else holds ---------------------------------


@pytest.fixture
def small_volume(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where this machine lets us mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill_up(folder: Path) -> Path:
    file = folder / "everything-else"
    with file.open("wb", buffering=0) as target, contextlib.suppress(OSError):
        while True:
            target.write(b"x" * 4096)
    return file


@sqlite_only
def test_a_full_volume(module_desk: Installation, small_volume: Path) -> None:
    """Every command says so in one line; with room again everything is as it was."""
    data = small_volume / "data"
    data.mkdir()
    shutil.copy(module_desk.database, data / "tallybridge.db")
    full = Installation(
        small_volume, {**module_desk.env, "TALLYBRIDGE_DATA_DIR": str(data)}, module_desk.sandbox
    )
    assert full.call("backup", small_volume / "first.zip").code == 0
    before = full.rows()
    rest = fill_up(small_volume)
    for command in (
        ("backup", small_volume / "b.zip"),
        ("restore", small_volume / "first.zip"),
        ("sync", "run"),
    ):
        refused(full.call(*command), "full|No space left", "Nothing (was|half-done)")
    assert {path.name for path in small_volume.glob("*.zip")} == {"first.zip"}
    assert not list(small_volume.glob(".*"))
    rest.unlink()
    assert full.rows() == before
    assert full.call("sync", "run").code == 0
    assert full.call("restore", small_volume / "first.zip").code == 0


@sqlite_only
def test_no_upgrade_on_a_full_volume(module_desk: Installation, small_volume: Path) -> None:
    """It could not be saved first, so it stays what it was; with room again it is upgraded."""
    import alembic.command

    from services.database import alembic_config
    from tests.databases import make_engine

    data = small_volume / "data"
    data.mkdir()
    old = make_engine(f"sqlite:///{data / 'tallybridge.db'}")
    with old.begin() as connection:
        alembic.command.upgrade(alembic_config(connection), "0004")
    with old.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO settings (name, value) VALUES ('timezone', '{\"value\": \"Asia/Tokyo\"}')"
        )
    old.dispose()
    env = {**module_desk.env, "TALLYBRIDGE_DATA_DIR": str(data)}
    full = Installation(small_volume, env, module_desk.sandbox)
    (data / "encryption_key").write_text(new_key())
    (data / "secret_key").write_text("x" * 32)
    before = full.rows()
    # A process that has the database open needs no room to read it, and gets as far as the backup.
    with closing(sqlite3.connect(data / "tallybridge.db")) as reader:
        reader.execute("SELECT * FROM settings").fetchall()
        rest = fill_up(small_volume)
        refused(
            full.call("config", "export", "/dev/null"),
            "schema 0004 .* cannot be saved first: .*Nothing was changed; make room",
        )
    refused(full.call("config", "export", "/dev/null"), "full", "Nothing was changed")
    rest.unlink()
    assert full.rows() == before
    assert full.call("config", "export", small_volume / "x.yaml").code == 0
    assert "Asia/Tokyo" in (small_volume / "x.yaml").read_text()
    assert len(list((data / "backups").iterdir())) == 1


@sqlite_only
@pytest.mark.parametrize("how", ["BEGIN EXCLUSIVE", "PRAGMA locking_mode = EXCLUSIVE"])
def test_another_program_holds_the_database(
    own: Installation, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    import services.database

    monkeypatch.setattr(services.database, "BUSY_TIMEOUT_MS", 100)
    with own.unchanged(), closing(sqlite3.connect(own.database, isolation_level=None)) as other:
        other.execute(how)
        if "PRAGMA" in how:
            other.execute("BEGIN EXCLUSIVE")
        for command in (("sync", "run"), ("config", "export", "/dev/null")):
            refused(own.call(*command), "locked")
        other.execute("ROLLBACK")
    assert own.call("config", "export", "/dev/null").code == 0
