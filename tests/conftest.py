"""What tests of several folders share: a fresh database, and one moment that never moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from sqlalchemy.engine import Engine


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> Iterator[None]:
    """Hashing a password properly takes longer than most tests."""
    from services import passwords

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "hasher", PasswordHasher(1, 8, 1))
        yield


@pytest.fixture
def now() -> dt.datetime:
    """A moment before the report of its month is there."""
    return dt.datetime(2026, 11, 22, 9, 30, tzinfo=dt.UTC)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite database of this version's schema, set up as the app does it."""
    from services.database import configure_sqlite, upgrade

    made = sa.create_engine(f"sqlite:///{tmp_path / 'tallybridge.db'}")
    configure_sqlite(made)
    upgrade(made)
    yield made
    made.dispose()
