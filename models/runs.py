"""Sync runs, their changes with the journal, their findings."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base, RoundedPrice, enum_column
from services.sync.model import PRODUCT_KEY_LENGTH, TENANT_ID_LENGTH, ChangeKind, FindingKind


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
    actor: Mapped[str] = mapped_column(sa.Text)
    state: Mapped[RunState] = mapped_column(enum_column(RunState))
    message: Mapped[str | None] = mapped_column(sa.Text)
    fingerprint: Mapped[str | None] = mapped_column(sa.String(64))
    report_id: Mapped[int | None] = mapped_column(sa.ForeignKey("usage_reports.id"))
    undo_of_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))
    sophos_calls: Mapped[int] = mapped_column(default=0)
    connectwise_calls: Mapped[int] = mapped_column(default=0)
    progress: Mapped[str | None] = mapped_column(sa.String(120))
    progress_done: Mapped[int] = mapped_column(default=0)
    progress_total: Mapped[int] = mapped_column(default=0)
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]

    changes: Mapped[list[Change]] = relationship(back_populates="run", order_by="Change.id")
    findings: Mapped[list[Finding]] = relationship(order_by="Finding.id")


class Change(Base):
    """A planned change and its journal: what was intended, when, and what came of it."""

    __tablename__ = "changes"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("sync_runs.id"), index=True)
    kind: Mapped[ChangeKind] = mapped_column(enum_column(ChangeKind))
    state: Mapped[ChangeState] = mapped_column(enum_column(ChangeState), index=True)
    tenant_id: Mapped[str | None] = mapped_column(sa.String(TENANT_ID_LENGTH))
    agreement_id: Mapped[int | None] = mapped_column(index=True)
    addition_id: Mapped[int | None]
    catalog_item_id: Mapped[int | None]
    new_identifier: Mapped[str | None] = mapped_column(sa.Text)
    product_key: Mapped[str | None] = mapped_column(sa.String(PRODUCT_KEY_LENGTH))
    product_name: Mapped[str | None] = mapped_column(sa.Text)
    before: Mapped[Decimal | None]
    after: Mapped[Decimal | None]
    unit_price: Mapped[Decimal | None] = mapped_column(RoundedPrice)
    effective_date: Mapped[dt.date | None]
    cancelled_date: Mapped[dt.date | None]
    sets_quantity: Mapped[bool] = mapped_column(default=True)
    reason: Mapped[str] = mapped_column(sa.Text)
    held: Mapped[str | None] = mapped_column(sa.Text)
    group: Mapped[str | None] = mapped_column(sa.Text)
    sources: Mapped[list[Any]] = mapped_column(default=list)
    explanation: Mapped[list[Any]] = mapped_column(default=list)
    known_additions: Mapped[list[Any]] = mapped_column(default=list)
    approved_by: Mapped[str | None] = mapped_column(sa.Text)
    intended_at: Mapped[dt.datetime | None]
    settled_at: Mapped[dt.datetime | None]
    error: Mapped[str | None] = mapped_column(sa.Text)

    run: Mapped[SyncRun] = relationship(back_populates="changes")


class Finding(Base):
    __tablename__ = "findings"

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[int] = mapped_column(sa.ForeignKey("sync_runs.id"), index=True)
    kind: Mapped[FindingKind] = mapped_column(enum_column(FindingKind))
    subject: Mapped[str] = mapped_column(sa.Text)
    message: Mapped[str] = mapped_column(sa.Text)
    advice: Mapped[str] = mapped_column(sa.Text)
