"""The tables. No rules live here: what the rows mean is decided in services/.

Instants are UTC and end in `_at`; quantities and money are exact decimals.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, registry, relationship

from services.sync.model import ChangeKind, FindingKind


class ExactDecimal(sa.types.TypeDecorator[Decimal]):
    """A decimal with six places, kept as an integer so that SQLite stays exact and can add."""

    impl = sa.BigInteger
    cache_ok = True
    _SCALE = Decimal(1_000_000)

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> int | None:
        return None if value is None else int((value * self._SCALE).to_integral_value())

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(int(value)) / self._SCALE


class UtcDateTime(sa.types.TypeDecorator[dt.datetime]):
    """An instant. Stored in UTC without a zone, always read back with one."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        return None if value is None else value.astimezone(dt.UTC).replace(tzinfo=None)

    def process_result_value(
        self, value: dt.datetime | None, dialect: sa.Dialect
    ) -> dt.datetime | None:
        return None if value is None else value.replace(tzinfo=dt.UTC)


class Base(DeclarativeBase):
    """The base of all tables: named constraints, so that migrations can change them."""

    registry = registry(
        metadata=sa.MetaData(
            naming_convention={
                "ix": "ix_%(column_0_label)s",
                "uq": "uq_%(table_name)s_%(column_0_name)s",
                "ck": "ck_%(table_name)s_%(constraint_name)s",
                "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
                "pk": "pk_%(table_name)s",
            }
        ),
        type_annotation_map={
            Decimal: ExactDecimal(),
            dt.datetime: UtcDateTime(),
            dict[str, Any]: sa.JSON(),
            list[Any]: sa.JSON(),
        },
    )


db = SQLAlchemy(model_class=Base)


def _enum(enum: type[StrEnum]) -> sa.Enum:
    """Enums by value, as plain text: a new member needs no migration."""
    return sa.Enum(
        enum,
        native_enum=False,
        create_constraint=False,
        length=32,
        values_callable=lambda members: [m.value for m in members],
    )


# --- people and settings ------------------------------------------------------------------------


class Role(StrEnum):
    ADMIN = "admin"
    OPERATOR = "operator"
    VIEWER = "viewer"


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(150), unique=True)
    role: Mapped[Role] = mapped_column(_enum(Role))
    password_hash: Mapped[str] = mapped_column(sa.String(255))
    created_at: Mapped[dt.datetime]


class Setting(Base):
    """One setting that a person changed; what is missing here has its default."""

    __tablename__ = "settings"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    value: Mapped[dict[str, Any]]


class AuditEvent(Base):
    """Who did what, when, with the values before and after. Only ever added to."""

    __tablename__ = "audit_events"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    actor: Mapped[str] = mapped_column(sa.String(150))
    action: Mapped[str] = mapped_column(sa.String(64))
    subject: Mapped[str] = mapped_column(sa.Text)
    before: Mapped[dict[str, Any] | None]
    after: Mapped[dict[str, Any] | None]
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))


# --- mappings -----------------------------------------------------------------------------------


class ProductMapping(Base):
    """A Sophos product, known since Sophos first billed it, and where it goes in ConnectWise."""

    __tablename__ = "product_mappings"

    product_key: Mapped[str] = mapped_column(sa.String(120), primary_key=True)
    product_name: Mapped[str] = mapped_column(sa.Text)
    earlier_names: Mapped[list[Any]] = mapped_column(default=list)
    product_group: Mapped[str | None] = mapped_column(sa.String(40))
    last_month: Mapped[str] = mapped_column(sa.String(7))
    sync: Mapped[bool] = mapped_column(default=False)
    catalog_item_id: Mapped[int | None]
    catalog_item_identifier: Mapped[str | None] = mapped_column(sa.String(120))
    first_seen_at: Mapped[dt.datetime]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012  (SQLAlchemy reads it as is)


class TenantMapping(Base):
    """A Sophos customer, and the ConnectWise company and agreement that it is billed on."""

    __tablename__ = "tenant_mappings"

    tenant_id: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    tenant_name: Mapped[str] = mapped_column(sa.Text)
    billing_type: Mapped[str | None] = mapped_column(sa.String(20))
    status: Mapped[str | None] = mapped_column(sa.String(20))
    sync: Mapped[bool] = mapped_column(default=False)
    company_id: Mapped[int | None]
    company_identifier: Mapped[str | None] = mapped_column(sa.String(160))
    agreement_id: Mapped[int | None]
    agreement_name: Mapped[str | None] = mapped_column(sa.Text)
    first_seen_at: Mapped[dt.datetime]
    version: Mapped[int] = mapped_column(default=1)

    overrides: Mapped[list[ProductAgreement]] = relationship(
        cascade="all, delete-orphan", order_by="ProductAgreement.product_key", lazy="selectin"
    )
    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012


class ProductAgreement(Base):
    """One Sophos product of a tenant that is billed on another agreement than the rest."""

    __tablename__ = "product_agreements"

    tenant_id: Mapped[str] = mapped_column(
        sa.ForeignKey("tenant_mappings.tenant_id"), primary_key=True
    )
    product_key: Mapped[str] = mapped_column(
        sa.ForeignKey("product_mappings.product_key"), primary_key=True
    )
    agreement_id: Mapped[int]


