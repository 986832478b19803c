"""What the web page is measured with: a large catalog, 500 Sophos products, and one person."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from bench.catalog import items, products
from models import Role
from services.database import configure
from services.people.accounts import create_user
from services.products.catalog_copy import FULL_MARKER, MARKER

PRODUCTS = 500
PERSON, PASSWORD = "benchmark", "measured with care"
_MONTH = "2026-12"
_LINES_A_CUSTOMER = 20
_MAPPED, _SYNCED, _RENAMED = 0.8, 0.9, 0.1


def stock(database: Path) -> list[str]:
    """Fill a database whose mappings were imported; returns the catalog's texts.

    The copy of the catalog is called fresh for a day, so that nobody reads it anew meanwhile.
    """
    engine = sa.create_engine(f"sqlite:///{database}")
    configure(engine)
    found, now = list(items()), dt.datetime.now(dt.UTC)
    with Session(engine) as session, session.begin():
        create_user(
            session, name=PERSON, password=PASSWORD, role=Role.OPERATOR, actor=PERSON, now=now
        )
        session.execute(sa.insert(models.CatalogItem), [_item(*item) for item in found])
        for name in (MARKER, FULL_MARKER):
            session.merge(models.Marker(name=name, number=1, at=now + dt.timedelta(days=1)))
        _add_products(session, found, now)
        _add_usage(session, now)
    engine.dispose()
    return [f"{identifier}\t{description}" for _, identifier, description in found]


def _item(number: int, identifier: str, description: str) -> dict[str, Any]:
    return {
        "id": number,
        "identifier": identifier,
        "description": description,
        "product_class": ("Agreement", "NonInventory", "Inventory", "Service")[number % 4],
        "price": Decimal(number % 90_000) / 100,
    }


def _add_products(
    session: Session, catalog: Sequence[tuple[int, str, str]], now: dt.datetime
) -> None:
    """As many as are missing; most go to an item of the same family, a few were renamed."""
    dice = random.Random(3)
    there = session.scalar(sa.select(sa.func.count()).select_from(models.ProductMapping)) or 0
    sophos = [item for item in catalog if item[2].startswith("Sophos")]
    for key, name in products(PRODUCTS - there):
        family = f"Sophos {name.split(' - ')[0]},"
        number, identifier, _ = dice.choice([item for item in sophos if item[2].startswith(family)])
        mapped = dice.random() < _MAPPED
        session.add(
            models.ProductMapping(
                product_key=key,
                product_name=name,
                earlier_names=[name.title()] if dice.random() < _RENAMED else [],
                last_month=_MONTH,
                sync=mapped and dice.random() < _SYNCED,
                catalog_item_id=number if mapped else None,
                catalog_item_identifier=identifier if mapped else None,
                first_seen_at=now,
            )
        )
    session.flush()


def _add_usage(session: Session, now: dt.datetime) -> None:
    """A report that stays the newest one: twenty products for every customer."""
    dice = random.Random(4)
    report = models.UsageReport(month=_MONTH, fingerprint="", read_at=now, tenant_ids=[])
    session.add(report)
    session.flush()
    keys = session.execute(
        sa.select(models.ProductMapping.product_key, models.ProductMapping.product_name)
    ).all()
    lines = [
        {
            "report_id": report.id,
            "tenant_id": tenant,
            "product_key": key,
            "product_name": name,
            "quantity": Decimal(dice.randrange(1, 200)),
        }
        for tenant in session.scalars(sa.select(models.TenantMapping.tenant_id))
        for key, name in dice.sample(keys, _LINES_A_CUSTOMER)
    ]
    session.execute(sa.insert(models.UsageLine), lines)
