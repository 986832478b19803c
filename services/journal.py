"""The journal of writes: the intent is stored before each call, the outcome after it.

Whatever happens between the two, the next start knows that a call may have gone out, and what it
would have done. Ownership changes in the same transaction as the outcome it follows from.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState
from services import audit
from services.clients.errors import VendorError
from services.context import SyncContext
from services.sync.model import (
    Addition,
    Change,
    ChangeKind,
    OwnedAddition,
    Plan,
    Situation,
    Source,
    UsageRecord,
)
from services.sync.words import number

_ROWS_AT_A_TIME = 1_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a write. `addition_id` and `catalog_item_id` name what was made.

    `doubt` is the error because of which it had to be found out by reading.
    """

    state: ChangeState
    error: str | None = None
    addition_id: int | None = None
    catalog_item_id: int | None = None
    doubt: VendorError | None = None


@dataclass(slots=True)
class Journal:
    """The journal of one run, for use by several threads."""

    context: SyncContext
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def intend(self, change_id: int, known_additions: Iterable[int]) -> None:
        """Store that the call for this change is about to go out.

        `known_additions` are the additions that stand at its place already, so that a new one can
        be told from them when the answer gets lost.
        """
        with self._lock, self.context.session() as session, session.begin():
            row = session.get_one(models.Change, change_id)
            row.state = ChangeState.APPLYING
            row.intended_at = self.context.now()
            row.known_additions = sorted(known_additions)

    def settle(self, change_id: int, outcome: Outcome) -> None:
        """Store what came of it, and what follows: ownership, mapping, audit."""
        with self._lock, self.context.session() as session, session.begin():
            settle(session, self.context, change_id, outcome)

    def skip(self, change_ids: Iterable[int], why: str) -> None:
        """Store that these changes were not tried, and why."""
        with self._lock, self.context.session() as session, session.begin():
            for change_id in change_ids:
                row = session.get_one(models.Change, change_id)
                row.state, row.error = ChangeState.SKIPPED, why
                row.settled_at = self.context.now()


def confirm(context: SyncContext, confirmed: Sequence[OwnedAddition]) -> None:
    """Remember what our additions that are right already hold, and for which usage."""
    with context.session() as session, session.begin():
        rows = {
            row.addition_id: row
            for row in session.scalars(
                sa.select(models.OwnedAddition).where(models.OwnedAddition.ended_at.is_(None))
            )
        }
        for owned in confirmed:
            row = rows.get(owned.addition_id)
            sources = [list(source) for source in sorted(owned.sources)]
            if row and (row.quantity != owned.quantity or row.sources != sources):
                row.quantity, row.sources = owned.quantity, sources
                row.updated_at = context.now()


def skip_planned(session: Session, run_id: int, why: str, now: dt.datetime) -> None:
    """Store of all that a run had not begun that it was not tried, and why.

    What stayed planned would be applied by whoever approves another change of that run.
    """
    session.execute(
        sa.update(models.Change)
        .where(models.Change.run_id == run_id, models.Change.state == ChangeState.PLANNED)
        .values(state=ChangeState.SKIPPED, error=why, settled_at=now)
    )


def store_plan(session: Session, run: models.SyncRun, plan: Plan, situation: Situation) -> None:
    """Keep the plan: one row a change, with everything that is needed to apply and explain it."""
    # As plain rows, some at a time: a first month's plan may hold tens of thousands of changes.
    for start in range(0, len(plan.changes), _ROWS_AT_A_TIME):
        changes = plan.changes[start : start + _ROWS_AT_A_TIME]
        rows = [change_row(run.id, change, _standing(change, situation)) for change in changes]
        session.execute(sa.insert(models.Change), rows)
    for finding in plan.findings:
        session.add(
            models.Finding(
                run_id=run.id,
                kind=finding.kind,
                subject=finding.subject,
                message=finding.message,
                advice=finding.advice,
            )
        )


def change_row(run_id: int, change: Change, known_additions: list[int]) -> dict[str, object]:
    """The row of a planned change."""
    return {
        "run_id": run_id,
        "kind": change.kind,
        "state": ChangeState.HELD if change.held else ChangeState.PLANNED,
        "tenant_id": change.tenant_id,
        "agreement_id": change.agreement_id,
        "addition_id": change.addition_id,
        "catalog_item_id": change.item if isinstance(change.item, int) else None,
        "new_identifier": change.item if isinstance(change.item, str) else change.identifier,
        "product_key": change.product_key,
        "product_name": change.product_name,
        "before": change.before,
        "after": change.after,
        "unit_price": change.unit_price,
        "effective_date": change.effective_date,
        "cancelled_date": change.cancelled_date,
        "sets_quantity": change.sets_quantity,
        "reason": change.reason,
        "held": change.held,
        "group": change.group,
        "sources": [list(source) for source in sorted(change.sources)],
        "explanation": [explained(record) for record in change.records],
        "known_additions": known_additions,
    }


