"""Reports of Sophos as they were read."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RoundedPrice
from services.sync.model import PRODUCT_KEY_LENGTH, TENANT_ID_LENGTH


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
    tenant_id: Mapped[str | None] = mapped_column(sa.String(TENANT_ID_LENGTH), index=True)
    product_key: Mapped[str] = mapped_column(sa.String(PRODUCT_KEY_LENGTH))
    product_name: Mapped[str] = mapped_column(sa.Text)
    quantity: Mapped[Decimal]
    serial: Mapped[str | None] = mapped_column(sa.Text)
    account_name: Mapped[str | None] = mapped_column(sa.Text)
    order: Mapped[str | None] = mapped_column(sa.Text)
    unit_price: Mapped[Decimal | None] = mapped_column(RoundedPrice)
    currency: Mapped[str | None] = mapped_column(sa.Text)
