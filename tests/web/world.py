"""One seeded installation, built once for each test process and copied for every test."""

from __future__ import annotations

import datetime as dt
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from jinja2.bccache import Bucket, BytecodeCache

from app import create_app, engine_of
from config import load_config
from models import Role, User
from sandbox import Options, Sandbox, start
from services.database import upgrade
from services.formats.config_file import read_config
from services.formats.config_import import import_config
from services.installation import PLAIN, SECRETS, Installation, store_connection_values
from services.runs import sync_runs
from tests.databases import copied_url, fresh_url, on_postgresql
from tests.faults.harness import Snapshot
from tests.web.client import PASSWORD

TODAY = dt.date(2026, 11, 26)
NOW = dt.datetime(2026, 11, 26, 12, 0, tzinfo=dt.UTC)
_DATABASE = "database-url"
"""A file of the tests in each data directory."""
FROM_ENVIRONMENT_ONLY = ("SOPHOS_ID_URL", "SOPHOS_API_URL", "ALLOWED_VENDOR_HOSTS")
# Names are the roles; a cheap hash, because a real one takes longer than most tests.
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


class _Compiled(BytecodeCache):
    """Templates compiled once for each test process, not once for each app."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self.kept:
            bucket.bytecode_from_string(self.kept[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.kept[bucket.key] = bucket.bytecode_to_string()


_COMPILED = _Compiled()


@dataclass
class Clock:
    """A moment that only moves when a test says so."""

    moment: dt.datetime = NOW

    def forward(self, **span: float) -> None:
        self.moment += dt.timedelta(**span)


@dataclass(frozen=True)
class TestInstallation(Installation):
    """An installation whose clock stands still."""

    __test__ = False
    clock: Clock = field(default_factory=Clock)

    def now(self) -> dt.datetime:
        return self.clock.moment


def options(**changes: Any) -> Options:
    """Fifty customers, the hostile names among them; the newest report is there; no limits."""
    return Options(
        **{
            "tenants": 50,
            "products": 12,
            "catalog": 120,
            "today": TODAY,
            "report_ready": True,
            "sophos_limits": (),
            "connectwise_rate_per_minute": 1_000_000,
            **changes,
        }
    )


@dataclass
class World:
    """Both vendors, and the databases that tests begin with."""

    sandbox: Sandbox
    folder: Path
    snapshot: Snapshot

    def reset(self) -> None:
        """Both vendors as they were at first."""
        self.sandbox.faults.clear()
        self.snapshot.put_into(self.sandbox)
        self.sandbox.log.clear()


@contextmanager
def build(folder: Path) -> Iterator[World]:
    """The sample mappings imported, one run made: some applied, some held, some findings."""
    with start(options()) as sandbox:
        app = make_app(folder / "empty", sandbox)
        add_users(app)
        close(app)
        copy_data(folder / "empty", folder / "full")
        app = make_app(folder / "full", sandbox)
        seed(app, sandbox, folder)
        close(app)
        yield World(sandbox, folder, Snapshot.of(sandbox))


def seed(app: Flask, sandbox: Sandbox, folder: Path) -> None:
    """Import the sample and run once."""
    file = folder / "sample.yaml"
    file.write_text(sandbox.sample_config(), encoding="utf-8")
    context = installation_of(app).context(actor="admin", trigger="manual")
    import_config(context, read_config(file, context.settings()), dry_run=False)
    sync_runs.run(context)


def make_app(
    data: Path, sandbox: Sandbox | None, *, stored: bool = False, **environment: str
) -> Flask:
    """The app over a data directory; `environment` is named without TALLYBRIDGE_.

    Without a sandbox no vendor is configured. `stored` puts what connects to the vendors into the
    database, as if a person had typed it, instead of the environment.
    """
    env = dict(sandbox.env()) if sandbox else {}
    typed = {}
    for name in (*SECRETS, *PLAIN) if stored else ():
        typed[name] = env.pop(f"TALLYBRIDGE_{name.upper()}", "")
    env |= {f"TALLYBRIDGE_{name}": value for name, value in environment.items()}
    env |= _own_database(data)
    app = create_app(load_config({**env, "TALLYBRIDGE_DATA_DIR": str(data)}))
    app.jinja_env.bytecode_cache = _COMPILED
    real = installation_of(app)
    kept = TestInstallation(real.config, real.engine, real.vault)
    app.extensions["tallybridge"] = kept
    upgrade(kept.engine)
    if typed:
        store_connection_values(kept, typed, actor="admin")
    return app


def copy_data(source: Path, target: Path) -> None:
    """A copy of a data directory with its database."""
    shutil.copytree(source, target)
    if on_postgresql():
        url = (source / _DATABASE).read_text(encoding="ascii")
        (target / _DATABASE).write_text(copied_url(url, target), encoding="ascii")


def _own_database(data: Path) -> dict[str, str]:
    """Where the database of a data directory stands; with SQLite it is in there anyway."""
    if not on_postgresql():
        return {}
    file = data / _DATABASE
    if not file.exists():
        data.mkdir(parents=True, exist_ok=True)
        file.write_text(fresh_url(data), encoding="ascii")
    return {"TALLYBRIDGE_DATABASE_URL": file.read_text(encoding="ascii")}


def installation_of(app: Flask) -> Installation:
    found: Installation = app.extensions["tallybridge"]
    return found


def clock_of(app: Flask) -> Clock:
    """The clock of this app, to be moved by a test."""
    found: TestInstallation = app.extensions["tallybridge"]
    return found.clock


def add_users(app: Flask) -> None:
    """One for each role, named after it."""
    with installation_of(app).session() as session, session.begin():
        for role in Role:
            session.add(User(name=role.value, role=role, password_hash=HASH, created_at=NOW))


_READERS = ("index", "catalog", "directory")
"""Threads that a page begins; they hold a connection until they have ended."""


def close(app: Flask) -> None:
    """Let go of the database, so that its files may be copied."""
    jobs = app.extensions.get("tallybridge_jobs")
    if jobs is not None:
        jobs.join()
    for thread in threading.enumerate():
        if thread.name in _READERS:
            thread.join(10)
    engine_of(app).dispose()
