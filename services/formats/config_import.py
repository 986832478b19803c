"""Take a configuration file over: every name in it is looked up at the vendors first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit
from services.clients.connectwise import Company
from services.context import SyncContext
from services.formats.config_file import ConfigFile, TenantEntry
from services.formats.lined_yaml import ConfigFileError, Problem
from services.products import product_mappings
from services.products.product_mappings import ItemChoice
from services.runs import reports
from services.runs.gather import newest_report
from services.settings import load_settings, store_settings
from services.sync.model import Agreement, CatalogItem, Month, Tenant, UsageLine


class _Place(NamedTuple):
    """A ConnectWise company: one that the file names, or the one that is stored."""

    id: int
    identifier: str


@dataclass(slots=True)
class _Vendors:
    """What the vendors know of the names in the file."""

    month: Month
    lines: list[UsageLine]
    tenants: list[Tenant]
    items: dict[str, CatalogItem]
    companies: dict[str, Company]
    agreements: dict[int, Agreement]
    problems: list[Problem] = field(default_factory=list)


def import_config(context: SyncContext, file: ConfigFile, *, dry_run: bool) -> list[str]:
    """Take the file over in one transaction and return a sentence for everything that changes.

    With `dry_run` nothing is kept. Raises ConfigFileError with every unknown code, customer or
    identifier, and VendorError when a vendor cannot be asked; nothing was changed then.
    """
    vendors = _ask(context, file)
    session = context.session()
    with session, session.begin() as transaction:
        changes = _take_over(session, context, file, vendors)
        if vendors.problems:
            raise ConfigFileError(vendors.problems)
        if dry_run:
            transaction.rollback()
    return changes


def _ask(context: SyncContext, file: ConfigFile) -> _Vendors:
    settings = context.settings()
    month = Month.of(settings.today(context.now()))
    lines: list[UsageLine] = []
    tenants: list[Tenant] = []
    if file.products or file.tenants:
        month, found = newest_report(context, None, settings)
        lines = found or []
    if file.tenants:
        tenants = context.sophos.tenants()
    identifiers = {p.catalog_item for _, p in file.products if p.catalog_item}
    companies = {t.company for _, t in file.tenants if t.company}
    connectwise = context.connectwise
    items = connectwise.catalog_items(identifiers=identifiers) if identifiers else []
    known = connectwise.companies(identifiers=companies) if companies else []
    usable = [c for c in known if not c.deleted]
    return _Vendors(
        month=month,
        lines=lines,
        tenants=tenants,
        items={i.identifier: i for i in items},
        companies={c.identifier: c for c in usable},
        agreements=_agreements(context, file, usable),
    )


def _agreements(
    context: SyncContext, file: ConfigFile, companies: Iterable[Company]
) -> dict[int, Agreement]:
    """The agreements named by id, and all of the companies for which one is named by name."""
    wanted = [w for _, t in file.tenants for w in t.wanted_agreements]
    ids = {int(w) for w in wanted if isinstance(w, int) or w.isdecimal()}
    by_name = [t for _, t in file.tenants if any(isinstance(w, str) for w in t.wanted_agreements)]
    named = {t.company for t in by_name}
    company_ids = {c.id for c in companies if c.identifier in named}
    company_ids |= _stored_companies(context, {t.id for t in by_name if not t.gives("company")})
    found = context.connectwise.agreements(ids=ids) if ids else []
    if company_ids:
        found = [*found, *context.connectwise.agreements(company_ids=company_ids)]
    return {a.id: a for a in found}


def _stored_companies(context: SyncContext, tenant_ids: Collection[str]) -> set[int]:
    row = models.TenantMapping
    with context.session() as session:
        stored = session.execute(sa.select(row.tenant_id, row.company_id)).all()
    return {company for tenant, company in stored if tenant in tenant_ids and company is not None}


# --- taking over --------------------------------------------------------------------------------


def _take_over(
    session: Session, context: SyncContext, file: ConfigFile, vendors: _Vendors
) -> list[str]:
    now = context.now()
    settings = load_settings(session)
    reports.register_tenants(session, vendors.tenants, now=now)
    reports.register_products(
        session, vendors.month, vendors.lines, sync_new=settings.new_products_sync, now=now
    )
    session.flush()
    told = []
    if file.settings is not None and file.settings != settings:
        before, after = settings.model_dump(mode="json"), file.settings.model_dump(mode="json")
        names = sorted(name for name in after if after[name] != before[name])
        store_settings(session, file.settings)
        told.append("settings: " + ", ".join(f"{n} is {_shown(after[n])}" for n in names))
        _audit(session, context, "settings", before, after)
    told += _products(session, context, file, vendors)
    told += _tenants(session, context, file, vendors)
    return told


def _products(
    session: Session, context: SyncContext, file: ConfigFile, vendors: _Vendors
) -> Iterable[str]:
    for line, entry in file.products:
        row = session.get(models.ProductMapping, entry.code)
        if row is None:
            vendors.problems.append(
                Problem(line, f"unknown code {entry.code}: Sophos has not billed such a product")
            )
            continue
        found = vendors.items.get(entry.catalog_item) if entry.catalog_item else None
        if entry.catalog_item and (found is None or found.is_bundle):
            what = "a bundle, which cannot be an addition" if found else "not a ConnectWise product"
            vendors.problems.append(Problem(line, f"{entry.catalog_item} is {what}"))
            continue
        item = ItemChoice(found.id, found.identifier) if found else None
        told = product_mappings.change(
            session,
            row,
            item=item if entry.gives("catalog_item") else product_mappings.item_of(row),
            sync=entry.sync if entry.gives("sync") else row.sync,
            actor=context.actor,
            at=context.now(),
            action="config.import",
        )
        if told is not None:
            yield f"product {entry.code}: {_difference(*told)}"


def _tenants(
    session: Session, context: SyncContext, file: ConfigFile, vendors: _Vendors
) -> Iterable[str]:
    for line, entry in file.tenants:
        row = session.get(models.TenantMapping, entry.id)
        if row is None:
            vendors.problems.append(
                Problem(line, f"unknown customer id {entry.id}: Sophos lists no such customer")
            )
            continue
        company = _company(line, entry, row, vendors)
        if entry.company and company is None:
            continue
        before = _mapping(row)
        _take_over_tenant(session, line, entry, row, company, vendors)
        after = _mapping(row)
        if before != after:
            _audit(session, context, f"customer {entry.id}", before, after)
            yield f"customer {row.tenant_name} ({entry.id}): {_difference(before, after)}"


def _company(
    line: int, entry: TenantEntry, row: models.TenantMapping, vendors: _Vendors
) -> _Place | None:
    """Where the customer is billed from now on; None with a problem when it cannot be."""
    if not entry.gives("company"):
        stored = None
        if row.company_id is not None:
            stored = _Place(row.company_id, row.company_identifier or f"#{row.company_id}")
        elif entry.wanted_agreements:
            problem = f"customer {entry.id} has an agreement, but no company"
            vendors.problems.append(Problem(line, problem))
        return stored
    if entry.company is None:
        return None
    found = vendors.companies.get(entry.company)
    if found is None:
        problem = f"{entry.company} is not the identifier of a ConnectWise company"
        vendors.problems.append(Problem(line, problem))
        return None
    return _Place(found.id, found.identifier)


def _take_over_tenant(
    session: Session,
    line: int,
    entry: TenantEntry,
    row: models.TenantMapping,
    company: _Place | None,
    vendors: _Vendors,
) -> None:
    if entry.gives("sync"):
        row.sync = entry.sync
    moved = (company.id if company else None) != row.company_id
    if moved and company is not None:
        _refuse_left_behind(line, entry, row, vendors)
    if entry.gives("company"):
        row.company_id = company.id if company else None
        row.company_identifier = company.identifier if company else None
    # Without a company there is nothing that an agreement could belong to.
    if entry.gives("agreement") or company is None:
        agreement = _agreement(line, entry.agreement, company, vendors)
        row.agreement_id = agreement.id if agreement else None
        row.agreement_name = agreement.name if agreement else None
    if entry.gives("agreements") or company is None:
        overrides = {
            code: found.id
            for code, wanted in sorted(entry.agreements.items())
            if _known_code(session, line, code, vendors)
            if (found := _agreement(line, wanted, company, vendors))
        }
        _set_overrides(row, overrides)


def _refuse_left_behind(
    line: int, entry: TenantEntry, row: models.TenantMapping, vendors: _Vendors
) -> None:
    """A stored agreement belongs to the company before: the file must say where it goes."""
    stored = {"agreement": row.agreement_id is not None, "agreements": bool(row.overrides)}
    for name, there in stored.items():
        if there and not entry.gives(name):
            problem = f"customer {entry.id} moves to another company; give its {name} too, or null"
            vendors.problems.append(Problem(line, problem))


def _known_code(session: Session, line: int, code: str, vendors: _Vendors) -> bool:
    known = session.get(models.ProductMapping, code) is not None
    if not known:
        vendors.problems.append(Problem(line, f"unknown code {code} in agreements"))
    return known


def _agreement(
    line: int, wanted: int | str | None, company: _Place | None, vendors: _Vendors
) -> Agreement | None:
    if wanted is None or company is None:
        return None
    own: defaultdict[str, list[Agreement]] = defaultdict(list)
    for agreement in vendors.agreements.values():
        if agreement.company_id == company.id:
            own[agreement.name].append(agreement)
    named = own.get(wanted, []) if isinstance(wanted, str) else []
    by_id = not named and (isinstance(wanted, int) or wanted.isdecimal())
    found = vendors.agreements.get(int(wanted)) if by_id else None
    if found is not None and found.company_id != company.id:
        problem = f"agreement {wanted} belongs to another company than {company.identifier}"
    elif len(named) > 1:
        ids = ", ".join(str(a.id) for a in named)
        problem = f"{company.identifier} has several agreements {wanted!r}; use an id: {ids}"
    elif found is None and not named:
        problem = f"{company.identifier} has no agreement {wanted!r}"
    else:
        return found or named[0]
    vendors.problems.append(Problem(line, problem))
    return None


def _set_overrides(row: models.TenantMapping, overrides: Mapping[str, int]) -> None:
    kept = {o.product_key: o for o in row.overrides}
    for code, override in kept.items():
        if code not in overrides:
            row.overrides.remove(override)
    for code, agreement_id in overrides.items():
        if code in kept:
            kept[code].agreement_id = agreement_id
        else:
            row.overrides.append(
                models.ProductAgreement(product_key=code, agreement_id=agreement_id)
            )


def _mapping(row: models.TenantMapping) -> dict[str, Any]:
    return {
        "company": row.company_identifier,
        "agreement": row.agreement_id,
        "agreements": {o.product_key: o.agreement_id for o in row.overrides},
        "sync": row.sync,
    }


def _difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {_shown(before[name])} -> {_shown(after[name])}"
        for name in after
        if before[name] != after[name]
    )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None or value == {} else str(value)


def _audit(
    session: Session,
    context: SyncContext,
    subject: str,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    audit.record(
        session,
        at=context.now(),
        actor=context.actor,
        action="config.import",
        subject=subject,
        before=before,
        after=after,
    )
    session.flush()
