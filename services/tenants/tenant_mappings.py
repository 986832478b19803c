"""Where a customer is billed, and whether its sync is on: the one place that changes it by hand.

Every change is written down in the audit. One that rests on an outdated row is refused.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit
from services.sync.words import number


class NoSuchCustomerError(LookupError):
    """There is no such customer."""


class MappingError(ValueError):
    """A mapping that cannot be; `field` is what has to be changed. Nothing was saved."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class StaleMappingError(Exception):
    """Somebody changed the customer meanwhile: `row` is how it stands now. Nothing was saved."""

    def __init__(self, row: models.TenantMapping) -> None:
        super().__init__(f"{row.tenant_name} was changed meanwhile.")
        self.row = row


@dataclass(frozen=True, slots=True)
class Wanted:
    """A mapping as a person saw it offered, with the version of the row that it was offered for."""

    tenant_id: str
    version: int | None
    company_id: int | None
    agreement_id: int | None


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, and when."""

    actor: str
    at: dt.datetime


def customer(session: Session, tenant_id: str) -> models.TenantMapping:
    """The row of a customer; raises NoSuchCustomerError."""
    row = session.get(models.TenantMapping, tenant_id)
    if row is None:
        raise NoSuchCustomerError(tenant_id)
    return row


def switch_sync(session: Session, tenant_id: str, author: Author, *, on: bool) -> None:
    """Switch a customer's sync. The wanted state is what counts, so pressing twice does no harm."""
    row = customer(session, tenant_id)
    before = _mapping(row)
    row.sync = on
    _record(session, row, author, "customer.sync", before)


def map_customer(
    session: Session,
    tenant_id: str,
    author: Author,
    *,
    version: int,
    company_id: int | None,
    agreement_id: int | None,
) -> None:
    """Send a customer to a company and one of its agreements; None clears.

    Another company clears the agreements of single products too: they belong to the old one.
    What is so already is good, whoever did it. Raises StaleMappingError or MappingError.
    """
    row = customer(session, tenant_id)
    if (row.company_id, row.agreement_id) == (company_id, agreement_id):
        return
    row = _current(session, tenant_id, version)
    before = _mapping(row)
    company = _company(session, company_id)
    agreement = _agreement(session, agreement_id, company)
    if row.company_id != (company.id if company else None):
        row.overrides.clear()
    row.company_id = company.id if company else None
    row.company_identifier = company.identifier if company else None
    row.agreement_id = agreement.id if agreement else None
    row.agreement_name = agreement.name if agreement else None
    _record(session, row, author, "customer.map", before)


def accept_all(
    session: Session, author: Author, wanted: Iterable[Wanted]
) -> tuple[int, list[models.TenantMapping]]:
    """Map customers as they were offered: how many were, and those that changed meanwhile.

    Those are left as they are. Raises NoSuchCustomerError.
    """
    accepted, left = 0, []
    for each in wanted:
        row = customer(session, each.tenant_id)
        try:
            map_customer(
                session,
                each.tenant_id,
                author,
                version=each.version or 0,
                company_id=each.company_id,
                agreement_id=each.agreement_id,
            )
            accepted += 1
        except (StaleMappingError, MappingError):
            left.append(row)
    return accepted, left


def set_product_agreements(
    session: Session,
    tenant_id: str,
    author: Author,
    *,
    version: int,
    wanted: Mapping[str, int | None],
) -> None:
    """Send single Sophos products of a customer to other agreements of its company.

    None, or the customer's own agreement, means: billed with the rest. Products that `wanted` does
    not name stay as they are. Raises StaleMappingError or MappingError.
    """
    row = _current(session, tenant_id, version)
    before = _mapping(row)
    company = _company(session, row.company_id)
    kept = {o.product_key: o for o in row.overrides}
    for key, agreement_id in sorted(wanted.items()):
        chosen = None if agreement_id == row.agreement_id else agreement_id
        if chosen is not None:
            _agreement(session, chosen, company)
            _known_product(session, key)
        _set_override(row, kept.get(key), key, chosen)
    if before["agreements"] != _mapping(row)["agreements"]:
        # Only the list changed: touch the row, so that its version tells others.
        sa.orm.attributes.flag_modified(row, "sync")
    _record(session, row, author, "customer.map", before)


