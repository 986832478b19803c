"""The lines of a comparison as a person looks at them: filtered, searched, sorted, added up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.paging import Page, window
from services.runs import reconciliation
from services.runs.exports import Row
from services.runs.reconciliation import Line, Place
from services.sync.model import Source
from services.sync.reconcile import Obstacle, Totals, Verdict, add_up

LINES_A_PAGE = 100
COMPARING = "comparison"
"""The trigger of a run that was begun to compare."""

VERDICTS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.NOT_BILLED: ("bad", "not billed"),
    Verdict.UNDERBILLED: ("bad", "too little billed"),
    Verdict.OVERBILLED: ("warn", "too much billed"),
    Verdict.AGREES: ("good", "agrees"),
}
"""How a verdict is shown: its colour and its words."""

REASONS: Mapping[Obstacle, str] = {
    Obstacle.NO_CUSTOMER: "Sophos names no customer for it",
    Obstacle.CUSTOMER_UNMAPPED: "the customer has no agreement",
    Obstacle.AGREEMENT_UNUSABLE: "its agreement makes no invoices for this customer",
    Obstacle.PRODUCT_UNMAPPED: "the Sophos product has no ConnectWise product",
    Obstacle.ITEM_UNUSABLE: "the ConnectWise product is inactive, a bundle or gone",
    Obstacle.NEGATIVE_USAGE: "Sophos reports a quantity below zero",
    Obstacle.SEVERAL_ADDITIONS: "there are several additions of it",
    Obstacle.CUSTOMER_SYNC_OFF: "the customer's usage sync is off",
    Obstacle.PRODUCT_SYNC_OFF: "the product's sync is off",
    Obstacle.MAPPED_ELSEWHERE: "no Sophos product goes to this ConnectWise product any more",
    Obstacle.NOT_OURS: "the addition was not made by us",
}
"""Why the two sides may differ, in words."""

COLUMNS = (
    "Customer",
    "Company",
    "Agreement",
    "Agreement id",
    "ConnectWise product",
    "Sophos products",
    "Serial number",
    "Sophos quantity",
    "ConnectWise quantity",
    "Difference",
    "Unit price",
    "Money per billing cycle",
    "Verdict",
    "Why",
)


@dataclass(frozen=True, slots=True)
class View:
    """What a person asked to see. `flipped` is the other way round than a sort begins with."""

    show: str = "differences"
    text: str = ""
    sort: str = "money"
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """One line with what a page says about it beyond its numbers.

    `mended` are obstacles that a person removed since; the next comparison takes that over.
    `tenant_id` and `product_key` are those of its customers and Sophos products that need a person
    most.
    """

    line: Line
    detail: Mapping[str, Any]
    mended: frozenset[Obstacle]
    change: models.Change | None
    tenant_id: str | None
    product_key: str | None

    @property
    def verdict(self) -> tuple[str, str]:
        """Colour and words."""
        return VERDICTS[self.line.verdict]

    @property
    def why(self) -> str:
        """Why it differs, in a sentence."""
        return why(self.line)


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One page of a comparison; `totals` and `counts` are of all lines that fit the text."""

    comparison: models.Comparison
    page: Page[Shown]
    counts: Mapping[str, int]
    totals: Totals
    everything: int
    written: int
    newer: models.SyncRun | None
    """A newer run of the month, which did not read enough to compare."""


FILTERS: Mapping[str, tuple[str, Callable[[Line], bool]]] = {
    "differences": ("Differences", lambda line: line.difference != 0),
    "not-billed": ("Not billed", lambda line: line.difference > 0),
    "overbilled": ("Overbilled", lambda line: line.difference < 0),
    "all": ("All", lambda _line: True),
}
_ZERO = Decimal(0)
_SORTS: Mapping[str, tuple[Callable[[Line], Any], bool]] = {
    # The key, and whether it begins with the largest.
    "customer": (lambda _line: "", False),
    "product": (lambda line: (line.item or line.codes).casefold(), False),
    "sophos": (lambda line: line.sophos, True),
    "connectwise": (lambda line: line.connectwise, True),
    "difference": (lambda line: abs(line.difference), True),
    "money": (lambda line: (abs(line.money or _ZERO), abs(line.difference)), True),
}
SORTS = tuple(_SORTS)


