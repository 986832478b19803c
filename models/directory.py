"""The local copy of ConnectWise's companies and agreements, so that type-ahead answers at once."""

from __future__ import annotations

import datetime as dt

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base


class Company(Base):
    """A ConnectWise company as it was when the copy was refreshed last; deleted ones are `gone`."""

    __tablename__ = "companies"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    identifier: Mapped[str] = mapped_column(sa.Text)
    name: Mapped[str] = mapped_column(sa.Text)
    status: Mapped[str | None] = mapped_column(sa.Text)
    gone: Mapped[bool] = mapped_column(default=False)


class Agreement(Base):
    """An agreement of a company as it was when the copy was refreshed last."""

    __tablename__ = "agreements"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    company_id: Mapped[int] = mapped_column(index=True)
    name: Mapped[str] = mapped_column(sa.Text)
    type_name: Mapped[str | None] = mapped_column(sa.Text)
    status: Mapped[str | None] = mapped_column(sa.Text)
    cancelled: Mapped[bool] = mapped_column(default=False)
    end_date: Mapped[dt.date | None]
    no_ending_date: Mapped[bool] = mapped_column(default=True)
    gone: Mapped[bool] = mapped_column(default=False)


class DirectoryRefresh(Base):
    """One reading of customers, companies and agreements: how far it is and how it ended."""

    __tablename__ = "directory_refreshes"

    id: Mapped[int] = mapped_column(primary_key=True)
    actor: Mapped[str] = mapped_column(sa.Text)
    started_at: Mapped[dt.datetime]
    seen_at: Mapped[dt.datetime]
    """When it last gave a sign of life; one that is silent for long has died."""
    ended_at: Mapped[dt.datetime | None]
    stage: Mapped[str] = mapped_column(sa.String(120))
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None] = mapped_column(sa.Text)