def _set_override(
    row: models.TenantMapping,
    existing: models.ProductAgreement | None,
    key: str,
    agreement_id: int | None,
) -> None:
    if agreement_id is None:
        if existing is not None:
            row.overrides.remove(existing)
    elif existing is not None:
        existing.agreement_id = agreement_id
    else:
        row.overrides.append(models.ProductAgreement(product_key=key, agreement_id=agreement_id))


# --- what a change does -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Managed:
    """An addition of ours that stands for a customer's usage."""

    addition_id: int
    agreement_id: int
    agreement_name: str
    quantity: str
    products: str
    shared: bool


def managed_additions(session: Session, tenant_id: str) -> list[Managed]:
    """The additions that the sync keeps right for a customer, for the warning before a change."""
    owned = session.scalars(
        sa.select(models.OwnedAddition)
        .where(models.OwnedAddition.ended_at.is_(None))
        .order_by(models.OwnedAddition.agreement_id, models.OwnedAddition.addition_id)
    )
    mine = [row for row in owned if any(source[0] == tenant_id for source in row.sources)]
    names = _agreement_names(session, {row.agreement_id for row in mine})
    return [
        Managed(
            addition_id=row.addition_id,
            agreement_id=row.agreement_id,
            agreement_name=names.get(row.agreement_id, f"agreement {row.agreement_id}"),
            quantity=number(row.quantity),
            products=", ".join(sorted({s[1] for s in row.sources if s[0] == tenant_id})),
            shared=any(s[0] != tenant_id for s in row.sources),
        )
        for row in mine
    ]


def sharing_customers(session: Session, row: models.TenantMapping) -> list[str]:
    """The other customers that are billed on the same agreement, by name."""
    if row.agreement_id is None:
        return []
    return list(
        session.scalars(
            sa.select(models.TenantMapping.tenant_name)
            .where(
                models.TenantMapping.agreement_id == row.agreement_id,
                models.TenantMapping.tenant_id != row.tenant_id,
            )
            .order_by(models.TenantMapping.tenant_name)
        )
    )


def known_company(session: Session, company_id: int | None) -> models.Company | None:
    """A company of the local copy, one that is gone from ConnectWise included."""
    return session.get(models.Company, company_id) if company_id is not None else None


def _agreement_names(session: Session, ids: Iterable[int]) -> dict[int, str]:
    rows = session.scalars(sa.select(models.Agreement).where(models.Agreement.id.in_(set(ids))))
    return {row.id: row.name for row in rows}


# --- the rules ----------------------------------------------------------------------------------


def _current(session: Session, tenant_id: str, version: int) -> models.TenantMapping:
    row = customer(session, tenant_id)
    if row.version != version:
        raise StaleMappingError(row)
    return row


def _company(session: Session, company_id: int | None) -> models.Company | None:
    if company_id is None:
        return None
    company = session.get(models.Company, company_id)
    if company is None or company.gone:
        raise MappingError(
            "company",
            "This company is not in ConnectWise, or was deleted there. Nothing was saved; choose "
            "another one, or refresh the customer details.",
        )
    return company


def _agreement(
    session: Session, agreement_id: int | None, company: models.Company | None
) -> models.Agreement | None:
    if agreement_id is None:
        return None
    agreement = session.get(models.Agreement, agreement_id)
    if company is None or agreement is None or agreement.company_id != company.id:
        raise MappingError(
            "agreement",
            "This agreement does not belong to the company. Nothing was saved; choose one of the "
            "company's agreements.",
        )
    return agreement


def _known_product(session: Session, key: str) -> None:
    if session.get(models.ProductMapping, key) is None:
        raise MappingError("products", f"Sophos has not billed a product {key}. Nothing was saved.")


def _mapping(row: models.TenantMapping) -> dict[str, Any]:
    """A mapping as the audit shows it, in the words of the configuration file."""
    return {
        "company": row.company_identifier,
        "agreement": row.agreement_id,
        "agreements": {o.product_key: o.agreement_id for o in row.overrides},
        "sync": row.sync,
    }


def _record(
    session: Session,
    row: models.TenantMapping,
    author: Author,
    action: str,
    before: Mapping[str, Any],
) -> None:
    after = _mapping(row)
    if before == after:
        return
    session.flush()
    audit.record(
        session,
        at=author.at,
        actor=author.actor,
        action=action,
        subject=f"customer {row.tenant_id}",
        before=before,
        after=after,
    )
