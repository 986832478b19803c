"""Approving held changes, and opening a stored run again to apply them."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services import audit
from services.context import SyncContext


class NotApprovableError(Exception):
    """The run or a change of it cannot be approved; the message says why."""


def approve(context: SyncContext, run_id: int, change_ids: Collection[int] | None) -> int:
    """Release held changes so that they are applied; returns how many. None means all."""
    with context.session() as session, session.begin():
        rows = _held(session, run_id, change_ids)
        _release(session, context, rows)
        if change_ids is None:
            _trust_report(session, session.get_one(models.SyncRun, run_id))
        return len(rows)


def reopen(context: SyncContext, run_id: int, change_ids: Collection[int] | None) -> int:
    """Approve changes of a run that has ended and mark it as running again.

    Raises NotApprovableError when there is no such run or nothing to approve, when a change is
    not held, or when a newer run asks for something else at the same place.
    """
    with context.session() as session, session.begin():
        run = session.get(models.SyncRun, run_id)
        if run is None:
            raise NotApprovableError(f"There is no run {run_id}. Nothing was changed.")
        held = _held(session, run_id, change_ids)
        planned = _planned(session, run, change_ids)
        _check_chosen(run_id, [*held, *planned], change_ids)
        for row in (*held, *planned):
            _refuse_outdated(session, row)
        if run.state is RunState.PLANNED and change_ids is not None:
            _leave_out(session, context, run_id, change_ids)
        _release(session, context, held)
        if change_ids is None:
            _trust_report(session, run)
        run.state = RunState.RUNNING
        run.message = run.ended_at = None
        return len(held) + len(planned)


def _held(session: Session, run_id: int, change_ids: Collection[int] | None) -> list[models.Change]:
    """The held changes chosen, with all that share a group: half a move must not be applied."""
    held = list(
        session.scalars(
            sa.select(models.Change)
            .where(models.Change.run_id == run_id, models.Change.state == ChangeState.HELD)
            .order_by(models.Change.id)
        )
    )
    if change_ids is None:
        return held
    groups = {row.group for row in held if row.id in change_ids and row.group}
    return [row for row in held if row.id in change_ids or row.group in groups]


def _planned(
    session: Session, run: models.SyncRun, change_ids: Collection[int] | None
) -> list[models.Change]:
    """The changes of a preview that were not held, as far as they were chosen."""
    if run.state is not RunState.PLANNED:
        return []
    rows = session.scalars(
        sa.select(models.Change).where(
            models.Change.run_id == run.id, models.Change.state == ChangeState.PLANNED
        )
    )
    return [row for row in rows if change_ids is None or row.id in change_ids]


def _check_chosen(
    run_id: int, rows: Collection[models.Change], change_ids: Collection[int] | None
) -> None:
    missing = sorted(set(change_ids or ()) - {row.id for row in rows})
    if missing:
        names = ", ".join(str(m) for m in missing)
        raise NotApprovableError(
            f"Run {run_id} has no change {names} that waits for approval. Nothing was changed."
        )
    if not rows:
        raise NotApprovableError(
            f"Run {run_id} has no change that waits for approval. Nothing was changed."
        )


def _refuse_outdated(session: Session, row: models.Change) -> None:
    """A newer plan that asks for another number at the same place has the last word."""
    newer = session.scalar(
        sa.select(models.Change)
        .where(
            models.Change.run_id > row.run_id,
            models.Change.agreement_id == row.agreement_id,
            models.Change.catalog_item_id == row.catalog_item_id,
            models.Change.after != row.after,
        )
        .order_by(models.Change.id.desc())
        .limit(1)
    )
    if newer is not None and row.agreement_id is not None:
        raise NotApprovableError(
            f"Change {row.id} is outdated: run {newer.run_id} asks for another quantity at the "
            "same place. Nothing was changed; approve it there."
        )


def _leave_out(
    session: Session, context: SyncContext, run_id: int, change_ids: Collection[int]
) -> None:
    """Of a preview only what was chosen is applied; what it needs first comes along."""
    chosen = list(session.scalars(sa.select(models.Change).where(models.Change.id.in_(change_ids))))
    needed = {row.new_identifier for row in chosen if row.new_identifier}
    groups = {row.group for row in chosen if row.group}
    others = session.scalars(
        sa.select(models.Change).where(
            models.Change.run_id == run_id,
            models.Change.state == ChangeState.PLANNED,
            models.Change.id.not_in(change_ids),
        )
    )
    for row in others:
        makes_needed = row.agreement_id is None and row.new_identifier in needed
        if not makes_needed and row.group not in groups:
            row.state, row.error = ChangeState.SKIPPED, "Not chosen."
            row.settled_at = context.now()


def _release(session: Session, context: SyncContext, rows: Collection[models.Change]) -> None:
    for row in rows:
        row.state = ChangeState.PLANNED
        row.approved_by = context.actor
        audit.record(
            session,
            at=context.now(),
            actor=context.actor,
            action="change.approve",
            subject=f"change {row.id}",
            after={"held": row.held, "why": row.reason},
            run_id=row.run_id,
        )


def _trust_report(session: Session, run: models.SyncRun) -> None:
    """Who approves a plan that was held as a whole vouches for its report."""
    if run.report_id is not None:
        session.get_one(models.UsageReport, run.report_id).trusted = True
