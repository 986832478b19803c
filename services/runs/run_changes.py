"""The changes of one run as a page shows them: filtered, by customer, some at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.paging import Page, window
from services.runs.run_pages import Sum, money_of
from services.sync.model import ChangeKind

CHANGES_A_PAGE = 150
PRODUCTS = "New ConnectWise products"

KINDS: Mapping[ChangeKind, str] = {
    ChangeKind.CREATE_PRODUCT: "Make product",
    ChangeKind.CREATE: "Create",
    ChangeKind.ADOPT: "Adopt",
    ChangeKind.UPDATE: "Update",
    ChangeKind.CANCEL: "Cancel",
}
STATES: Mapping[ChangeState, tuple[str, str]] = {
    ChangeState.HELD: ("warn", "held"),
    ChangeState.FAILED: ("bad", "failed"),
    ChangeState.UNCLEAR: ("bad", "unclear"),
    ChangeState.APPLYING: ("info", "applying"),
    ChangeState.PLANNED: ("info", "planned"),
    ChangeState.APPLIED: ("good", "applied"),
    ChangeState.SKIPPED: ("quiet", "skipped"),
}
"""How a state is shown, those that need a person first."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What of a run is looked at; None and the empty text mean everything."""

    state: ChangeState | None = None
    kind: ChangeKind | None = None
    text: str = ""

    @property
    def any(self) -> bool:
        """Whether something is left out."""
        return bool(self.state or self.kind or self.text)


@dataclass(frozen=True, slots=True)
class Names:
    """What ids are called, as far as our own tables know."""

    tenants: Mapping[str, str]
    companies: Mapping[str, str]
    items: Mapping[int, str]
    agreements: Mapping[int, str]

    def tenant(self, tenant_id: str | None) -> str:
        """A customer's name, else its id."""
        return PRODUCTS if tenant_id is None else self.tenants.get(tenant_id) or tenant_id

    def company(self, tenant_id: str | None) -> str:
        """The company that a customer is billed as."""
        return self.companies.get(tenant_id or "", "")

    def product(self, change: models.Change) -> str:
        """The ConnectWise product of a change."""
        known = self.items.get(change.catalog_item_id or 0)
        return change.new_identifier or known or f"product {change.catalog_item_id}"

    def agreement(self, agreement_id: int | None) -> str:
        """The agreement's name, else its id."""
        return self.agreements.get(agreement_id or 0) or f"agreement {agreement_id}"


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """One change with the names that it needs."""

    row: models.Change
    names: Names
    together: Sequence[int]
    selectable: bool

    @property
    def state(self) -> tuple[str, str]:
        """Colour and words of its state."""
        return STATES[self.row.state]

    @property
    def kind(self) -> str:
        """What it does, in a word."""
        return KINDS[self.row.kind]

    @property
    def product(self) -> str:
        """The ConnectWise product."""
        return self.names.product(self.row)

    @property
    def agreement(self) -> str:
        """The agreement."""
        return self.names.agreement(self.row.agreement_id)

    @property
    def money(self) -> Decimal | None:
        """Its price effect per billing cycle."""
        return money_of(self.row)

    @property
    def codes(self) -> str:
        """The codes of the Sophos products behind it."""
        return ", ".join(codes_of(self.row))

    @property
    def sources(self) -> Iterator[tuple[str, Any]]:
        """The customer's name and usage record by record, each down to the Sophos lines."""
        for record in self.row.explanation:
            yield self.names.tenant(record["tenant_id"]), record


@dataclass(slots=True)
class CustomerGroup:
    """The changes of one customer that stand on this page."""

    name: str
    company: str
    agreement: str | None
    continued: bool = False
    changes: list[ChangeLine] = field(default_factory=list)
    sum: Sum = field(default_factory=Sum)


def changes_page(
    session: Session, run: models.SyncRun, filters: Filters, *, page: int
) -> tuple[Page[ChangeLine], list[CustomerGroup]]:
    """One page of a run's changes, in the order of the customers' names, and by customer."""
    wanted = filtered(run.id, filters)
    total = session.scalar(sa.select(sa.func.count()).select_from(wanted.subquery())) or 0
    number, offset = window(page, size=CHANGES_A_PAGE, total=total)
    # One row more at the start tells whether the first customer began on the page before.
    rows = list(session.scalars(wanted.limit(CHANGES_A_PAGE + 1).offset(max(0, offset - 1))).all())
    before = rows.pop(0) if offset and rows else None
    lines = change_lines(session, run, rows[:CHANGES_A_PAGE])
    continued = before is not None and bool(rows) and before.tenant_id == rows[0].tenant_id
    return Page(lines, number, CHANGES_A_PAGE, total), _by_customer(lines, continued=continued)


def change_lines(
    session: Session, run: models.SyncRun, rows: Sequence[models.Change]
) -> list[ChangeLine]:
    """Changes with their names, and with the others that go together with them."""
    names = names_for(session, rows)
    groups = _groups(session, run.id, {row.group for row in rows if row.group})
    return [
        ChangeLine(
            row,
            names,
            [i for i in groups.get(row.group or "", ()) if i != row.id],
            selectable(run, row),
        )
        for row in rows
    ]


