"""Small, rich situations: everything that a provider's month can hold, a little of each."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import TypeVar

from hypothesis import strategies as st

from services.sync.model import (
    Addition,
    Agreement,
    CatalogItem,
    Firewall,
    Month,
    OwnedAddition,
    ProductMapping,
    Situation,
    Source,
    TenantMapping,
    UsageLine,
)
from services.sync.rules import EffectiveDate, MissingMapping, Rules, UsageEnded
from tests.core.factories import NO_RAILS, by_agreement

_V = TypeVar("_V")

MONTH = Month(2026, 10)
TODAY = dt.date(2026, 10, 26)
TENANTS = ("t1", "t2", "t3", "t4")
PRODUCTS = ("P1", "P2", "P3", "p3")
ITEMS = (100, 101, 102, 103)
AGREEMENTS = (10, 11, 20)
COMPANY_OF = {10: 1, 11: 1, 20: 2}
SERIALS = ("S1", "S2")

_QUANTITIES = st.sampled_from([5, 1, 2, 3, 7, 12, 40, 0, -2, 2.5]).map(lambda q: Decimal(str(q)))
_STANDING = st.sampled_from([5, 1, 2, 3, 7, 12, 40, 0]).map(Decimal)
_STARTS = st.sampled_from(
    [dt.date(2026, 1, 1), None, dt.date(2026, 10, 1), dt.date(2026, 10, 20), dt.date(2026, 11, 15)]
)
_ENDS = st.sampled_from([None, None, None, dt.date(2026, 9, 30), TODAY, dt.date(2026, 12, 31)])
_MOSTLY = st.sampled_from([True, True, True, False])
_SOURCES = st.builds(Source, st.sampled_from(TENANTS), st.sampled_from(PRODUCTS))


def _lines() -> st.SearchStrategy[UsageLine]:
    return st.builds(
        lambda t, p, q, s: UsageLine(t, p, f"Name {p}", q, serial=s),
        st.sampled_from([*TENANTS, None]),
        st.sampled_from(PRODUCTS),
        _QUANTITIES,
        st.sampled_from([None, *SERIALS]),
    )


USAGE = st.lists(_lines(), max_size=8).map(tuple)


@st.composite
def _tenant(draw: st.DrawFn, key: str) -> TenantMapping:
    agreement = draw(st.sampled_from([10, 10, 11, 20, None, 99]))
    company = draw(st.sampled_from(["right", "right", "none", "wrong"]))
    right = COMPANY_OF.get(agreement or 0, 1)
    return TenantMapping(
        key,
        f"Tenant {key}",
        sync=draw(_MOSTLY),
        company_id={"right": right, "none": None, "wrong": 3 - right}[company],
        agreement_id=agreement,
        agreements_by_product=draw(
            st.dictionaries(st.sampled_from(PRODUCTS), st.sampled_from(AGREEMENTS), max_size=1)
        ),
    )


def _product(key: str) -> st.SearchStrategy[ProductMapping]:
    return st.builds(
        lambda sync, item: ProductMapping(key, f"Name {key}", sync, item),
        _MOSTLY,
        st.sampled_from([*ITEMS, *ITEMS, None, None, 999]),
    )


def _item(key: int) -> st.SearchStrategy[CatalogItem]:
    return st.builds(
        lambda kind, price, name: CatalogItem(
            key,
            name,
            f"Item {key}",
            product_class="Bundle" if kind == "bundle" else None,
            inactive=kind == "inactive",
            price=price,
        ),
        st.sampled_from(["active", "active", "active", "active", "inactive", "bundle"]),
        st.sampled_from([Decimal(2), None, Decimal("0.5"), Decimal(900)]),
        # The last may bear the identifier of a default product.
        st.sampled_from([f"I{key}", "Sophos_P2"]) if key == ITEMS[-1] else st.just(f"I{key}"),
    )


def _agreement(key: int) -> st.SearchStrategy[Agreement]:
    return st.builds(
        lambda state, start, invoice, prorate: Agreement(
            key,
            f"Agreement {key}",
            COMPANY_OF[key],
            status="Expired" if state == "expired" else "Active",
            cancelled=state == "cancelled",
            end_date=dt.date(2026, 10, 1) if state == "ended" else None,
            no_ending_date=state != "ended",
            bill_start_date=start,
            next_invoice_date=invoice,
            prorate=prorate,
        ),
        st.sampled_from([*["active"] * 7, "expired", "cancelled", "ended"]),
        st.sampled_from([None, None, dt.date(2026, 10, 10), dt.date(2026, 11, 1)]),
        st.sampled_from([None, None, dt.date(2026, 9, 1), dt.date(2026, 11, 1)]),
        st.booleans(),
    )


RULES = st.builds(
    lambda rails, ended, missing, effective: dataclasses.replace(
        rails, usage_ended=ended, missing_mapping=missing, effective_date=effective
    ),
    st.sampled_from(
        [
            NO_RAILS,
            Rules(),
            Rules(decrease_at_least=Decimal(1), price_effect_limit=Decimal(50)),
            Rules(hold_drop_to_zero=False, decreasing_share_percent=Decimal(60)),
        ]
    ),
    st.sampled_from(UsageEnded),
    st.sampled_from([MissingMapping.DEFAULT_PRODUCT, *MissingMapping]),
    st.sampled_from(EffectiveDate),
)


@st.composite
def _additions(draw: st.DrawFn) -> tuple[list[Addition], list[OwnedAddition]]:
    rows: list[Addition] = []
    owned: list[OwnedAddition] = []
    for key in range(draw(st.integers(0, 6))):
        row = Addition(
            key + 1,
            draw(st.sampled_from(AGREEMENTS)),
            draw(st.sampled_from(ITEMS)),
            draw(_STANDING),
            draw(_STARTS),
            unit_price=draw(st.sampled_from([None, Decimal(3)])),
        )
        owner = draw(
            st.sampled_from(["ours", "ours", "ours", "hand", "edited", "removed", "ended"])
        )
        # Two of ours at one place come from nothing that we do: see test_adversary.py.
        place = (row.agreement_id, row.catalog_item_id)
        if any((o.agreement_id, o.catalog_item_id) == place for o in owned):
            owner = "hand"
        ended = owner == "ended"
        row = dataclasses.replace(
            row, cancelled_date=dt.date(2026, 9, 30) if ended else draw(_ENDS)
        )
        if owner != "removed":
            rows.append(row)
        if owner != "hand":
            owned.append(
                OwnedAddition(
                    row.id,
                    row.agreement_id,
                    row.catalog_item_id,
                    row.quantity + 1 if owner == "edited" else row.quantity,
                    frozenset(draw(st.sets(_SOURCES, max_size=3))),
                    ended_by_us=ended,
                )
            )
    return rows, owned


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Any situation, reached by whatever history."""
    rows, owned = draw(_additions())
    return Situation(
        month=MONTH,
        today=TODAY,
        usage=draw(USAGE),
        tenants={t: draw(_tenant(t)) for t in TENANTS[: draw(st.integers(1, 4))]},
        products={p: draw(_product(p)) for p in PRODUCTS[: draw(st.integers(1, 4))]},
        items={i: draw(_item(i)) for i in ITEMS},
        agreements={a: draw(_agreement(a)) for a in AGREEMENTS},
        additions=by_agreement(rows, AGREEMENTS),
        owned=tuple(owned),
        firewalls=tuple(
            Firewall(s, draw(st.sampled_from([None, *TENANTS])), None) for s in SERIALS[:1]
        ),
        serial_assignments=draw(
            st.dictionaries(st.just(SERIALS[1]), st.sampled_from(TENANTS), max_size=1)
        ),
        rules=draw(RULES),
    )


