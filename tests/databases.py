"""The databases that tests run on: SQLite files, or with `--postgresql` those of a real server.

A migrated database is made once for each test process and copied for every test.
"""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Engine, make_url

from services.database import configure, upgrade
from tests.postgres import Server

VARIABLE = "TEST_DATABASE"  # with our prefix the app would refuse to start
_numbers = itertools.count(1)
_server: list[Server] = []
_template: list[str] = []


def on_postgresql() -> bool:
    """Whether this test run is one on PostgreSQL."""
    return os.environ.get(VARIABLE) == "postgresql"


sqlite_only = pytest.mark.sqlite_only
"""For tests of damaged files, pragmas, and what else only SQLite has."""


def server() -> Server:
    """The server of this test process, started when it is needed first."""
    if not _server:
        _server.append(Server.start())
    return _server[0]


def stop_server() -> None:
    """At the end of the tests."""
    while _server:
        _server.pop().stop()


def empty_url(folder: Path, name: str = "tallybridge") -> str:
    """The address of a database without any table."""
    if not on_postgresql():
        return f"sqlite:///{folder / f'{name}.db'}"
    return _created()


def fresh_url(folder: Path, name: str = "tallybridge") -> str:
    """The address of a database of this version's schema, without rows."""
    return copied_url(_migrated(), folder, name)


def copied_url(source: str, folder: Path, name: str = "tallybridge") -> str:
    """The address of a copy of a database that nobody is connected to."""
    if on_postgresql():
        return _created(source)
    target = folder / f"{name}.db"
    shutil.copy(str(make_url(source).database), target)
    return f"sqlite:///{target}"


def make_engine(url: str) -> Engine:
    """An engine as the app sets it up."""
    made = sa.create_engine(url)
    configure(made)
    return made


@contextmanager
def engine_at(url: str) -> Iterator[Engine]:
    """An engine; at the end its database is dropped, where it would only take room."""
    made = make_engine(url)
    try:
        yield made
    finally:
        made.dispose()
        drop(url)


def url_of(engine: Engine) -> str:
    """The address that an engine was made for."""
    return engine.url.render_as_string(hide_password=False)


def drop(url: str) -> None:
    """Remove a database of the server, whoever is still connected; SQLite files stay."""
    if on_postgresql():
        server().execute(f'DROP DATABASE IF EXISTS "{make_url(url).database}" WITH (FORCE)')


def _migrated() -> str:
    if not _template:
        folder = Path(tempfile.mkdtemp(prefix="tallybridge-template-"))
        _template.append(empty_url(folder))
        made = make_engine(_template[0])
        upgrade(made)
        made.dispose()
    return _template[0]


def _created(source: str | None = None) -> str:
    name = f"t{os.getpid()}_{next(_numbers)}"
    template = f' TEMPLATE "{make_url(source).database}"' if source else ""
    server().execute(f'CREATE DATABASE "{name}"{template}')
    return server().url(name)
