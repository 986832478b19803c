"""The engine's ways: how SQLite behaves under several processes, and the schema's version."""

from __future__ import annotations

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import alembic.command
import alembic.config
import alembic.script
import alembic.util
import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from sqlalchemy.engine import Connection, Engine

from services import damage

MIGRATIONS = Path(__file__).resolve().parent.parent / "migrations"
BUSY_TIMEOUT_MS = 15_000
PATIENCE = 60.0
"""Seconds that a process waits while another one upgrades the database."""
_LOOK_AGAIN = 0.1
_FILE = "tallybridge_file"
READING = "tallybridge_reading"
"""The execution option of engines that only read: their transactions never wait for a writer."""


# A machine that dies says nothing: without these its connections, and the locks of them, would
# live on for two hours. With them both sides notice within a minute.
_OURS_NOTICES = {
    "keepalives_idle": 20,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 45_000,
}
"""For our side: seconds, and the milliseconds for which what was sent may stay unanswered."""
_SERVER_NOTICES = {
    "tcp_keepalives_idle": "20s",
    "tcp_keepalives_interval": "10s",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "45s",
}
"""The same for the server's side, which holds the locks."""

StillHeld = Callable[[], bool]
"""Says whether a lock is still held: one of PostgreSQL is lost with its connection."""


class DatabaseUnusableError(Exception):
    """The database cannot be used; the message says why and what to do."""


class AlreadyLockedError(Exception):
    """Somebody else holds the lock."""


def configure(engine: Engine) -> None:
    """Make a database safe for several processes and threads that write.

    On both kinds one transaction writes at a time, the others wait: who reads first and decides
    then what to write, decides on what nobody changes meanwhile. Those that only read say so
    (READING) and wait for nobody.
    """
    configure_sqlite(engine)
    if engine.dialect.name == "postgresql":
        _configure_postgresql(engine)


def reading(engine: Engine) -> Engine:
    """The same database for those who only read: each transaction sees one moment of it."""
    options: dict[str, Any] = {READING: True}
    if engine.dialect.name == "postgresql":
        options["isolation_level"] = "REPEATABLE READ"  # as SQLite does by itself
    return engine.execution_options(**options)


def _configure_postgresql(engine: Engine) -> None:
    from psycopg.types.string import StrDumperUnknown  # noqa: PLC0415  (an extra; not everybody has it)

    class _Text(StrDumperUnknown):
        """Vendors' text may hold a NUL, which PostgreSQL's cannot."""

        def dump(self, obj: str) -> Any:
            """The text as it is sent."""
            return super().dump(obj.replace("\0", "\N{REPLACEMENT CHARACTER}"))

    @sa.event.listens_for(engine, "do_connect")
    def _on_do_connect(_dialect: object, _record: object, _args: object, given: Any) -> None:
        for name, value in _OURS_NOTICES.items():
            given.setdefault(name, value)  # the address of the database may have its own

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.adapters.register_dumper(str, _Text)
        connection.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
        _notice_our_death(connection)
        connection.commit()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get(READING) and options.get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql(
                "SELECT pg_advisory_xact_lock(hashtext('tallybridge writes'))"
            )


def _notice_our_death(connection: Any) -> None:
    """Have the server notice when this machine dies, unless somebody set that for us alone.

    Through a socket of the file system there is nothing to notice; the server ignores it there.
    https://www.postgresql.org/docs/15/runtime-config-connection.html
    """
    meant_for_all = ("default", "configuration file", "command line", "environment variable")
    connection.execute(
        "SELECT set_config(name, wanted.value, false) FROM pg_settings"
        " JOIN unnest(%s::text[], %s::text[]) AS wanted (name, value) USING (name)"
        " WHERE source = ANY(%s)",
        (list(_SERVER_NOTICES), list(_SERVER_NOTICES.values()), list(meant_for_all)),
    )


def configure_sqlite(engine: Engine) -> None:
    """Make SQLite safe for several processes; does nothing for other databases.

    Transactions begin IMMEDIATE: one that reads first and writes later would otherwise fail with
    "database is locked" however long it is willing to wait. Those that only read say so (READING).
    When a damaged file was set aside by another process, what is written goes to the new one.
    """
    if engine.dialect.name != "sqlite":
        return

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "synchronous = FULL",  # an intent must survive a power cut, and not only our own death
            "foreign_keys = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        _use_wal(connection)
        record.info[_FILE] = _file_of(engine)

    @sa.event.listens_for(engine, "checkout")
    def _on_checkout(_connection: Any, record: Any, _proxy: object) -> None:
        there = _file_of(engine)
        if there is not None and there != record.info[_FILE]:
            raise sa.exc.DisconnectionError("another file has taken the database's place")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        reading = connection.get_execution_options().get(READING)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")


def _file_of(engine: Engine) -> tuple[int, int] | None:
    """Which file stands under the database's name; None when there is none."""
    try:
        found = Path(engine.url.database or "").stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _use_wal(connection: Any) -> None:
    """Switch to WAL. SQLite does not wait when another process switches at the same moment."""
    for wait in (0.02, 0.1, 0.5, 2.0):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            time.sleep(wait)
        else:
            return
    connection.execute("PRAGMA journal_mode = WAL")


@contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[StillHeld]:
    """Hold the lock `name` for this database; it ends with the process, however that dies.

    A file beside the SQLite database, or an advisory lock of PostgreSQL. Gives a question that any
    thread may ask: is it still held? Raises AlreadyLockedError at once when another process holds
    it.
    """
    if engine.dialect.name == "postgresql":
        with _advisory_lock(engine, name) as still_held:
            yield still_held
    else:
        with _file_lock(Path(f"{engine.url.database}.{name}.lock")) as still_held:
            yield still_held