@st.composite
def tidy(draw: st.DrawFn) -> Situation:
    """A provider in good order: all mapped and switched on, nothing made by hand."""
    pairs = st.tuples(st.sampled_from(TENANTS[:2]), st.sampled_from(PRODUCTS[:3]))
    usage = draw(st.dictionaries(pairs, st.sampled_from([5, 2, 3, 40]), min_size=1))
    return Situation(
        month=MONTH,
        today=TODAY,
        usage=tuple(UsageLine(t, p, f"Name {p}", Decimal(n)) for (t, p), n in usage.items()),
        tenants={t: TenantMapping(t, t, sync=True, agreement_id=10) for t in TENANTS[:2]},
        products={
            p: ProductMapping(p, p, sync=True, catalog_item_id=draw(st.sampled_from(ITEMS[:2])))
            for p in PRODUCTS[:3]
        },
        items={i: CatalogItem(i, f"I{i}", f"Item {i}", price=Decimal(2)) for i in ITEMS},
        agreements={a: draw(_good_agreement(a)) for a in AGREEMENTS},
        additions=dict.fromkeys(AGREEMENTS, ()),
        rules=draw(RULES),
    )


def _good_agreement(key: int) -> st.SearchStrategy[Agreement]:
    return st.builds(
        lambda start: Agreement(
            key, f"Agreement {key}", 1, status="Active", bill_start_date=start, prorate=True
        ),
        st.sampled_from([None, None, dt.date(2026, 11, 1)]),
    )


