"""After a crash: find runs that died, and settle what they left open, by reading."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

import models
from models import OPEN_INTENTS, ChangeState, RunState
from services.context import SyncContext
from services.journal import settle
from services.readback import resolve
from services.sync.words import number


def recover(context: SyncContext) -> list[str]:
    """Mark dead runs as interrupted and resolve every open intent; one sentence for each.

    Only to be called while holding the lock of sync runs: then a run that says it is running
    has no process any more. Raises VendorError when ConnectWise cannot be read; what is still
    open then stays open.
    """
    told = _mark_interrupted(context)
    for row in _open_intents(context):
        _let_it_arrive(context, row)
        outcome = resolve(context, row)
        with context.session() as session, session.begin():
            settled = settle(session, context, row.id, outcome)
        done = "took effect" if settled.state is ChangeState.APPLIED else "did not take effect"
        told.append(
            f"Run {row.run_id}: the open {row.kind.value} of {number(row.after)} on agreement "
            f"{row.agreement_id} {done}."
            if row.agreement_id
            else f"Run {row.run_id}: making the product {row.new_identifier} {done}."
        )
    return told


def _mark_interrupted(context: SyncContext) -> list[str]:
    with context.session() as session, session.begin():
        dead = list(
            session.scalars(
                sa.select(models.SyncRun).where(models.SyncRun.state == RunState.RUNNING)
            )
        )
        for run in dead:
            run.state = RunState.INTERRUPTED
            run.ended_at = context.now()
            run.message = "Its process ended in the middle; what it had not begun was not written."
            session.execute(
                sa.update(models.Change)
                .where(models.Change.run_id == run.id, models.Change.state == ChangeState.PLANNED)
                .values(
                    state=ChangeState.SKIPPED,
                    error="Not tried: the run was interrupted before.",
                    settled_at=context.now(),
                )
            )
    return [f"Run {run.id} was interrupted; it is settled now by reading." for run in dead]


def _open_intents(context: SyncContext) -> Iterable[models.Change]:
    with context.session() as session:
        return list(
            session.scalars(
                sa.select(models.Change)
                .where(models.Change.state.in_(OPEN_INTENTS))
                .order_by(models.Change.id)
            )
        )


def _let_it_arrive(context: SyncContext, row: models.Change) -> None:
    """A request that was under way when we died may still be at work in ConnectWise."""
    wait = max(context.settle_seconds, default=0)
    if row.intended_at is not None:
        wait -= (context.now() - row.intended_at).total_seconds()
    if wait > 0:
        context.sleep(wait)