class SerialAssignment(Base):
    """The tenant that a person chose for a device which Sophos bills without a customer."""

    __tablename__ = "serial_assignments"

    serial: Mapped[str] = mapped_column(sa.String(120), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenant_mappings.tenant_id"))


# --- usage --------------------------------------------------------------------------------------


class UsageReport(Base):
    """One complete report of Sophos as it was read.

    `trusted` reports are the yardstick for later ones: those that passed the guard rail against
    shrunk reports, or that a person approved in spite of it.
    """

    __tablename__ = "usage_reports"

    id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[str] = mapped_column(sa.String(7), index=True)
    fingerprint: Mapped[str] = mapped_column(sa.String(64))
    read_at: Mapped[dt.datetime]
    trusted: Mapped[bool] = mapped_column(default=False)
    tenant_ids: Mapped[list[Any]]


class UsageLine(Base):
    """One line of a report, so that every number can be explained."""

    __tablename__ = "usage_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    report_id: Mapped[int] = mapped_column(sa.ForeignKey("usage_reports.id"), index=True)
    tenant_id: Mapped[str | None] = mapped_column(sa.String(64), index=True)
    product_key: Mapped[str] = mapped_column(sa.String(120))
    product_name: Mapped[str] = mapped_column(sa.Text)
    quantity: Mapped[Decimal]
    serial: Mapped[str | None] = mapped_column(sa.String(120))
    account_name: Mapped[str | None] = mapped_column(sa.Text)
    order: Mapped[str | None] = mapped_column(sa.String(120))
    unit_price: Mapped[Decimal | None]
    currency: Mapped[str | None] = mapped_column(sa.String(8))


# --- runs ---------------------------------------------------------------------------------------


class RunState(StrEnum):
    RUNNING = "running"
    PLANNED = "planned"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    NOT_READY = "not_ready"
    INTERRUPTED = "interrupted"


class ChangeState(StrEnum):
    PLANNED = "planned"
    HELD = "held"
    APPLYING = "applying"
    """The intent is stored and the call may have gone out."""
    UNCLEAR = "unclear"
    """The call went out, and the truth could not be read back yet."""
    APPLIED = "applied"
    SKIPPED = "skipped"
    FAILED = "failed"


OPEN_INTENTS = (ChangeState.APPLYING, ChangeState.UNCLEAR)


class SyncRun(Base):
    __tablename__ = "sync_runs"
    __table_args__ = (
        # One run at a time, whoever starts it: the database has the last word.
        sa.Index(
            "uq_sync_runs_running",
            "state",
            unique=True,
            sqlite_where=sa.text("state = 'running'"),
            postgresql_where=sa.text("state = 'running'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    month: Mapped[str | None] = mapped_column(sa.String(7))
    trigger: Mapped[str] = mapped_column(sa.String(20))
    actor: Mapped[str] = mapped_column(sa.String(150))
    state: Mapped[RunState] = mapped_column(_enum(RunState))
    message: Mapped[str | None] = mapped_column(sa.Text)
    fingerprint: Mapped[str | None] = mapped_column(sa.String(64))
    report_id: Mapped[int | None] = mapped_column(sa.ForeignKey("usage_reports.id"))
    undo_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))
    sophos_calls: Mapped[int] = mapped_column(default=0)
    connectwise_calls: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]

    changes: Mapped[list[Change]] = relationship(back_populates="run", order_by="Change.id")
    findings: Mapped[list[Finding]] = relationship(order_by="Finding.id")


class Change(Base):
    """A planned change and its journal: what was intended, when, and what came of it."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("sync_runs.id"), index=True)
    kind: Mapped[ChangeKind] = mapped_column(_enum(ChangeKind))
    state: Mapped[ChangeState] = mapped_column(_enum(ChangeState), index=True)
    tenant_id: Mapped[str | None] = mapped_column(sa.String(64))
    agreement_id: Mapped[int | None] = mapped_column(index=True)
    addition_id: Mapped[int | None]
    catalog_item_id: Mapped[int | None]
    new_identifier: Mapped[str | None] = mapped_column(sa.String(120))
    product_key: Mapped[str | None] = mapped_column(sa.String(120))
    product_name: Mapped[str | None] = mapped_column(sa.Text)
    before: Mapped[Decimal | None]
    after: Mapped[Decimal | None]
    unit_price: Mapped[Decimal | None]
    effective_date: Mapped[dt.date | None]
    cancelled_date: Mapped[dt.date | None]
    sets_quantity: Mapped[bool] = mapped_column(default=True)
    reason: Mapped[str] = mapped_column(sa.Text)
    held: Mapped[str | None] = mapped_column(sa.Text)
    group: Mapped[str | None] = mapped_column(sa.String(120))
    sources: Mapped[list[Any]] = mapped_column(default=list)
    explanation: Mapped[list[Any]] = mapped_column(default=list)
    known_additions: Mapped[list[Any]] = mapped_column(default=list)
    approved_by: Mapped[str | None] = mapped_column(sa.String(150))
    intended_at: Mapped[dt.datetime | None]
    settled_at: Mapped[dt.datetime | None]
    error: Mapped[str | None] = mapped_column(sa.Text)

    run: Mapped[SyncRun] = relationship(back_populates="changes")


class Finding(Base):
    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("sync_runs.id"), index=True)
    kind: Mapped[FindingKind] = mapped_column(_enum(FindingKind))
    subject: Mapped[str] = mapped_column(sa.Text)
    message: Mapped[str] = mapped_column(sa.Text)
    advice: Mapped[str] = mapped_column(sa.Text)


class OwnedAddition(Base):
    """An addition that we made or were allowed to adopt: the only ones we write to."""

    __tablename__ = "owned_additions"

    addition_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    agreement_id: Mapped[int] = mapped_column(index=True)
    catalog_item_id: Mapped[int]
    quantity: Mapped[Decimal]
    sources: Mapped[list[Any]]
    ended_at: Mapped[dt.datetime | None]
    updated_at: Mapped[dt.datetime]
