"""What tests of several folders share: a fresh database, and one moment that never moves."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from argon2 import PasswordHasher
from sqlalchemy.engine import Engine

if TYPE_CHECKING:
    from tests.postgres import Server


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hashing a password properly takes longer than most tests."""
    from services.people import passwords

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "hasher", PasswordHasher(1, 8, 1))
        yield


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--postgresql",
        action="store_true",
        help="Run on a throw-away PostgreSQL instead of SQLite.",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--postgresql"):
        os.environ["TEST_DATABASE"] = "postgresql"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("sqlite_only") and os.environ.get("TEST_DATABASE") == "postgresql":
        pytest.skip("about SQLite's own ways")


def pytest_unconfigure() -> None:
    from tests.databases import stop_server

    stop_server()


@pytest.fixture
def now() -> dt.datetime:
    """A moment before the report of its month is there."""
    return dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A database of this version's schema, set up as the app does it."""
    from tests.databases import engine_at, fresh_url

    with engine_at(fresh_url(tmp_path)) as made:
        yield made


@pytest.fixture
def postgres() -> Server:
    """A real server, whatever the other tests run on; skips where none is installed."""
    from tests.databases import server
    from tests.postgres import programs

    if programs() is None:
        pytest.skip("PostgreSQL is not installed")
    return server()


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    """A database without any table."""
    from tests.databases import empty_url, engine_at

    with engine_at(empty_url(tmp_path, "empty")) as made:
        yield made
