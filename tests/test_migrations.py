"""The schema: migrations make what the models say, and types of ours lose nothing."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session
from sqlalchemy.schema import CreateTable

import models
from models import Base
from services.database import MIGRATIONS, alembic_config, head


def to(engine: Engine, revision: str) -> None:
    with engine.connect() as connection:
        if revision == "base":
            alembic.command.downgrade(alembic_config(connection), revision)
        else:
            alembic.command.upgrade(alembic_config(connection), revision)
        connection.commit()


def schema(engine: Engine) -> list[Any]:
    """Every table with its columns, indexes and constraints, as SQLAlchemy writes them."""
    metadata = sa.MetaData()
    metadata.reflect(engine)
    return [
        [str(CreateTable(table).compile(engine)), sorted(map(repr, table.indexes))]
        for table in metadata.sorted_tables
        if table.name != "alembic_version"
    ]


def same_type(context: Any, _ours: Any, _theirs: Any, database: Any, model: Any) -> bool | None:
    """Types of ours and enums by what they are in the database, as migrations write them.

    SQLite keeps a text of any length whatever it is called; there its name is left as it was.
    """
    if isinstance(model, sa.types.TypeDecorator):
        model = model.impl_instance
    if isinstance(model, sa.Enum):
        return not isinstance(database, sa.String) or database.length != model.length
    if isinstance(model, sa.Text) and context.dialect.name == "sqlite":
        return not isinstance(database, sa.String)
    if type(model) in (sa.BigInteger, sa.JSON, sa.DateTime):
        return not isinstance(database, type(model))
    return None  # the ordinary comparison


def difference(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": same_type})
        found: list[Any] = compare_metadata(context, Base.metadata)
        return found


def test_an_upgraded_empty_database_equals_the_models(empty: Engine) -> None:
    to(empty, "head")
    assert difference(empty) == []
    made = sa.inspect(empty)
    for table in Base.metadata.sorted_tables:  # what the comparison does not look at
        assert {c["name"] for c in made.get_check_constraints(table.name)} == {
            c.name for c in table.constraints if isinstance(c, sa.CheckConstraint)
        }
        assert made.get_pk_constraint(table.name)["constrained_columns"] == [
            column.name for column in table.primary_key.columns
        ]


def test_the_comparison_is_awake(empty: Engine) -> None:
    to(empty, "head")
    with empty.begin() as connection:
        connection.execute(sa.text("ALTER TABLE users ADD COLUMN nickname TEXT"))
        connection.execute(sa.text("DROP INDEX uq_sync_runs_running"))
        connection.execute(sa.text("ALTER TABLE changes DROP COLUMN held"))
        connection.execute(sa.text("ALTER TABLE changes ADD COLUMN held INTEGER"))
    kinds = {entry[0] if isinstance(entry, tuple) else entry[0][0] for entry in difference(empty)}
    assert kinds == {"remove_column", "add_index", "modify_type"}


def test_down_to_nothing_and_up_again(empty: Engine) -> None:
    to(empty, "head")
    before = schema(empty)
    to(empty, "base")
    assert schema(empty) == []
    to(empty, "head")
    assert schema(empty) == before


def test_there_is_one_line_of_revisions() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_heads() == [head()]
    assert len(scripts.get_bases()) == 1
    for script in scripts.walk_revisions():
        assert script.doc, script.revision


def test_only_one_run_may_be_running(engine: Engine, now: dt.datetime) -> None:
    """The database has the last word, whoever forgets the lock."""

    def running() -> models.SyncRun:
        return models.SyncRun(trigger="t", actor="a", state=models.RunState.RUNNING, started_at=now)

    with Session(engine) as session, session.begin():
        session.add(running())
    with pytest.raises(sa.exc.IntegrityError), Session(engine) as session, session.begin():
        session.add(running())


# --- types --------------------------------------------------------------------------------------


def raw(engine: Engine, statement: str) -> list[tuple[Any, ...]]:
    """As the driver gives it, without types of ours."""
    with engine.connect() as connection:
        return [tuple(row) for row in connection.exec_driver_sql(statement)]


@pytest.mark.parametrize(
    "text",
    ["0", "1", "-1", "0.1", "0.000001", "-0.000001", "12.5", "33.333333", "8999999999999.999999"],
)
def test_decimals_are_exact(engine: Engine, now: dt.datetime, text: str) -> None:
    with Session(engine) as session, session.begin():
        session.add(
            models.OwnedAddition(
                addition_id=1,
                agreement_id=1,
                catalog_item_id=1,
                quantity=Decimal(text),
                sources=[],
                updated_at=now,
            )
        )
    with Session(engine) as session:
        [quantity] = session.scalars(sa.select(models.OwnedAddition.quantity))
        assert quantity == Decimal(text)
        assert isinstance(quantity, Decimal)
        assert session.scalar(
            sa.select(models.OwnedAddition).where(models.OwnedAddition.quantity == Decimal(text))
        )
    [(stored,)] = raw(engine, "SELECT quantity FROM owned_additions")
    assert isinstance(stored, int)


def test_decimals_add_up_in_the_database(engine: Engine, now: dt.datetime) -> None:
    """As floating point 0.1 + 0.2 would not be 0.3."""
    with Session(engine) as session, session.begin():
        for number, text in enumerate(("0.1", "0.2"), 1):
            session.add(
                models.OwnedAddition(
                    addition_id=number,
                    agreement_id=1,
                    catalog_item_id=1,
                    quantity=Decimal(text),
                    sources=[],
                    updated_at=now,
                )
            )
    with Session(engine) as session:
        assert session.scalar(sa.select(sa.func.sum(models.OwnedAddition.quantity))) == Decimal(
            "0.3"
        )


def test_a_decimal_that_cannot_be_kept_is_refused(engine: Engine, now: dt.datetime) -> None:
    with pytest.raises(sa.exc.StatementError), Session(engine) as session, session.begin():
        session.add(
            models.OwnedAddition(
                addition_id=1,
                agreement_id=1,
                catalog_item_id=1,
                quantity=Decimal("0.0000005"),
                sources=[],
                updated_at=now,
            )
        )


@pytest.mark.parametrize(
    ("text", "kept"),
    [("1.23456789", "1.234568"), ("0.0000005", "0"), ("-3.2", "-3.2"), ("1e11", "1e11")],
)
def test_a_price_is_kept_to_six_places(engine: Engine, text: str, kept: str) -> None:
    """Vendors send prices with more; nobody is billed by what we keep of them."""
    with Session(engine) as session, session.begin():
        price = Decimal(text)
        session.add(models.CatalogItem(id=1, identifier="a", description="", price=price))
    with Session(engine) as session:
        assert session.get_one(models.CatalogItem, 1).price == Decimal(kept)


def test_enums_are_stored_by_value(engine: Engine, now: dt.datetime) -> None:
    with Session(engine) as session, session.begin():
        session.add(
            models.User(name="a", role=models.Role.VIEWER, password_hash="x", created_at=now)
        )
    assert raw(engine, "SELECT role FROM users") == [("viewer",)]
    enums = [
        column.type
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, sa.Enum)
    ]
    assert len(enums) >= 5
    for kind in enums:
        assert kind.enum_class is not None
        assert kind.enums == [member.value for member in kind.enum_class]
        assert not kind.native_enum
        assert max(map(len, kind.enums)) <= (kind.length or 0)


def test_instants_are_utc_whatever_the_zone(engine: Engine) -> None:
    east = dt.datetime(2026, 3, 1, 1, 30, tzinfo=dt.timezone(dt.timedelta(hours=5, minutes=30)))
    with Session(engine) as session, session.begin():
        session.add(
            models.AuditEvent(at=east, actor="a", action="b", subject="c", before=None, after=None)
        )
    [(stored,)] = raw(engine, "SELECT at FROM audit_events")
    assert str(stored).startswith("2026-02-28 20:00:00")
    with Session(engine) as session:
        [at] = session.scalars(sa.select(models.AuditEvent.at))
        assert at == east
        assert at.tzinfo is dt.UTC


def test_an_instant_without_a_zone_is_refused(engine: Engine) -> None:
    with pytest.raises(sa.exc.StatementError), Session(engine) as session, session.begin():
        session.add(
            models.AuditEvent(
                at=dt.datetime(2026, 3, 1),  # noqa: DTZ001
                actor="a",
                action="b",
                subject="c",
                before=None,
                after=None,
            )
        )