def show(
    session: Session, comparison: models.Comparison, view: View, *, page: int
) -> Reconciliation:
    """One page of a comparison."""
    everything = reconciliation.lines(session, comparison)
    found = fitting(everything, view.text)
    chosen = ordered(found, view)
    number, offset = window(page, size=LINES_A_PAGE, total=len(chosen))
    part = chosen[offset : offset + LINES_A_PAGE]
    return Reconciliation(
        comparison=comparison,
        page=Page(_shown(session, comparison, part), number, LINES_A_PAGE, len(chosen)),
        counts={
            name: sum(1 for each in found if fits(each)) for name, (_, fits) in FILTERS.items()
        },
        totals=totals(found),
        everything=len(everything),
        written=sum(1 for line in everything if line.written),
        newer=_newer(session, comparison),
    )


def totals(lines: Iterable[Line]) -> Totals:
    """What is lost and what is billed too much."""
    return add_up((line.sophos, line.connectwise, line.unit_price) for line in lines)


def fitting(lines: Iterable[Line], text: str) -> list[Line]:
    """The lines in which a text stands."""
    wanted = text.strip().casefold()
    return [line for line in lines if not wanted or wanted in _searched(line)]


def ordered(lines: Iterable[Line], view: View) -> list[Line]:
    """Those that a filter shows, in the order asked for; by customer within that."""
    _, fits = FILTERS.get(view.show, FILTERS["differences"])
    key, largest_first = _SORTS.get(view.sort, _SORTS["money"])
    by_name = view.flipped and view.sort == "customer"
    chosen = sorted((line for line in lines if fits(line)), key=_by_name, reverse=by_name)
    return sorted(chosen, key=key, reverse=largest_first is not view.flipped)


def _by_name(line: Line) -> tuple[bool, str, str, str]:
    return not line.customer, line.customer.casefold(), line.item or "", line.codes


def _searched(line: Line) -> str:
    texts = (
        line.customer,
        line.company,
        line.agreement,
        line.item,
        line.codes,
        *line.products,
        line.serial,
        line.hint,
        *line.tenant_ids,
    )
    return "\n".join(text for text in texts if text).casefold()


def why(line: Line) -> str:
    """Why the two sides differ, or what is odd although they agree; empty when all is well."""
    found = [REASONS[obstacle] for obstacle in line.obstacles]
    if not line.used and line.difference:
        found.insert(0, "nothing in Sophos' report asks for it")
    if line.written:
        found.append("it was changed by us since it was read")
    if not found and line.difference:
        found = ["there is no addition" if not line.connectwise else "the quantities differ"]
    said = "; ".join(found)
    advice = f" {_BY_HAND}" if _is_foreign(line) else ""
    return f"{said[0].upper()}{said[1:]}.{advice}" if said else ""


_BY_HAND = "We never change it: end it in ConnectWise if nobody needs it."


def _is_foreign(line: Line) -> bool:
    """An addition of somebody else, for which there is no usage: no run ever plans about it."""
    by_others = {Obstacle.NOT_OURS, Obstacle.SEVERAL_ADDITIONS}
    return not line.used and bool(line.difference) and not by_others.isdisjoint(line.obstacles)


# --- what became of it ----------------------------------------------------------------------------


def _shown(
    session: Session, comparison: models.Comparison, lines: Sequence[Line]
) -> tuple[Shown, ...]:
    tenants = _by_key(session, models.TenantMapping, {t for each in lines for t in each.tenant_ids})
    products = _by_key(
        session, models.ProductMapping, {p for each in lines for p in each.product_keys}
    )
    serials = _by_key(session, models.SerialAssignment, {each.serial for each in lines})
    details = reconciliation.details(session, lines)
    changes = _changes(session, comparison.run_id, lines)
    found = []
    for line in lines:
        whose = [tenants[t] for t in line.tenant_ids if t in tenants]
        what = [products[p] for p in line.product_keys if p in products]
        gone = frozenset(_gone(whose, what, assigned=line.serial in serials))
        found.append(
            Shown(
                line=line,
                detail=details.get(line.id, {}),
                mended=gone & frozenset(line.obstacles),
                change=_change_of(line, changes),
                tenant_id=min(whose, key=_tenant_ready).tenant_id if whose else None,
                product_key=min(what, key=_product_ready).product_key if what else None,
            )
        )
    return tuple(found)