def settle(
    session: Session, context: SyncContext, change_id: int, outcome: Outcome
) -> models.Change:
    """Store an outcome within the caller's transaction."""
    row = session.get_one(models.Change, change_id)
    row.state, row.error = outcome.state, outcome.error
    row.settled_at = context.now()
    row.addition_id = outcome.addition_id or row.addition_id
    row.catalog_item_id = outcome.catalog_item_id or row.catalog_item_id
    if outcome.state is ChangeState.APPLIED:
        if row.kind is ChangeKind.CREATE_PRODUCT:
            _map_product(session, context, row)
        else:
            _own(session, context, row)
        _audit(session, context, row)
    return row


def _own(session: Session, context: SyncContext, row: models.Change) -> None:
    owned = session.get(models.OwnedAddition, row.addition_id)
    new = owned is None
    if owned is None:
        owned = models.OwnedAddition(addition_id=row.addition_id)
        session.add(owned)
    assert row.agreement_id is not None and row.catalog_item_id is not None  # noqa: S101, PT018
    owned.agreement_id = row.agreement_id
    owned.catalog_item_id = row.catalog_item_id
    owned.updated_at = context.now()
    if row.kind is ChangeKind.CANCEL:
        owned.ended_at = context.now()
        owned.last_billed_day = None if row.sets_quantity else row.cancelled_date
        owned.quantity = Decimal(0) if row.sets_quantity else (row.before or Decimal(0))
    else:
        owned.ended_at = owned.last_billed_day = None
        owned.quantity = row.after or Decimal(0)
    if row.sources or new:
        owned.sources = row.sources


def _map_product(session: Session, context: SyncContext, row: models.Change) -> None:
    """Map the Sophos product to its default product, unless a person mapped it meanwhile.

    Then the person has the last word, and what this run would bill of it waits for the next one.
    """
    product = session.get_one(models.ProductMapping, row.product_key)
    if product.catalog_item_id not in {None, row.catalog_item_id}:
        _skip_usage_of(session, context, row)
        return
    if product.catalog_item_id is None:
        product.catalog_item_id = row.catalog_item_id
        product.catalog_item_identifier = row.new_identifier
    if row.new_identifier is not None:
        session.execute(
            sa.update(models.Change)
            .where(
                models.Change.run_id == row.run_id,
                models.Change.new_identifier == row.new_identifier,
            )
            .values(catalog_item_id=row.catalog_item_id)
        )


def _skip_usage_of(session: Session, context: SyncContext, made: models.Change) -> None:
    waiting = session.scalars(
        sa.select(models.Change).where(
            models.Change.run_id == made.run_id,
            models.Change.state.in_([ChangeState.PLANNED, ChangeState.HELD]),
        )
    )
    for row in waiting:
        if any(product_key == made.product_key for _, product_key in row.sources):
            row.state, row.settled_at = ChangeState.SKIPPED, context.now()
            row.error = (
                "Not applied, because somebody mapped the Sophos product to another ConnectWise "
                "product during the run. Nothing was written; the next run bills it there."
            )


def _audit(session: Session, context: SyncContext, row: models.Change) -> None:
    subject = (
        f"product {row.product_key}"
        if row.kind is ChangeKind.CREATE_PRODUCT
        else f"addition {row.addition_id} on agreement {row.agreement_id}"
    )
    audit.record(
        session,
        at=context.now(),
        actor=row.approved_by or context.actor,
        action=f"sync.{row.kind.value}",
        subject=subject,
        before=None if row.before is None else {"quantity": number(row.before)},
        after={"catalog_item_id": row.catalog_item_id}
        if row.kind is ChangeKind.CREATE_PRODUCT
        else {"quantity": number(row.after), "why": row.reason},
        run_id=row.run_id,
    )


def _standing(change: Change, situation: Situation) -> list[int]:
    additions: Iterable[Addition] = situation.additions.get(change.agreement_id or 0, ())
    return sorted(a.id for a in additions if a.catalog_item_id == change.item)


def explained(record: UsageRecord) -> dict[str, object]:
    """Where a quantity comes from, down to Sophos' lines, as pages and files show it."""
    source = Source(record.tenant_id, record.product_key)
    return {
        "tenant_id": source.tenant_id,
        "product_key": source.product_key,
        "quantity": number(record.quantity),
        "lines": [
            {
                "order": line.order,
                "serial": line.serial,
                "name": line.product_name,
                "quantity": number(line.quantity),
            }
            for line in record.lines
        ],
    }
