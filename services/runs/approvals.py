"""Approving held changes, and opening a stored run again to apply them."""

from __future__ import annotations

import datetime as dt
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


def reopen(context: SyncContext, run_id: int, change_ids: Collection[int] | None) -> frozenset[int]:
    """Approve changes of a run that has ended, and mark it as running again.

    Returns the changes to apply, with what they need first. Raises NotApprovableError when there
    is no such run or nothing to approve, when a change is not held, or when a newer plan does not
    ask for the same.
    """
    with context.session() as session, session.begin():
        run = session.get(models.SyncRun, run_id)
        if run is None:
            raise NotApprovableError(f"There is no run {run_id}. Nothing was changed.")
        held = _held(session, run_id, change_ids)
        planned = _planned(session, run, held, change_ids)
        rows = [*held, *planned]
        _check_chosen(run_id, rows, change_ids)
        _refuse_outdated(session, run_id, rows)
        chosen = frozenset(row.id for row in rows)
        _leave_out(session, context, run_id, chosen)
        _release(session, context, held)
        if change_ids is None:
            _trust_report(session, run)
        run.state = RunState.RUNNING
        run.message = run.ended_at = None
        return chosen


def dismiss(
    session: Session,
    run_id: int,
    change_ids: Collection[int],
    *,
    actor: str,
    now: dt.datetime,
) -> int:
    """Decide that held changes are not applied; returns how many. Nothing is written to a vendor.

    Those that share a group go together. Raises NotApprovableError when one of them does not wait
    any more. The next run plans them again if usage still asks for them.
    """
    rows = _held(session, run_id, change_ids)
    _check_chosen(run_id, rows, change_ids)
    for row in rows:
        row.state, row.error = ChangeState.SKIPPED, f"Dismissed by {actor}."
        row.settled_at = now
        audit.record(
            session,
            at=now,
            actor=actor,
            action="change.dismiss",
            subject=f"change {row.id}",
            after={"held": row.held, "why": row.reason},
            run_id=run_id,
        )
    return len(rows)


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
    session: Session,
    run: models.SyncRun,
    held: Collection[models.Change],
    change_ids: Collection[int] | None,
) -> list[models.Change]:
    """The changes of a preview that were not held: all, or the chosen and what they need first.

    That is the rest of their group, and the product that is to be made for them.
    """
    if run.state is not RunState.PLANNED:
        return []
    rows = list(
        session.scalars(
            sa.select(models.Change)
            .where(models.Change.run_id == run.id, models.Change.state == ChangeState.PLANNED)
            .order_by(models.Change.id)
        )
    )
    if change_ids is None:
        return rows
    chosen = [*held, *(row for row in rows if row.id in change_ids)]
    groups = {row.group for row in chosen if row.group}
    products = {row.new_identifier for row in chosen if row.new_identifier}
    return [
        row
        for row in rows
        if row.id in change_ids
        or row.group in groups
        or (row.agreement_id is None and row.new_identifier in products)
    ]


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


def _refuse_outdated(session: Session, run_id: int, rows: Collection[models.Change]) -> None:
    """The newest plan has the last word.

    Where it asks for another number, or finds all in order, the older change would bill what is
    wrong by now. Plans of the way back count only for themselves.
    """
    newest = session.scalar(
        sa.select(models.SyncRun.id)
        .where(
            models.SyncRun.id > run_id,
            models.SyncRun.fingerprint.is_not(None),
            models.SyncRun.undo_of_id.is_(None),
        )
        .order_by(models.SyncRun.id.desc())
        .limit(1)
    )
    if newest is None:
        return
    asked = {
        _wish(row)
        for row in session.scalars(sa.select(models.Change).where(models.Change.run_id == newest))
    }
    for row in rows:
        if _wish(row) not in asked:
            raise NotApprovableError(
                f"Change {row.id} is outdated: run {newest} was planned later and does not ask for "
                f"it. Nothing was changed; look at run {newest}, or run again."
            )


def _wish(row: models.Change) -> tuple[object, ...]:
    """What a change asks for, and where: the same in two plans when both want the same."""
    if row.agreement_id is None:
        return row.kind, row.product_key
    return row.kind, row.agreement_id, row.catalog_item_id or row.new_identifier, row.after


def _leave_out(
    session: Session, context: SyncContext, run_id: int, chosen: Collection[int]
) -> None:
    """Of a preview only what was chosen is applied."""
    others = session.scalars(
        sa.select(models.Change).where(
            models.Change.run_id == run_id, models.Change.state == ChangeState.PLANNED
        )
    )
    for row in others:
        if row.id not in chosen:
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
