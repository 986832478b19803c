"""The Sophos products of one customer, for sending single ones to other agreements."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.tenants.tenant_status import last_planned_run


@dataclass(frozen=True, slots=True)
class CustomerProduct:
    """A Sophos product; `quantity` is None where the customer has no usage of it."""

    key: str
    name: str
    quantity: Decimal | None
    agreement_id: int | None
    """The agreement that a person chose for it; None where it is billed with the rest."""


def products_of(session: Session, row: models.TenantMapping) -> list[CustomerProduct]:
    """Every known Sophos product, those that the customer uses first."""
    used = _usage(session, row.tenant_id)
    chosen = {o.product_key: o.agreement_id for o in row.overrides}
    products = [
        CustomerProduct(
            p.product_key, p.product_name, used.get(p.product_key), chosen.get(p.product_key)
        )
        for p in session.scalars(sa.select(models.ProductMapping))
    ]
    return sorted(
        products,
        key=lambda p: (p.agreement_id is None, p.quantity is None, p.name.casefold(), p.key),
    )


def _usage(session: Session, tenant_id: str) -> dict[str, Decimal]:
    """What the customer used by the report of the last run, its assigned devices included."""
    run = last_planned_run(session)
    if run is None or run.report_id is None:
        return {}
    line = models.UsageLine
    serials = sa.select(models.SerialAssignment.serial).where(
        models.SerialAssignment.tenant_id == tenant_id
    )
    mine = sa.or_(
        line.tenant_id == tenant_id, sa.and_(line.tenant_id.is_(None), line.serial.in_(serials))
    )
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    for key, quantity in session.execute(
        sa.select(line.product_key, line.quantity).where(line.report_id == run.report_id, mine)
    ):
        totals[key] += quantity
    return dict(totals)
