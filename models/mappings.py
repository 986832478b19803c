"""Sophos products and customers, where they go in ConnectWise, and what we own there."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column, relationship

from models.base import Base
from services.sync.model import PRODUCT_KEY_LENGTH, TENANT_ID_LENGTH

SERIAL_LENGTH = 120
"""The most characters of a serial number that can be assigned."""


class ProductMapping(Base):
    """A Sophos product, known since Sophos first billed it, and where it goes in ConnectWise."""

    __tablename__ = "product_mappings"

    product_key: Mapped[str] = mapped_column(sa.String(PRODUCT_KEY_LENGTH), primary_key=True)
    product_name: Mapped[str] = mapped_column(sa.Text)
    earlier_names: Mapped[list[Any]] = mapped_column(default=list)
    product_group: Mapped[str | None] = mapped_column(sa.Text)
    last_month: Mapped[str] = mapped_column(sa.String(7))
    sync: Mapped[bool] = mapped_column(default=False)
    catalog_item_id: Mapped[int | None]
    catalog_item_identifier: Mapped[str | None] = mapped_column(sa.Text)
    first_seen_at: Mapped[dt.datetime]
    version: Mapped[int] = mapped_column(default=1)

    __mapper_args__ = {"version_id_col": version}  # noqa: RUF012  (SQLAlchemy reads it as is)


class TenantMapping(Base):
    """A Sophos customer, and the ConnectWise company and agreement that it is billed on."""

    __tablename__ = "tenant_mappings"

    tenant_id: Mapped[str] = mapped_column(sa.String(TENANT_ID_LENGTH), primary_key=True)
    tenant_name: Mapped[str] = mapped_column(sa.Text)
    billing_type: Mapped[str | None] = mapped_column(sa.Text)
    status: Mapped[str | None] = mapped_column(sa.Text)
    sync: Mapped[bool] = mapped_column(default=False)
    company_id: Mapped[int | None]
    company_identifier: Mapped[str | None] = mapped_column(sa.Text)
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

    serial: Mapped[str] = mapped_column(sa.String(SERIAL_LENGTH), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(sa.ForeignKey("tenant_mappings.tenant_id"))


class OwnedAddition(Base):
    """An addition that we made or were allowed to adopt: the only ones we write to."""

    __tablename__ = "owned_additions"

    addition_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    agreement_id: Mapped[int] = mapped_column(index=True)
    catalog_item_id: Mapped[int]
    quantity: Mapped[Decimal]
    sources: Mapped[list[Any]]
    ended_at: Mapped[dt.datetime | None]
    last_billed_day: Mapped[dt.date | None]
    updated_at: Mapped[dt.datetime]


class StagedEdit(Base):
    """What a person changed on the product page and has not saved yet. One a person and product.

    `base_version` is the version of the mapping that the person saw; a later one is a conflict.
    `sync` is None where the switch was not touched.
    """

    __tablename__ = "staged_edits"

    user_id: Mapped[int] = mapped_column(sa.ForeignKey("users.id"), primary_key=True)
    product_key: Mapped[str] = mapped_column(
        sa.ForeignKey("product_mappings.product_key"), primary_key=True
    )
    base_version: Mapped[int]
    sync: Mapped[bool | None]
    changes_item: Mapped[bool] = mapped_column(default=False)
    catalog_item_id: Mapped[int | None]
    catalog_item_identifier: Mapped[str | None] = mapped_column(sa.Text)
    made_at: Mapped[dt.datetime]
