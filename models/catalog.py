"""The local copy of ConnectWise's catalog, so that type-ahead answers at once."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from models.base import Base, RoundedPrice


class CatalogItem(Base):
    """A ConnectWise product as it was when the copy was refreshed last."""

    __tablename__ = "catalog_items"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    identifier: Mapped[str] = mapped_column(sa.Text)
    description: Mapped[str] = mapped_column(sa.Text)
    product_class: Mapped[str | None] = mapped_column(sa.Text)
    inactive: Mapped[bool] = mapped_column(default=False)
    gone: Mapped[bool] = mapped_column(default=False)
    price: Mapped[Decimal | None] = mapped_column(RoundedPrice)
    cost: Mapped[Decimal | None] = mapped_column(RoundedPrice)
    taxable: Mapped[bool | None]


class Marker(Base):
    """When something was done last, and how often: the copy of the catalog has one."""

    __tablename__ = "markers"

    name: Mapped[str] = mapped_column(sa.String(64), primary_key=True)
    number: Mapped[int] = mapped_column(default=0)
    at: Mapped[dt.datetime]
    note: Mapped[str | None] = mapped_column(sa.Text)
    """What there is to say about it, in words."""
