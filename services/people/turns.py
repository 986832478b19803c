"""Taking turns within the database, for rules that no constraint of a table can hold."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session


def take_turn(session: Session, name: str) -> None:
    """Wait until no other transaction holds `name`; it is held until this one ends.

    SQLite's writers take turns anyway (their transactions begin IMMEDIATE), so this only asks
    PostgreSQL, whose transactions do not see what others are about to commit.
    """
    if session.get_bind().dialect.name == "postgresql":
        key = sa.func.hashtext(f"tallybridge {name}")
        session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