def planned_ids(session: Session, run_id: int) -> frozenset[int]:
    """The changes of a plan that are not held and not decided about yet."""
    return frozenset(
        session.scalars(
            sa.select(models.Change.id).where(
                models.Change.run_id == run_id, models.Change.state == ChangeState.PLANNED
            )
        )
    )


def selectable(run: models.SyncRun, row: models.Change) -> bool:
    """Whether a person can decide about it now."""
    if run.state is RunState.RUNNING:
        return False
    planned = run.state is RunState.PLANNED and row.state is ChangeState.PLANNED
    return planned or row.state is ChangeState.HELD


def filtered(run_id: int, filters: Filters) -> sa.Select[models.Change]:
    """The changes of a run that are looked at, products first, then by customer."""
    change, tenant = models.Change, models.TenantMapping
    query = (
        sa.select(change)
        .outerjoin(tenant, tenant.tenant_id == change.tenant_id)
        .where(change.run_id == run_id)
        .order_by(
            change.tenant_id.is_not(None),
            sa.func.lower(tenant.tenant_name),
            change.tenant_id,
            change.agreement_id,
            change.id,
        )
    )
    if filters.state:
        query = query.where(change.state == filters.state)
    if filters.kind:
        query = query.where(change.kind == filters.kind)
    return query.where(_mentions(filters.text)) if filters.text else query


def _mentions(text: str) -> sa.ColumnElement[bool]:
    """Whether the text stands in the customer, company or product of a change."""
    change, tenant, product = models.Change, models.TenantMapping, models.ProductMapping
    items = sa.select(product.catalog_item_id).where(
        product.catalog_item_identifier.icontains(text, autoescape=True)
    )
    return sa.or_(
        tenant.tenant_name.icontains(text, autoescape=True),
        tenant.company_identifier.icontains(text, autoescape=True),
        change.new_identifier.icontains(text, autoescape=True),
        change.product_key.icontains(text, autoescape=True),
        change.reason.icontains(text, autoescape=True),
        change.catalog_item_id.in_(items),
    )


def names_for(session: Session, rows: Iterable[models.Change]) -> Names:
    """The names of everything that these changes mention."""
    rows = list(rows)
    tenant_ids = {row.tenant_id for row in rows} | {
        record["tenant_id"] for row in rows for record in row.explanation
    }
    return names_of(
        session,
        {t for t in tenant_ids if t},
        {row.catalog_item_id for row in rows if row.catalog_item_id},
        {row.agreement_id for row in rows if row.agreement_id},
    )


def names_of(
    session: Session, tenant_ids: set[str], item_ids: set[int], agreement_ids: set[int]
) -> Names:
    """What these ids are called."""
    tenant, product, item = models.TenantMapping, models.ProductMapping, models.CatalogItem
    rows = session.execute(
        sa.select(
            tenant.tenant_id,
            tenant.tenant_name,
            tenant.company_identifier,
            tenant.agreement_id,
            tenant.agreement_name,
        ).where(tenant.tenant_id.in_(tenant_ids))
    ).all()
    mapped = sa.select(product.catalog_item_id, product.catalog_item_identifier)
    known = sa.select(item.id, item.identifier)
    listed = sa.select(models.Agreement.id, models.Agreement.name)
    return Names(
        {row.tenant_id: row.tenant_name for row in rows},
        {row.tenant_id: row.company_identifier or "" for row in rows},
        _called(session, mapped.where(product.catalog_item_id.in_(item_ids)))
        | _called(session, known.where(item.id.in_(item_ids))),
        {row.agreement_id: row.agreement_name or "" for row in rows if row.agreement_id}
        | _called(session, listed.where(models.Agreement.id.in_(agreement_ids))),
    )


def _called(session: Session, query: sa.Select[Any, Any]) -> dict[int, str]:
    return {number: name for number, name in session.execute(query) if name}


def codes_of(row: models.Change) -> list[str]:
    """The codes of the Sophos products behind a change, each once."""
    codes = [source[1] for source in row.sources] or ([row.product_key] if row.product_key else [])
    return sorted(set(codes))


def _groups(session: Session, run_id: int, groups: set[str]) -> dict[str, list[int]]:
    found: defaultdict[str, list[int]] = defaultdict(list)
    for group, change_id in session.execute(
        sa.select(models.Change.group, models.Change.id)
        .where(models.Change.run_id == run_id, models.Change.group.in_(groups))
        .order_by(models.Change.id)
    ):
        found[group or ""].append(change_id)
    return found


def _by_customer(lines: Iterable[ChangeLine], *, continued: bool) -> list[CustomerGroup]:
    groups: dict[str | None, CustomerGroup] = {}
    for line in lines:
        tenant_id = line.row.tenant_id
        if tenant_id not in groups:
            groups[tenant_id] = CustomerGroup(
                line.names.tenant(tenant_id),
                line.names.company(tenant_id),
                None,
                continued=continued and not groups,
            )
        groups[tenant_id].changes.append(line)
        groups[tenant_id].sum.add(line.row.before, line.row.after, line.row.unit_price)
    for group in groups.values():
        agreements = {line.row.agreement_id: line.agreement for line in group.changes}
        if len(agreements) == 1 and None not in agreements:
            group.agreement = next(iter(agreements.values()))
    return list(groups.values())
