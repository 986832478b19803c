"""The suggestions of the set-up: several accepted in one go, as they were offered."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

import models
from services.products import product_mappings
from services.products.product_mappings import ItemChoice
from services.products.product_page import Row, View, product_page
from services.products.staging import why_not_usable
from services.settings import AppSettings
from services.tenants import tenant_mappings
from services.tenants.tenant_mappings import Author, Wanted


@dataclass(frozen=True, slots=True)
class WantedProduct:
    """A suggestion as a person saw it: for which version of the mapping, and which item."""

    key: str
    version: int | None
    item_id: int | None


def suggested_products(session: Session, user_id: int, settings: AppSettings) -> list[Row]:
    """The unmapped products that a ConnectWise product may be meant for; the certain ones first."""
    rows = product_page(session, user_id, View(filter="unmapped"), settings).rows
    offered = [row for row in rows if row.staged is None and row.suggestion is not None]
    return sorted(offered, key=lambda row: -row.suggestion.score if row.suggestion else 0)


def accept_products(
    session: Session, author: Author, wanted: Iterable[WantedProduct], *, sync: bool
) -> tuple[int, list[str]]:
    """Map products as they were offered: how many were, and the names of those left as they are.

    One is left that was changed meanwhile, or whose item cannot be used any more. `sync` switches
    the sync of those on that were mapped; otherwise it stays as it is.
    """
    accepted, left = 0, []
    for each in wanted:
        row = session.get(models.ProductMapping, each.key)
        item = session.get(models.CatalogItem, each.item_id) if each.item_id else None
        if row is None:
            continue
        if row.version != each.version or item is None or why_not_usable(item):
            left.append(row.product_name)
            continue
        product_mappings.change(
            session,
            row,
            item=ItemChoice(item.id, item.identifier),
            sync=sync or row.sync,
            actor=author.actor,
            at=author.at,
        )
        accepted += 1
    return accepted, left


def accept_customers(
    session: Session, author: Author, wanted: Collection[Wanted], *, sync: bool
) -> tuple[int, list[str]]:
    """Map customers as they were offered: how many were, and the names of those left as they are.

    `sync` switches the sync of those on that have an agreement now. Raises NoSuchCustomerError.
    """
    accepted, rows = tenant_mappings.accept_all(session, author, wanted)
    left = {row.tenant_id for row in rows}
    for each in wanted:
        if sync and each.agreement_id is not None and each.tenant_id not in left:
            tenant_mappings.switch_sync(session, each.tenant_id, author, on=True)
    return accepted, [row.tenant_name for row in rows]
