"""How Alembic reaches the database: a connection given by us, or the engine of the Flask app."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import context
from sqlalchemy.engine import Connection

from models import Base, ExactDecimal, UtcDateTime


def render_item(kind: str, item: Any, _context: Any) -> str | bool:
    """A migration must not change when the code does: plain types only."""
    if kind == "type" and isinstance(item, ExactDecimal):
        return "sa.BigInteger()"
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime()"
    if kind == "type" and isinstance(item, sa.Enum):
        return f"sa.String(length={item.length})"
    return False


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=True,  # SQLite cannot alter most things in place
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    from flask import current_app

    with current_app.extensions["migrate"].db.engine.connect() as own:
        migrate(own)
        own.commit()
