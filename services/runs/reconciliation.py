"""The newest comparison of each month: kept with the run that read it, brought up to date, shown.

Nothing here asks a vendor. A run that read every mapped agreement keeps what it saw; what was
written since is added to it, so that a difference that was just applied is not told again.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState
from services.context import SyncContext
from services.journal import explained
from services.runs.gather import Gathered
from services.runs.run_changes import Names, names_of
from services.sync.model import Addition, Source
from services.sync.reconcile import Compared, Obstacle, Verdict, reconcile, verdict
from services.sync.words import number

MONTHS_KEPT = 13
_ROWS_AT_A_TIME = 500

Place = tuple[int | None, int | None]


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison with the names that it needs.

    `connectwise` is what stands there now, as far as we know: what was read, and what we wrote
    since (`written`). `hint` is what Sophos calls the customer of a device that has none.
    """

    id: int
    tenant_ids: tuple[str, ...]
    product_keys: tuple[str, ...]
    agreement_id: int | None
    item_id: int | None
    sophos: Decimal
    connectwise: Decimal
    unit_price: Decimal | None
    obstacles: tuple[Obstacle, ...]
    used: bool
    written: bool
    serial: str | None
    hint: str | None
    tenant_names: tuple[str, ...]
    company: str
    agreement: str | None
    item: str | None
    products: tuple[str, ...]

    @property
    def difference(self) -> Decimal:
        """What is used and not billed; below zero what is billed and not used."""
        return self.sophos - self.connectwise

    @property
    def money(self) -> Decimal | None:
        """The difference in money per billing cycle; None where no price is known."""
        return None if self.unit_price is None else self.difference * self.unit_price

    @property
    def verdict(self) -> Verdict:
        """What that means for the invoice."""
        return verdict(self.sophos, self.connectwise)

    @property
    def customer(self) -> str:
        """Its customers; empty where Sophos names none."""
        return ", ".join(self.tenant_names)

    @property
    def codes(self) -> str:
        """The codes of its Sophos products."""
        return ", ".join(self.product_keys)

    @property
    def place(self) -> Place:
        """The agreement and the catalog item, as far as there are any."""
        return self.agreement_id, self.item_id


# --- kept -----------------------------------------------------------------------------------------


def keep(context: SyncContext, run_id: int, gathered: Gathered) -> None:
    """Keep the comparison of a run in place of the last one of its month.

    A run that left out agreements has none: an older one that is whole says more.
    """
    if gathered.whole is None:
        return
    month = str(gathered.whole.month)
    rows = [_stored(run_id, row) for row in reconcile(gathered.whole)]
    with context.session() as session, session.begin():
        _forget(session, month)
        audited = session.scalar(sa.select(sa.func.max(models.AuditEvent.id))) or 0
        made = {"run_id": run_id, "month": month, "read_at": gathered.read_at}
        session.add(models.Comparison(**made, audited=audited))
        session.flush()
        for start in range(0, len(rows), _ROWS_AT_A_TIME):
            part = rows[start : start + _ROWS_AT_A_TIME]
            session.execute(sa.insert(models.ComparedRow), part)


def _forget(session: Session, month: str) -> None:
    """Make room: the last one of this month, and those of months long past."""
    comparison, row = models.Comparison, models.ComparedRow
    months = session.scalars(sa.select(comparison.month).order_by(comparison.month.desc())).all()
    others = [each for each in months if each != month]
    gone = {month, *others[MONTHS_KEPT - 1 :]}
    runs = sa.select(comparison.run_id).where(comparison.month.in_(gone))
    session.execute(
        sa.delete(row).where(row.run_id.in_(runs)), execution_options={"synchronize_session": False}
    )
    session.execute(
        sa.delete(comparison).where(comparison.month.in_(gone)),
        execution_options={"synchronize_session": False},
    )


def _stored(run_id: int, row: Compared) -> dict[str, Any]:
    first = row.records[0].lines[0] if row.records else None
    facts = {
        "tenants": list(row.tenant_ids),
        "products": list(row.product_keys),
        "agreement": row.agreement_id,
        "item": row.item_id,
        "sophos": str(row.sophos),
        "additions": {str(addition.id): str(addition.quantity) for addition in row.additions},
        "price": None if row.unit_price is None else str(row.unit_price),
        "obstacles": [obstacle.value for obstacle in row.obstacles],
        "used": bool(row.records),
    }
    if first is not None and not row.tenant_ids:
        facts |= {"serial": first.serial, "hint": first.account_name}
    detail = {
        "additions": [_addition(each, row.ours) for each in row.additions],
        "explanation": [explained(record) for record in row.records],
    }
    return {"run_id": run_id, "facts": facts, "detail": detail}


def _addition(addition: Addition, ours: frozenset[int]) -> dict[str, Any]:
    return {
        "id": addition.id,
        "quantity": number(addition.quantity),
        "price": None if addition.unit_price is None else str(addition.unit_price),
        "ours": addition.id in ours,
    }


