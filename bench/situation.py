"""A large provider's month, invented: what planning is measured with."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from services.sync.model import (
    Addition,
    Agreement,
    CatalogItem,
    Month,
    OwnedAddition,
    ProductMapping,
    Situation,
    Source,
    TenantMapping,
    UsageLine,
)

MONTH = Month(2026, 10)
TODAY = dt.date(2026, 10, 28)


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is; all actual additions are ours.

    Of them `ended` were cancelled by us, and `unused` stand for a product without usage.
    """

    tenants: int = 2_000
    products: int = 20
    actual: int = 38_000
    differing: int = 4_000
    ended: int = 1_000
    unused: int = 500

    @property
    def desired(self) -> int:
        return self.tenants * self.products

    @property
    def standing(self) -> int:
        """Actual additions at a place that usage asks for."""
        return self.actual - self.ended - self.unused


def situation(size: Size) -> Situation:
    """The month: every tenant uses every product and is billed on an agreement of its own."""
    additions = list(_additions(size))
    by_agreement: dict[int, list[Addition]] = {_agreement(t): [] for t in range(size.tenants)}
    for addition in additions:
        by_agreement[addition.agreement_id].append(addition)
    return Situation(
        month=MONTH,
        today=TODAY,
        usage=list(_lines(size)),
        tenants={_tenant(t): _tenant_mapping(t) for t in range(size.tenants)},
        products={_product(p): _product_mapping(p) for p in range(size.products + 1)},
        items={_item(p): _catalog_item(p) for p in range(size.products + 1)},
        agreements={_agreement(t): _agreement_record(t) for t in range(size.tenants)},
        additions=by_agreement,
        owned=[_owned(addition) for addition in additions],
    )


# --- names and numbers --------------------------------------------------------------------------


def _tenant(number: int) -> str:
    return f"0b5e1e6a-0000-4000-8000-{number:012}"


def _product(number: int) -> str:
    return f"CPROD{number:03}-MSP"


def _item(number: int) -> int:
    return 5_000 + number


def _agreement(number: int) -> int:
    return 100 + number


def _quantity(tenant: int, product: int) -> int:
    return 20 + (tenant * 7 + product * 13) % 90


# --- Sophos -------------------------------------------------------------------------------------


def _lines(size: Size) -> Iterator[UsageLine]:
    """One line for each tenant and product; every tenth quantity comes as two lines."""
    for tenant in range(size.tenants):
        for product in range(size.products):
            quantity = _quantity(tenant, product)
            parts = (quantity - 5, 5) if (tenant + product) % 10 == 0 else (quantity,)
            for part in parts:
                yield _line(tenant, product, part)


def _line(tenant: int, product: int, quantity: int) -> UsageLine:
    return UsageLine(
        tenant_id=_tenant(tenant),
        product_key=_product(product),
        product_name=f"Central Product {product} - MSP",
        quantity=Decimal(quantity),
        serial=f"A{tenant:08}",
        product_group="User",
        account_name=f"Customer {tenant}",
        order=f"2610{product:03}/10",
        unit_price=Decimal("2.10"),
        currency="USD",
        actual_quantity=Decimal(quantity),
    )


def _tenant_mapping(tenant: int) -> TenantMapping:
    return TenantMapping(
        _tenant(tenant),
        f"Customer {tenant}",
        sync=True,
        company_id=1_000 + tenant,
        agreement_id=_agreement(tenant),
    )


def _product_mapping(product: int) -> ProductMapping:
    return ProductMapping(
        _product(product),
        f"Central Product {product} - MSP",
        sync=True,
        catalog_item_id=_item(product),
    )


# --- ConnectWise --------------------------------------------------------------------------------


def _catalog_item(product: int) -> CatalogItem:
    return CatalogItem(
        _item(product), f"Sophos_{product}", f"Product {product}", price=Decimal("3.90")
    )


def _agreement_record(tenant: int) -> Agreement:
    return Agreement(
        _agreement(tenant),
        "Managed Services",
        1_000 + tenant,
        status="Active",
        bill_start_date=dt.date(2024, 1, 1),
        next_invoice_date=dt.date(2026, 11, 1),
        prorate=True,
    )


def _additions(size: Size) -> Iterator[Addition]:
    """Where usage asks for them, in the order of tenants; then those of a product without usage."""
    for number in range(size.standing + size.ended):
        tenant, product = divmod(number, size.products)
        differs = number < size.differing
        yield _addition(
            number,
            tenant,
            product,
            _quantity(tenant, product) + (1 if differs else 0),
            ended=number >= size.standing,
        )
    for tenant in range(size.unused):
        yield _addition(size.standing + size.ended + tenant, tenant, size.products, 9, ended=False)


def _addition(number: int, tenant: int, product: int, quantity: int, *, ended: bool) -> Addition:
    return Addition(
        id=90_000 + number,
        agreement_id=_agreement(tenant),
        catalog_item_id=_item(product),
        quantity=Decimal(quantity),
        effective_date=dt.date(2025, 1, 1),
        cancelled_date=dt.date(2026, 9, 30) if ended else None,
        description=f"Product {product}",
        unit_price=Decimal("3.90"),
        updated_at="2026-09-30T08:00:00Z",
    )


def _owned(addition: Addition) -> OwnedAddition:
    tenant = _tenant(addition.agreement_id - _agreement(0))
    product = _product(addition.catalog_item_id - _item(0))
    return OwnedAddition(
        addition.id,
        addition.agreement_id,
        addition.catalog_item_id,
        addition.quantity,
        frozenset({Source(tenant, product)}),
        ended_by_us=addition.cancelled_date is not None,
    )