def _tenant_ready(tenant: models.TenantMapping) -> tuple[bool, bool, str]:
    return tenant.agreement_id is not None, tenant.sync, tenant.tenant_id


def _product_ready(product: models.ProductMapping) -> tuple[bool, bool, str]:
    return product.catalog_item_id is not None, product.sync, product.product_key


def _gone(
    tenants: Sequence[models.TenantMapping],
    products: Sequence[models.ProductMapping],
    *,
    assigned: bool,
) -> Iterator[Obstacle]:
    if assigned:
        yield Obstacle.NO_CUSTOMER
    if tenants and all(tenant.agreement_id is not None for tenant in tenants):
        yield Obstacle.CUSTOMER_UNMAPPED
    if tenants and all(tenant.sync for tenant in tenants):
        yield Obstacle.CUSTOMER_SYNC_OFF
    if products and all(product.catalog_item_id is not None for product in products):
        yield Obstacle.PRODUCT_UNMAPPED
    if products and all(product.sync for product in products):
        yield Obstacle.PRODUCT_SYNC_OFF


def _by_key(session: Session, table: Any, keys: Iterable[str | None]) -> dict[str | None, Any]:
    (column,) = sa.inspect(table).primary_key
    wanted = [key for key in keys if key is not None]
    rows = session.scalars(sa.select(table).where(column.in_(wanted)))
    return {getattr(row, column.key): row for row in rows}


_PRESSING = (ChangeState.SKIPPED, ChangeState.PLANNED, ChangeState.FAILED, ChangeState.UNCLEAR,
             ChangeState.HELD)  # fmt: skip
_Changes = tuple[Mapping[Place, models.Change], Mapping[Source, models.Change]]


def _changes(session: Session, run_id: int, lines: Sequence[Line]) -> _Changes:
    """What the same run planned, by place and by usage; the most pressing one of several."""
    change = models.Change
    agreements = {line.agreement_id for line in lines} - {None}
    rows = session.scalars(
        sa.select(change).where(
            change.run_id == run_id,
            change.agreement_id.in_(agreements),
            change.state.in_(_PRESSING),
        )
    )
    by_place: dict[Place, models.Change] = {}
    by_source: dict[Source, models.Change] = {}
    for row in sorted(rows, key=lambda each: _PRESSING.index(each.state)):
        by_place[row.agreement_id, row.catalog_item_id] = row
        by_source |= {Source(*source): row for source in row.sources}
    return by_place, by_source


def _change_of(line: Line, changes: _Changes) -> models.Change | None:
    by_place, by_source = changes
    if line.item_id is not None:
        return by_place.get(line.place)
    sources = (Source(t, p) for t in line.tenant_ids for p in line.product_keys)
    return next((by_source[source] for source in sources if source in by_source), None)


def _newer(session: Session, comparison: models.Comparison) -> models.SyncRun | None:
    run = models.SyncRun
    return session.scalar(
        sa.select(run)
        .where(
            run.id > comparison.run_id,
            run.month == comparison.month,
            run.undo_of_id.is_(None),
            run.fingerprint.is_not(None),
        )
        .order_by(run.id.desc())
        .limit(1)
    )


def failed_since(session: Session, comparison: models.Comparison | None) -> models.SyncRun | None:
    """The comparison that was asked for last, if it came to nothing."""
    run = models.SyncRun
    last = session.scalar(
        sa.select(run).where(run.trigger == COMPARING).order_by(run.id.desc()).limit(1)
    )
    if last is None or last.state in (RunState.RUNNING, RunState.PLANNED):
        return None
    return last if comparison is None or last.id > comparison.run_id else None


# --- to take away ---------------------------------------------------------------------------------


def file_rows(session: Session, month: str | None, view: View) -> Iterator[Row]:
    """The lines that a view shows, as rows of a file."""
    comparison = reconciliation.newest(session, month)
    if comparison is None:
        return
    for line in ordered(fitting(reconciliation.lines(session, comparison), view.text), view):
        yield (
            line.customer or line.hint,
            line.company,
            line.agreement,
            line.agreement_id,
            line.item,
            line.codes,
            line.serial,
            line.sophos,
            line.connectwise,
            line.difference,
            line.unit_price,
            line.money,
            VERDICTS[line.verdict][1],
            why(line),
        )
