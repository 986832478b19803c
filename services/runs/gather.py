"""Read everything that a plan needs, completely, before anything is decided."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

import models
from services.clients.errors import PermissionDenied
from services.context import SyncContext
from services.logs import carried
from services.runs import reports
from services.settings import AppSettings, load_settings
from services.sync.desired import default_identifier
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


@dataclass(frozen=True, slots=True)
class Gathered:
    """A situation, the report that it rests on, and the settings in force when it was read.

    `read_at` is when we began to read ConnectWise: nothing of it is older. `whole` is the same
    situation with the agreements of every mapped customer, whether or not its sync is on; None
    when there are some that a plan does not need and nobody asked for. No plan is made from it.
    """

    situation: Situation
    read_at: dt.datetime
    report_id: int
    settings: AppSettings
    trusted_tenants: frozenset[str]
    whole: Situation | None


def newest_report(
    context: SyncContext, month: Month | None, settings: AppSettings
) -> tuple[Month, list[UsageLine] | None]:
    """The report of the month asked for; else of this month, or of the last one.

    None in place of the lines means that Sophos has no report yet: not ready, never zero.
    """
    if month is not None:
        return month, context.sophos.usage(month)
    this_month = Month.of(settings.today(context.now()))
    lines = context.sophos.usage(this_month)
    if lines is not None:
        return this_month, lines
    return this_month.previous, context.sophos.usage(this_month.previous)


def gather(
    context: SyncContext, month: Month, lines: list[UsageLine], *, whole: bool = False
) -> Gathered:
    """Read mappings and both vendors. Any list that is not complete raises its VendorError.

    `whole` reads what is mapped but switched off as well, to compare it.
    """
    context.progress("Reading customers from Sophos", 0, 1)
    tenants = context.sophos.tenants()
    with context.session() as session, session.begin():
        settings = load_settings(session, context.locked)
        report = reports.store_report(session, month, lines, now=context.now())
        reports.register_tenants(session, tenants, now=context.now())
        reports.register_products(
            session, month, lines, sync_new=settings.new_products_sync, now=context.now()
        )
        session.flush()
        products = _product_mappings(session.scalars(select(models.ProductMapping)))
        mapped = _tenant_mappings(session.scalars(select(models.TenantMapping)))
        owned = owned_additions(session)
        serials = {a.serial: a.tenant_id for a in session.scalars(select(models.SerialAssignment))}
        report_id, trusted = report.id, reports.trusted_tenants(session, month)

    read_at = context.now()
    needed = _agreement_ids(mapped.values(), owned)
    every = needed | _mapped_agreements(mapped.values())
    asked = every if whole else needed
    agreements = _by_id(context.connectwise.agreements(ids=asked) if asked else [])
    everything = Situation(
        month=month,
        today=settings.today(context.now()),
        usage=lines,
        tenants=mapped,
        products=products,
        items=_catalog_items(context, products.values(), owned, lines, settings),
        agreements=agreements,
        additions=read_additions(context, agreements),
        owned=owned,
        firewalls=_firewalls(context, lines, serials),
        serial_assignments=serials,
        rules=settings.rules,
    )
    return Gathered(
        situation=_part(everything, needed),
        read_at=read_at,
        report_id=report_id,
        settings=settings,
        trusted_tenants=trusted,
        whole=everything if asked == every else None,
    )


def _part(situation: Situation, agreement_ids: Collection[int]) -> Situation:
    """What a plan is made from: the same whoever asked, whatever else was read."""
    return dataclasses.replace(
        situation,
        agreements={k: a for k, a in situation.agreements.items() if k in agreement_ids},
        additions={k: a for k, a in situation.additions.items() if k in agreement_ids},
    )


# --- from ConnectWise and Sophos ----------------------------------------------------------------


def _by_id(agreements: Iterable[Agreement]) -> dict[int, Agreement]:
    return {agreement.id: agreement for agreement in agreements}


def _agreement_ids(tenants: Iterable[TenantMapping], owned: Iterable[OwnedAddition]) -> set[int]:
    """Agreements of tenants whose sync is on, and those on which we keep something right."""
    mapped = _mapped_agreements(tenant for tenant in tenants if tenant.sync)
    return mapped | {o.agreement_id for o in owned if not o.ended_by_us}


def _mapped_agreements(tenants: Iterable[TenantMapping]) -> set[int]:
    return {
        agreement_id
        for tenant in tenants
        for agreement_id in (tenant.agreement_id, *tenant.agreements_by_product.values())
        if agreement_id is not None
    }


def read_additions(
    context: SyncContext, agreements: Collection[int]
) -> dict[int, tuple[Addition, ...]]:
    """The additions of every agreement; ConnectWise lists them under one agreement only."""
    found: dict[int, tuple[Addition, ...]] = {}
    ordered = sorted(agreements)

    def read(agreement_id: int) -> list[Addition]:
        context.stop_if_asked()
        return context.connectwise.additions(agreement_id)

    with ThreadPoolExecutor(context.workers, initializer=carried()) as pool:
        results = pool.map(read, ordered)
        for done, (agreement_id, additions) in enumerate(zip(ordered, results, strict=True), 1):
            found[agreement_id] = tuple(additions)
            context.progress("Reading agreements from ConnectWise", done, len(ordered))
    return found


def _catalog_items(
    context: SyncContext,
    products: Iterable[ProductMapping],
    owned: Iterable[OwnedAddition],
    lines: Iterable[UsageLine],
    settings: AppSettings,
) -> dict[int, CatalogItem]:
    """The mapped items, and those that already bear the identifier of a default product."""
    products = list(products)
    used = {line.product_key for line in lines}
    ids = {p.catalog_item_id for p in products if p.catalog_item_id is not None}
    ids |= {o.catalog_item_id for o in owned if not o.ended_by_us}
    template = settings.default_product.identifier
    identifiers = {
        default_identifier(template, p.product_key)
        for p in products
        if p.sync and p.catalog_item_id is None and p.product_key in used
    }
    items = context.connectwise.catalog_items(ids=ids) if ids else []
    if identifiers:
        items = [*items, *context.connectwise.catalog_items(identifiers=identifiers)]
    return {item.id: item for item in items}


def _firewalls(
    context: SyncContext, lines: Iterable[UsageLine], serials: Mapping[str, str]
) -> list[Firewall]:
    """Asked for only when a line needs it. Without the right to read it, lines stay unassigned."""
    if all(line.tenant_id or (line.serial or "") in serials for line in lines):
        return []
    try:
        return context.sophos.firewalls()
    except PermissionDenied:
        return []


# --- from our own tables ------------------------------------------------------------------------


def _product_mappings(rows: Iterable[models.ProductMapping]) -> dict[str, ProductMapping]:
    return {
        row.product_key: ProductMapping(
            row.product_key, row.product_name, row.sync, row.catalog_item_id
        )
        for row in rows
    }


def _tenant_mappings(rows: Iterable[models.TenantMapping]) -> dict[str, TenantMapping]:
    return {
        row.tenant_id: TenantMapping(
            tenant_id=row.tenant_id,
            tenant_name=row.tenant_name,
            sync=row.sync,
            company_id=row.company_id,
            agreement_id=row.agreement_id,
            agreements_by_product={o.product_key: o.agreement_id for o in row.overrides},
        )
        for row in rows
    }


def owned_additions(session: Session) -> tuple[OwnedAddition, ...]:
    """Every addition that we made or adopted, those that we ended included."""
    return tuple(
        OwnedAddition(
            addition_id=row.addition_id,
            agreement_id=row.agreement_id,
            catalog_item_id=row.catalog_item_id,
            quantity=row.quantity,
            sources=frozenset(Source(*pair) for pair in row.sources),
            ended_by_us=row.ended_at is not None,
            last_billed_day=row.last_billed_day,
        )
        for row in session.scalars(select(models.OwnedAddition))
    )
