"""Undo: a plan that puts back what stood before a run, as far as that is possible."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS, ChangeState
from services.context import SyncContext
from services.runs.gather import owned_additions, read_additions
from services.runs.run_pages import details_removed
from services.settings import load_settings
from services.sync.model import (
    Addition,
    Agreement,
    Change,
    ChangeKind,
    Finding,
    FindingKind,
    Month,
    Plan,
    Situation,
)
from services.sync.words import number


def why_no_way_back(session: Session, run_id: int) -> str | None:
    """A sentence why there is nothing of a run that could be undone; None when there may be.

    What it is not known of yet whether it was written is settled before the way back is planned.
    """
    run = session.get(models.SyncRun, run_id)
    if run is None:
        return f"There is no run {run_id}."
    written = models.Change.state.in_((ChangeState.APPLIED, *OPEN_INTENTS))
    if session.scalar(sa.select(sa.exists().where(models.Change.run_id == run_id, written))):
        return None
    if details_removed(run):
        return (
            f"Run {run_id} cannot be undone: what it changed is not known any more, because its "
            "changes were removed as the retention settings say. Correct mappings and run again."
        )
    return f"Run {run_id} wrote nothing, so there is nothing to undo."


def plan_reversal(context: SyncContext, run_id: int) -> tuple[Situation, Plan]:
    """Plan the way back for every applied change; findings say what cannot be undone.

    An addition that is not as the run left it is not touched. Raises VendorError.
    """
    with context.session() as session:
        run = session.get_one(models.SyncRun, run_id)
        rows = list(
            session.scalars(
                sa.select(models.Change)
                .where(models.Change.run_id == run_id, models.Change.state == ChangeState.APPLIED)
                .order_by(models.Change.id)
            )
        )
        settings = load_settings(session, context.locked)
        owned = owned_additions(session)
    ids = sorted({row.agreement_id for row in rows if row.agreement_id is not None})
    agreements = {a.id: a for a in context.connectwise.agreements(ids=ids)} if ids else {}
    today = settings.today(context.now())
    situation = Situation(
        month=Month.parse(run.month) if run.month else Month.of(today),
        today=today,
        usage=(),
        tenants={},
        products={},
        items={},
        agreements=agreements,
        additions=read_additions(context, agreements),
        owned=owned,
        rules=settings.rules,
    )
    moved = {row.group for row in rows if row.group}
    changes: list[Change] = []
    findings: list[Finding] = []
    for row in rows:
        result = _reverse(row, situation, in_move=row.group in moved)
        if isinstance(result, Change):
            changes.append(result)
        else:
            findings.append(result)
    return situation, Plan(tuple(changes), tuple(sorted(findings)))


def _reverse(row: models.Change, situation: Situation, *, in_move: bool) -> Change | Finding:
    problem = _why_not(row, situation, in_move=in_move)
    if problem:
        return Finding(
            FindingKind.LEFT_ALONE,
            f"change {row.id}",
            f"Change {row.id} ({row.kind.value}) cannot be undone: {problem}.",
            "Look at it in ConnectWise, or correct mapping and sync and run again.",
        )
    creates = row.kind is ChangeKind.CREATE
    return Change(
        kind=ChangeKind.CANCEL if creates else ChangeKind.UPDATE,
        tenant_id=row.tenant_id,
        agreement_id=row.agreement_id,
        item=row.catalog_item_id or 0,
        before=row.after,
        after=Decimal(0) if creates else row.before,
        reason=f"Undo of change {row.id} of run {row.run_id}: "
        + ("the addition was made by it" if creates else f"it was {number(row.before)} before"),
        addition_id=row.addition_id,
        cancelled_date=row.effective_date if creates else None,
        unit_price=row.unit_price,
    )


def why_never(row: models.Change, *, in_move: bool) -> str | None:
    """Why an applied change can never be undone, whatever stands in ConnectWise now; or None."""
    if row.kind is ChangeKind.CREATE_PRODUCT:
        return "a product stays in ConnectWise; set it inactive there if it is not wanted"
    if row.kind is ChangeKind.CANCEL:
        return "a cancelled addition is not opened again; the next run makes a new one if needed"
    if in_move:
        return "it exchanged seats with other additions; map them back and run again instead"
    if row.before == row.after:
        return "its quantity was not changed; it stays one that we keep right"
    return None


def _why_not(row: models.Change, situation: Situation, *, in_move: bool) -> str | None:
    if never := why_never(row, in_move=in_move):
        return never
    agreement: Agreement | None = situation.agreements.get(row.agreement_id or 0)
    if agreement is None:
        return "the agreement no longer exists"
    if why := agreement.why_not_writable(situation.today):
        return why
    addition = _find(row, situation.additions[agreement.id])
    if addition is None or not addition.is_open(situation.today):
        return "the addition is no longer there, or cancelled"
    if addition.catalog_item_id != row.catalog_item_id:
        return "the addition is one of another ConnectWise product now"
    if addition.quantity != row.after:
        return f"it says {number(addition.quantity)} now, not the {number(row.after)} of the run"
    return None


def _find(row: models.Change, additions: Iterable[Addition]) -> Addition | None:
    return next((a for a in additions if a.id == row.addition_id), None)