@st.composite
def reshuffled(draw: st.DrawFn, s: Situation) -> Situation:
    """What a provider may have remapped, moved or switched off; the agreements stay in order."""
    tenants = {
        key: dataclasses.replace(
            t,
            sync=draw(_MOSTLY),
            agreement_id=draw(st.sampled_from([10, 11])),
            agreements_by_product=draw(
                st.dictionaries(st.sampled_from(PRODUCTS[:3]), st.just(20), max_size=1)
            ),
        )
        for key, t in s.tenants.items()
    }
    products = {
        key: dataclasses.replace(
            p,
            sync=draw(_MOSTLY),
            catalog_item_id=draw(st.sampled_from([p.catalog_item_id, *ITEMS[:3], None])),
        )
        for key, p in s.products.items()
    }
    return dataclasses.replace(s, tenants=tenants, products=products)


def _put(mapping: Mapping[str, _V], key: str, value: _V) -> dict[str, _V]:
    return {**mapping, key: value}


@st.composite
def later(draw: st.DrawFn, s: Situation) -> Situation:
    """What people and Sophos may have done to a situation since."""
    for deed in draw(
        st.lists(
            st.sampled_from(["usage", "tenant", "product", "edit", "remove", "end", "add"]),
            min_size=1,
            max_size=3,
        )
    ):
        s = _after(draw, s, deed)
    return s


def _after(draw: st.DrawFn, s: Situation, deed: str) -> Situation:
    if deed == "usage":
        return dataclasses.replace(s, usage=draw(USAGE))
    if deed == "tenant":
        key = draw(st.sampled_from(sorted(s.tenants)))
        return dataclasses.replace(s, tenants=_put(s.tenants, key, draw(_tenant(key))))
    if deed == "product":
        key = draw(st.sampled_from(sorted(s.products)))
        return dataclasses.replace(s, products=_put(s.products, key, draw(_product(key))))
    rows = [a for part in s.additions.values() for a in part]
    if deed == "add":
        new = max([0, *(a.id for a in rows), *(o.addition_id for o in s.owned)]) + 1
        rows.append(Addition(new, 10, draw(st.sampled_from(ITEMS)), draw(_STANDING)))
    elif rows:
        row = draw(st.sampled_from(rows))
        rows.remove(row)
        if deed == "edit":
            rows.append(dataclasses.replace(row, quantity=draw(_STANDING)))
        elif deed == "end":
            rows.append(dataclasses.replace(row, cancelled_date=draw(_ENDS)))
    return dataclasses.replace(s, additions=by_agreement(rows, s.additions))