# --- found again ----------------------------------------------------------------------------------


def newest(session: Session, month: str | None = None) -> models.Comparison | None:
    """The comparison that was read last, of one month if asked."""
    query = sa.select(models.Comparison).order_by(models.Comparison.run_id.desc()).limit(1)
    return session.scalar(query.where(models.Comparison.month == month) if month else query)


def months(session: Session) -> list[str]:
    """The months that were compared, the newest first."""
    month = models.Comparison.month
    return list(session.scalars(sa.select(month).order_by(month.desc())))


def lines(session: Session, comparison: models.Comparison) -> list[Line]:
    """All of it, as it stands now as far as we know."""
    row = models.ComparedRow
    found = session.execute(
        sa.select(row.id, row.facts).where(row.run_id == comparison.run_id).order_by(row.id)
    ).all()
    facts = [each for _, each in found]
    names = names_of(
        session,
        {tenant for each in facts for tenant in each["tenants"]},
        {each["item"] for each in facts if each["item"] is not None},
        {each["agreement"] for each in facts if each["agreement"] is not None},
    )
    mapping = models.ProductMapping
    called = dict(session.execute(sa.select(mapping.product_key, mapping.product_name)).all())
    since = _written_since(session, comparison.audited)
    return [_line(row_id, each, names, called, since) for row_id, each in found]


def details(session: Session, shown: Iterable[Line]) -> dict[int, dict[str, Any]]:
    """Where the numbers of some lines come from, by the id of the line."""
    row = models.ComparedRow
    ids = [line.id for line in shown]
    return dict(session.execute(sa.select(row.id, row.detail).where(row.id.in_(ids))).all())


@dataclass(frozen=True, slots=True)
class _Written:
    """What we wrote since: the quantity of each addition by place, and the usage it stands for."""

    by_place: Mapping[Place, Mapping[int, Decimal]]
    sources: frozenset[Source]


def _written_since(session: Session, audited: int) -> _Written:
    """The audit knows the order of what was written, whatever a clock says."""
    event, change = models.AuditEvent, models.Change
    events = session.execute(
        sa.select(event.run_id, event.subject)
        .where(event.id > audited, event.action.startswith("sync."), event.run_id.is_not(None))
        .order_by(event.id)
    )
    told = [(run_id or 0, subject) for run_id, subject in events]
    rows = session.scalars(
        sa.select(change).where(
            change.run_id.in_({run_id for run_id, _ in told}),
            change.state == ChangeState.APPLIED,
            change.after.is_not(None),
        )
    )
    changes = {
        (row.run_id, f"addition {row.addition_id} on agreement {row.agreement_id}"): row
        for row in rows
    }
    by_place: defaultdict[Place, dict[int, Decimal]] = defaultdict(dict)
    sources: dict[int, set[Source]] = {}
    for row in (changes[each] for each in told if each in changes):
        addition_id, after = row.addition_id or 0, row.after or Decimal(0)
        by_place[row.agreement_id, row.catalog_item_id][addition_id] = after
        # What ends an addition again, an undoing for one, takes its usage away with it.
        sources[addition_id] = {Source(*source) for source in row.sources} if after else set()
    return _Written(by_place, frozenset().union(*sources.values()))


def _line(
    row_id: int,
    facts: Mapping[str, Any],
    names: Names,
    called: Mapping[str, str],
    since: _Written,
) -> Line:
    tenants, products = tuple(facts["tenants"]), tuple(facts["products"])
    agreement_id, item_id = facts["agreement"], facts["item"]
    sophos = Decimal(facts["sophos"])
    additions = {int(key): Decimal(quantity) for key, quantity in facts["additions"].items()}
    read = sum(additions.values(), Decimal(0))
    additions |= since.by_place.get((agreement_id, item_id), {})
    connectwise = sum(additions.values(), Decimal(0))
    sources = {Source(tenant, product) for tenant in tenants for product in products}
    if item_id is None and sources and sources <= since.sources:
        connectwise = sophos  # its product was made, and the addition with it
    price = facts["price"]
    return Line(
        id=row_id,
        tenant_ids=tenants,
        product_keys=products,
        agreement_id=agreement_id,
        item_id=item_id,
        sophos=sophos,
        connectwise=connectwise,
        unit_price=None if price is None else Decimal(price),
        obstacles=tuple(Obstacle(each) for each in facts["obstacles"]),
        used=facts["used"],
        written=connectwise != read,
        serial=facts.get("serial"),
        hint=facts.get("hint"),
        tenant_names=tuple(names.tenant(tenant) for tenant in tenants),
        company=", ".join(sorted({names.company(t) for t in tenants} - {""})),
        agreement=None if agreement_id is None else names.agreement(agreement_id),
        item=None if item_id is None else names.items.get(item_id) or f"product {item_id}",
        products=tuple(called.get(key) or key for key in products),
    )
