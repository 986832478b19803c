"""What running unattended needs: the slots of the schedule, and what people are told."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, enum_column


class SlotState(StrEnum):
    RUNNING = "running"
    WAITING = "waiting"
    """Not ready, or in the way of another run: tried again at `retry_at`."""
    DONE = "done"
    FAILED = "failed"
    MISSED = "missed"


class ScheduledSlot(Base):
    """One occasion on which the schedule says: now.

    The key names the occasion and not the instant, so a clock change or a restart can neither
    skip nor double it: whoever inserts the row has the slot.
    """

    __tablename__ = "scheduled_slots"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(sa.String(64), unique=True)
    due_at: Mapped[dt.datetime] = mapped_column(index=True)
    state: Mapped[SlotState] = mapped_column(enum_column(SlotState), index=True)
    attempts: Mapped[int] = mapped_column(default=0)
    retry_at: Mapped[dt.datetime | None]
    message: Mapped[str | None] = mapped_column(sa.Text)
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))
    started_at: Mapped[dt.datetime]
    ended_at: Mapped[dt.datetime | None]


class NotificationTarget(Base):
    """Where notifications go. The address holds secrets, so it is encrypted."""

    __tablename__ = "notification_targets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(sa.String(100), unique=True)
    sealed_url: Mapped[str] = mapped_column(sa.Text)
    created_at: Mapped[dt.datetime]
    last_sent_at: Mapped[dt.datetime | None]
    last_error: Mapped[str | None] = mapped_column(sa.Text)


class Notice(Base):
    """Something that people are to be told once; unsent ones are gathered into a digest."""

    __tablename__ = "notices"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(sa.String(40))
    key: Mapped[str] = mapped_column(sa.String(200), unique=True)
    message: Mapped[str] = mapped_column(sa.Text)
    run_id: Mapped[int | None] = mapped_column(sa.ForeignKey("sync_runs.id"))
    sent_at: Mapped[dt.datetime | None] = mapped_column(index=True)
