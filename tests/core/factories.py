"""Short builders: a test names only what it is about."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from services.sync.desired import desired_additions
from services.sync.guard import guard
from services.sync.model import (
    Addition,
    Agreement,
    CatalogItem,
    Change,
    ChangeKind,
    Finding,
    FindingKind,
    Firewall,
    Month,
    OwnedAddition,
    Plan,
    ProductMapping,
    Situation,
    Source,
    TenantMapping,
    UsageLine,
)
from services.sync.plan import compute_plan
from services.sync.rules import Rules

OCTOBER = Month(2026, 10)
TODAY = dt.date(2026, 10, 26)
COMPANY = 1

NO_RAILS = Rules(
    decrease_percent=None,
    hold_drop_to_zero=False,
    price_effect_limit=None,
    decreasing_share_percent=None,
    missing_tenants_percent=None,
)


def line(tenant: str | None, product: str, quantity: float | str, **more: Any) -> UsageLine:
    """One line of Sophos' report."""
    return UsageLine(tenant, product, more.pop("name", f"Name {product}"), _dec(quantity), **more)


def tenant(key: str = "t1", agreement: int | None = 10, **more: Any) -> TenantMapping:
    """A tenant mapping, switched on, without a company to check unless one is given."""
    return TenantMapping(
        key,
        more.pop("name", f"Tenant {key}"),
        sync=more.pop("sync", True),
        agreement_id=agreement,
        **more,
    )


def product(key: str = "P1", item: int | None = 100, *, sync: bool = True) -> ProductMapping:
    """A product mapping, switched on."""
    return ProductMapping(key, f"Name {key}", sync, item)


def item(key: int = 100, **more: Any) -> CatalogItem:
    """An active catalog item with the identifier `I<id>` and a price of 2."""
    more.setdefault("price", Decimal(2))
    return CatalogItem(key, more.pop("identifier", f"I{key}"), f"Item {key}", **more)


def agreement(key: int = 10, **more: Any) -> Agreement:
    """An active agreement without an end."""
    more.setdefault("status", "Active")
    return Agreement(key, f"Agreement {key}", more.pop("company_id", COMPANY), **more)


def addition(key: int, quantity: float | str = 5, **more: Any) -> Addition:
    """An open addition of item 100 on agreement 10, billed since January."""
    more.setdefault("effective_date", dt.date(2026, 1, 1))
    return Addition(key, more.pop("agreement", 10), more.pop("item", 100), _dec(quantity), **more)


def ours(of: Addition, *sources: tuple[str, str], **more: Any) -> OwnedAddition:
    """Ownership of an addition, as we last wrote it unless another quantity is given."""
    return OwnedAddition(
        of.id,
        of.agreement_id,
        of.catalog_item_id,
        _dec(more.pop("quantity", of.quantity)),
        frozenset(Source(*s) for s in sources or [("t1", "P1")]),
        **more,
    )


def situation(
    usage: Iterable[UsageLine] = (),
    *,
    tenants: Iterable[TenantMapping] | None = None,
    products: Iterable[ProductMapping] | None = None,
    items: Iterable[CatalogItem] | None = None,
    agreements: Iterable[Agreement] | None = None,
    additions: Iterable[Addition] = (),
    owned: Iterable[OwnedAddition] = (),
    **more: Any,
) -> Situation:
    """One tenant t1, products P1 -> item 100 and P2 -> item 200, agreements 10 and 11."""
    if agreements is None:
        agreements = [agreement(10), agreement(11)]
    by_id = {a.id: a for a in agreements}
    return Situation(
        month=more.pop("month", OCTOBER),
        today=more.pop("today", TODAY),
        usage=tuple(usage),
        tenants={t.tenant_id: t for t in ([tenant()] if tenants is None else tenants)},
        products={
            p.product_key: p
            for p in ([product("P1", 100), product("P2", 200)] if products is None else products)
        },
        items={i.id: i for i in ([item(100), item(200)] if items is None else items)},
        agreements=by_id,
        additions=by_agreement(additions, by_id),
        owned=tuple(owned),
        **more,
    )


def by_agreement(
    additions: Iterable[Addition], agreements: Iterable[int]
) -> Mapping[int, tuple[Addition, ...]]:
    """Additions as they are read: a list, perhaps empty, for every agreement."""
    rows = list(additions)
    keys = {*agreements, *(a.agreement_id for a in rows)}
    return {key: tuple(a for a in rows if a.agreement_id == key) for key in sorted(keys)}


def plan_of(s: Situation) -> Plan:
    """The plan before the guard rails."""
    return compute_plan(s, desired_additions(s))


def guarded(s: Situation, before: Iterable[str] = ()) -> Plan:
    """The plan as a person sees it."""
    state = desired_additions(s)
    managed = sum(not o.ended_by_us for o in s.owned)
    return guard(
        compute_plan(s, state),
        s.rules,
        managed=managed,
        tenants_now=state.tenants_with_usage,
        tenants_before=tuple(before),
    )


def changes(s: Situation, kind: ChangeKind | None = None) -> list[Change]:
    """The changes of the guarded plan, of one kind if asked."""
    return [c for c in guarded(s).changes if kind in (None, c.kind)]


def only_change(s: Situation) -> Change:
    """The one change of the guarded plan."""
    (change,) = guarded(s).changes
    return change


def findings(s: Situation, kind: FindingKind) -> list[Finding]:
    """The findings of one kind."""
    return [f for f in plan_of(s).findings if f.kind is kind]


def firewall(serial: str, tenant_id: str | None, billing: str | None = None) -> Firewall:
    """A row of Sophos' firewall licence list."""
    return Firewall(serial, tenant_id, billing)


def _dec(value: float | str | Decimal) -> Decimal:
    return Decimal(str(value))


def facts(*values: object) -> tuple[object, ...]:
    """Several things side by side, to compare with plain numbers."""
    return values
