"""The rows of the Customers page: filtered, searched and sorted."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services.tenants.company_directory import (
    AgreementChoice,
    agreements_of,
    as_choice,
    only_usable,
)
from services.tenants.tenant_status import Standing, TenantStatus, last_planned_run, statuses
from services.tenants.tenant_suggestions import Suggestion, suggestions


@dataclass(frozen=True, slots=True)
class Offer:
    """A suggestion with the agreement that would be taken, where the company has only one."""

    company: Suggestion
    agreement: AgreementChoice | None


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """One customer with everything that its row shows."""

    mapping: models.TenantMapping
    company_name: str | None
    company_gone: bool
    agreement: AgreementChoice | None
    status: TenantStatus
    offer: Offer | None

    @property
    def id(self) -> str:
        """Sophos' id of the customer."""
        return self.mapping.tenant_id

    @property
    def available(self) -> bool:
        """Whether the sync has everything that it needs."""
        return self.mapping.company_id is not None and self.mapping.agreement_id is not None

    @property
    def blocked(self) -> str | None:
        """Why the next run cannot bill this customer, as far as the local copy knows."""
        if self.company_gone:
            return "the company was deleted in ConnectWise"
        return self.agreement.unusable if self.agreement else None


@dataclass(frozen=True, slots=True)
class View:
    """What a person asked to see."""

    show: str = "all"
    text: str = ""
    sort: str = "name"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class CustomerList:
    """The rows to show, and how many each filter has."""

    rows: tuple[CustomerRow, ...]
    counts: Mapping[str, int]
    run: models.SyncRun | None
    exact: int
    """How many customers without a company have an exact suggestion."""


FILTERS: Mapping[str, tuple[str, Callable[[CustomerRow], bool]]] = {
    "all": ("All", lambda _row: True),
    "available": ("Usage sync available", lambda row: row.available),
    "successful": ("Successful", lambda row: row.status.standing is Standing.SUCCESSFUL),
    "failed": ("Failed", lambda row: row.status.standing is Standing.FAILED),
    "held": ("Held", lambda row: row.status.standing is Standing.HELD),
    "not-billed": ("Not billed", lambda row: row.status.standing is Standing.NOT_BILLED),
    "unmapped": ("Unmapped", lambda row: not row.available),
}

_URGENCY = {
    standing: place
    for place, standing in enumerate(
        (
            Standing.FAILED,
            Standing.NOT_BILLED,
            Standing.HELD,
            Standing.DISMISSED,
            Standing.PLANNED,
            Standing.SUCCESSFUL,
            Standing.NO_USAGE,
            Standing.OFF,
            Standing.NEVER,
        )
    )
}

SORTS: Mapping[str, Callable[[CustomerRow], Any]] = {
    "name": lambda _row: "",
    "company": lambda row: (row.company_name is None, (row.company_name or "").casefold()),
    "agreement": lambda row: (
        row.mapping.agreement_id is None,
        (row.mapping.agreement_name or "").casefold(),
    ),
    "sync": lambda row: not row.mapping.sync,
    "status": lambda row: _URGENCY[row.status.standing],
}


def customer_list(session: Session, view: View, *, today: dt.date) -> CustomerList:
    """The customers that fit, sorted by name within whatever they are sorted by."""
    mappings = list(session.scalars(sa.select(models.TenantMapping)))
    run = last_planned_run(session)
    rows = _rows(session, mappings, run, today)
    found = [row for row in rows if _matches(row, view.text)]
    _, fits = FILTERS.get(view.show, FILTERS["all"])
    shown = sorted((row for row in found if fits(row)), key=_by_name, reverse=_name_down(view))
    shown.sort(key=SORTS.get(view.sort, SORTS["name"]), reverse=view.descending)
    return CustomerList(
        rows=tuple(shown),
        counts={name: sum(1 for row in found if fit(row)) for name, (_, fit) in FILTERS.items()},
        run=run,
        exact=sum(1 for row in rows if row.offer and row.offer.company.exact),
    )


def one_customer(session: Session, mapping: models.TenantMapping, *, today: dt.date) -> CustomerRow:
    """The row of one customer, for its fresh look after a change."""
    return _rows(session, [mapping], last_planned_run(session), today)[0]


def exact_matches(session: Session, *, today: dt.date) -> list[CustomerRow]:
    """The customers without a company of whose name there is exactly one company."""
    rows = customer_list(session, View(show="unmapped"), today=today).rows
    return [row for row in rows if row.offer and row.offer.company.exact]


def _rows(
    session: Session,
    mappings: list[models.TenantMapping],
    run: models.SyncRun | None,
    today: dt.date,
) -> list[CustomerRow]:
    companies = _by_id(session, models.Company, (m.company_id for m in mappings))
    agreements = _by_id(session, models.Agreement, (m.agreement_id for m in mappings))
    states = statuses(session, run, mappings)
    offers = suggestions(session, mappings)
    return [
        CustomerRow(
            mapping=mapping,
            company_name=company.name if company else mapping.company_identifier,
            company_gone=bool(company and company.gone),
            agreement=as_choice(agreement, today=today) if agreement else None,
            status=states[mapping.tenant_id],
            offer=_offer(session, offers.get(mapping.tenant_id), today),
        )
        for mapping in mappings
        for company in (companies.get(mapping.company_id),)
        for agreement in (agreements.get(mapping.agreement_id),)
    ]


def _by_id(session: Session, table: Any, ids: Iterable[int | None]) -> dict[int | None, Any]:
    wanted = {each for each in ids if each is not None}
    return {row.id: row for row in session.scalars(sa.select(table).where(table.id.in_(wanted)))}


def _offer(session: Session, suggestion: Suggestion | None, today: dt.date) -> Offer | None:
    if suggestion is None:
        return None
    choices = agreements_of(session, suggestion.company_id, today=today)
    return Offer(suggestion, only_usable(choices))


def _matches(row: CustomerRow, text: str) -> bool:
    wanted = text.strip().casefold()
    mapping = row.mapping
    texts = (
        mapping.tenant_name,
        mapping.tenant_id,
        row.company_name,
        mapping.company_identifier,
        mapping.agreement_name,
    )
    return not wanted or any(wanted in (each or "").casefold() for each in texts)


def _by_name(row: CustomerRow) -> tuple[str, str]:
    return (row.mapping.tenant_name.casefold(), row.mapping.tenant_id)


def _name_down(view: View) -> bool:
    return view.descending and view.sort == "name"
