"""Take a configuration file over: every name in it is looked up at the vendors first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

import models
from services import audit, product_mappings, reports
from services.clients.connectwise import Company
from services.config_file import ConfigFile, ConfigFileError, Problem
from services.context import SyncContext
from services.gather import newest_report
from services.product_mappings import ItemChoice
from services.settings import load_settings, store_settings
from services.sync.model import Agreement, CatalogItem, Month, Tenant, UsageLine


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
    wanted = [w for _, t in file.tenants for w in (t.agreement, *t.agreements.values()) if w]
    ids = {int(w) for w in wanted if isinstance(w, int) or w.isdecimal()}
    named = {
        t.company
        for _, t in file.tenants
        if any(isinstance(w, str) for w in (t.agreement, *t.agreements.values()))
    }
    company_ids = {c.id for c in companies if c.identifier in named}
    found = context.connectwise.agreements(ids=ids) if ids else []
    if company_ids:
        found = [*found, *context.connectwise.agreements(company_ids=company_ids)]
    return {a.id: a for a in found}


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
        item = vendors.items.get(entry.catalog_item) if entry.catalog_item else None
        if entry.catalog_item and (item is None or item.is_bundle):
            what = "a bundle, which cannot be an addition" if item else "not a ConnectWise product"
            vendors.problems.append(Problem(line, f"{entry.catalog_item} is {what}"))
            continue
        told = product_mappings.change(
            session,
            row,
            item=ItemChoice(item.id, item.identifier) if item else None,
            sync=entry.sync,
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
        company = vendors.companies.get(entry.company) if entry.company else None
        if entry.company and company is None:
            vendors.problems.append(
                Problem(line, f"{entry.company} is not the identifier of a ConnectWise company")
            )
            continue
        agreement = _agreement(line, entry.agreement, company, vendors)
        overrides = {
            code: found.id
            for code, wanted in sorted(entry.agreements.items())
            if _known_code(session, line, code, vendors)
            if (found := _agreement(line, wanted, company, vendors))
        }
        before = _mapping(row)
        row.sync = entry.sync
        row.company_id = company.id if company else None
        row.company_identifier = company.identifier if company else None
        row.agreement_id = agreement.id if agreement else None
        row.agreement_name = agreement.name if agreement else None
        _set_overrides(row, overrides)
        after = _mapping(row)
        if before != after:
            _audit(session, context, f"customer {entry.id}", before, after)
            yield f"customer {row.tenant_name} ({entry.id}): {_difference(before, after)}"


def _known_code(session: Session, line: int, code: str, vendors: _Vendors) -> bool:
    known = session.get(models.ProductMapping, code) is not None
    if not known:
        vendors.problems.append(Problem(line, f"unknown code {code} in agreements"))
    return known


def _agreement(
    line: int, wanted: int | str | None, company: Company | None, vendors: _Vendors
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
