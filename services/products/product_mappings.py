"""Product mappings: the one way to change one, and what the product page shows of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit


class ItemChoice(NamedTuple):
    """A ConnectWise product that was chosen: its record id, and its identifier as then read."""

    id: int
    identifier: str


@dataclass(frozen=True, slots=True)
class Usage:
    """What Sophos' newest report says of one product."""

    quantity: Decimal
    customers: int


@dataclass(frozen=True, slots=True)
class Period:
    """The newest report: its month, and what it says of each Sophos product."""

    month: str | None
    report_id: int | None
    products: Mapping[str, Usage]


def item_of(row: models.ProductMapping | models.StagedEdit) -> ItemChoice | None:
    """The ConnectWise product that a mapping, or an unsaved edit of one, names."""
    if row.catalog_item_id is None:
        return None
    return ItemChoice(row.catalog_item_id, row.catalog_item_identifier or f"#{row.catalog_item_id}")


def change(
    session: Session,
    row: models.ProductMapping,
    *,
    item: ItemChoice | None,
    sync: bool,
    actor: str,
    at: dt.datetime,
    action: str = "product.change",
) -> tuple[dict[str, object], dict[str, object]] | None:
    """Set where a Sophos product goes and whether it takes part, with the audit beside it.

    Returns the values before and after, or None when nothing differs. Whether the item may be
    used at all is for the caller to know: it has just read it.
    """
    before: dict[str, object] = {"catalog_item": row.catalog_item_identifier, "sync": row.sync}
    after: dict[str, object] = {
        "catalog_item": item.identifier if item else None,
        "sync": sync,
    }
    was = row.catalog_item_id
    moved = was != (item.id if item else None)
    row.sync = sync
    row.catalog_item_id = item.id if item else None
    row.catalog_item_identifier = item.identifier if item else None
    if before == after and not moved:
        return None
    if moved and before["catalog_item"] == after["catalog_item"]:
        before["catalog_item_id"], after["catalog_item_id"] = was, row.catalog_item_id
    audit.record(
        session,
        at=at,
        actor=actor,
        action=action,
        subject=f"product {row.product_key}",
        before=before,
        after=after,
    )
    session.flush()
    return before, after


def newest_period(session: Session) -> Period:
    """What the newest report that was read says, by product."""
    report = session.execute(
        sa.select(models.UsageReport.id, models.UsageReport.month)
        .order_by(models.UsageReport.month.desc(), models.UsageReport.id.desc())
        .limit(1)
    ).first()
    if report is None:
        return Period(None, None, {})
    key = (str(session.get_bind().engine.url), report.id)
    if key not in _summed:
        if len(_summed) >= _SUMMED_MOST:
            _summed.clear()
        _summed[key] = _sum(session, report.id)
    return Period(report.month, report.id, _summed[key])


_SUMMED_MOST = 8
_summed: dict[tuple[str, int], Mapping[str, Usage]] = {}
"""Reports never change after they are stored, and adding up a big one takes a while."""


def _sum(
    session: Session, report_id: int, *conditions: sa.ColumnElement[bool]
) -> Mapping[str, Usage]:
    line = models.UsageLine
    query = (
        sa.select(
            line.product_key,
            sa.func.sum(line.quantity),
            sa.func.count(sa.distinct(line.tenant_id)),
        )
        .where(line.report_id == report_id, *conditions)
        .group_by(line.product_key)
    )
    return {key: Usage(quantity, customers) for key, quantity, customers in session.execute(query)}