@contextmanager
def _advisory_lock(engine: Engine, name: str) -> Iterator[StillHeld]:
    key = sa.func.hashtext(f"tallybridge {name}")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))):
            raise AlreadyLockedError(name)
        one_at_a_time = threading.Lock()

        def still_held() -> bool:
            with one_at_a_time:
                return not connection.invalidated and _holds_one(connection)

        try:
            yield still_held
        finally:
            _unlock(connection, key)


def _holds_one(connection: Connection) -> bool:
    """Whether this very session of PostgreSQL has an advisory lock; each of ours has one at most.

    To reach the server is not enough: after a broken connection a new one is made in silence.
    """
    mine = (
        "select exists (select from pg_locks"
        " where locktype = 'advisory' and granted and pid = pg_backend_pid())"
    )
    try:
        return bool(connection.scalar(sa.text(mine)))
    except sa.exc.SQLAlchemyError:
        return False


def _unlock(connection: Connection, key: sa.ColumnElement[int]) -> None:
    """Give the lock back. With a broken connection the server does; it must not serve again."""
    try:
        connection.scalar(sa.select(sa.func.pg_advisory_unlock(key)))
    except sa.exc.SQLAlchemyError:
        connection.invalidate()


@contextmanager
def _file_lock(path: Path) -> Iterator[StillHeld]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyLockedError(path.name) from None

        def still_held() -> bool:
            with contextlib.suppress(OSError):
                return os.path.samestat(os.fstat(file.fileno()), path.stat())
            return False

        yield still_held


def upgrade(
    engine: Engine,
    *,
    before: Callable[[str], str] = lambda _revision: "",
    patience: float = PATIENCE,
) -> None:
    """Bring the schema to this version of Tallybridge; does nothing when it is there already.

    `before` is called with the revision of a database that is older, and only then; what it
    returns, such as where it saved that database, is said if the upgrade fails. Of several
    processes one upgrades, the others wait up to `patience` seconds. Raises DatabaseUnusableError
    when a newer version made the database, when it cannot be opened, or when the upgrade fails:
    nothing of it is kept then.
    """
    try:
        if _is_current(engine):
            return
        with _waiting_for(engine, "migrate", patience):
            if not _is_current(engine):
                _migrate(engine, before)
    except AlreadyLockedError:
        raise DatabaseUnusableError(
            "Another Tallybridge is upgrading the database; try again in a moment."
        ) from None
    except (sa.exc.DatabaseError, OSError) as error:
        damaged = damage.told(engine, error, "Nothing was changed")
        if damaged is not None:
            raise DatabaseUnusableError(damaged) from None
        if not isinstance(error, sa.exc.OperationalError | OSError):
            raise
        reason = str(getattr(error, "orig", None) or error).strip()
        raise DatabaseUnusableError(
            damage.known(reason)
            or f"The database cannot be opened: {reason}. Check that TALLYBRIDGE_DATA_DIR or "
            "TALLYBRIDGE_DATABASE_URL is right and writable."
        ) from None


def _is_current(engine: Engine) -> bool:
    with engine.connect() as connection:
        current = revision(connection)
    if current != head():
        _refuse_newer(current)
    return current == head()


@contextmanager
def _waiting_for(engine: Engine, name: str, patience: float) -> Iterator[None]:
    """The lock `name`, waited for; raises AlreadyLockedError when it is not free in time."""
    until = time.monotonic() + patience
    while True:
        lock = exclusive(engine, name)
        try:
            lock.__enter__()
        except AlreadyLockedError:
            if time.monotonic() >= until:
                raise
            time.sleep(_LOOK_AGAIN)
        else:
            break
    try:
        yield
    finally:
        lock.__exit__(None, None, None)


def _migrate(engine: Engine, before: Callable[[str], str]) -> None:
    """From the schema that is there to the newest one, in one transaction."""
    with engine.connect() as connection:
        current = revision(connection)
    saved = before(current) if current is not None else ""
    try:
        # Alembic would commit each revision on its own, if the transaction were not ours.
        with engine.begin() as connection:
            alembic.command.upgrade(alembic_config(connection), "head")
    except Exception as error:
        if current is None or damage.damage_of(error) is not None:
            raise
        reason = (str(getattr(error, "orig", None) or error).splitlines() or ["no words"])[0]
        raise DatabaseUnusableError(
            f"The database could not be brought from schema {current} to {head()}: "
            f"{type(error).__name__}: {reason}. It is as it was. {saved} Start the version of "
            "Tallybridge that you had before, and report this."
        ) from error


def head() -> str | None:
    """The newest schema revision that this version knows."""
    return alembic.script.ScriptDirectory(str(MIGRATIONS)).get_current_head()


def revisions() -> frozenset[str]:
    """Every schema revision that this version knows, by its whole name."""
    script = alembic.script.ScriptDirectory(str(MIGRATIONS))
    return frozenset(each.revision for each in script.walk_revisions())


def revision(connection: Connection) -> str | None:
    """The schema revision of a database; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def alembic_config(connection: Connection) -> alembic.config.Config:
    """Alembic's configuration, bound to one connection."""
    config = alembic.config.Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def _refuse_newer(current: str | None) -> None:
    if current is None:
        return
    try:
        alembic.script.ScriptDirectory(str(MIGRATIONS)).get_revision(current)
    except alembic.util.CommandError:
        raise DatabaseUnusableError(
            f"The database has schema {current}, which this version of Tallybridge does not know: "
            "a newer version made it. Nothing was changed; run that version, or restore a backup."
        ) from None
