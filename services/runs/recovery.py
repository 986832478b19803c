"""After a crash: find runs that died, and settle what they left open, by reading."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS, ChangeState, RunState
from services.clients.errors import (
    IncompleteListing,
    NotFound,
    PermissionDenied,
    Rejected,
    UnexpectedResponse,
)
from services.context import SyncContext
from services.journal import settle, skip_planned
from services.runs.readback import resolve
from services.sync.model import ChangeKind
from services.sync.words import number

_ABOUT_ONE_AGREEMENT = (
    NotFound, Rejected, PermissionDenied, UnexpectedResponse, IncompleteListing
)  # fmt: skip
"""Errors that need not concern the other customers; whether they do, gathering finds out."""


def recover(context: SyncContext) -> Iterator[str]:
    """Mark dead runs as interrupted and resolve every open intent; yields a sentence for each.

    Only to be called while holding the lock of sync runs: then a run that says it is running
    has no process any more. Raises VendorError when ConnectWise cannot be read; what is still
    open then stays open.
    """
    with context.session() as session, session.begin():
        told = mark_interrupted(session, context.now())
    yield from told
    yield from settle_open_intents(context)


def settle_open_intents(context: SyncContext) -> Iterator[str]:
    """Resolve every open intent by reading; yields a sentence for each. Raises VendorError.

    What may still arrive, and what alone cannot be read, stays open: see doubts.py.
    """
    with context.session() as session:
        rows = open_intents(session)
    _let_them_arrive(context, rows)
    for row in rows:
        what = (
            f"Run {row.run_id}: the open {row.kind.value} of {number(row.after)} on agreement "
            f"{row.agreement_id}"
            if row.agreement_id
            else f"Run {row.run_id}: making the product {row.new_identifier}"
        )
        try:
            outcome = resolve(context, row)
        except _ABOUT_ONE_AGREEMENT as error:
            yield f"{what} could not be settled, so nothing more is written there. {error}"
            continue
        if outcome.state is not ChangeState.APPLIED and _may_still_arrive(context, row):
            yield f"{what} was not found, but may still arrive; nothing more is written there yet."
            continue
        with context.session() as session, session.begin():
            settled = settle(session, context, row.id, outcome)
        done = "took effect" if settled.state is ChangeState.APPLIED else "did not take effect"
        yield f"{what} {done}."


def mark_interrupted(session: Session, now: dt.datetime) -> list[str]:
    """Mark runs that died as such, within the caller's transaction; one sentence for each.

    Only to be called while holding the lock of sync runs. No vendor is asked.
    """
    dead = list(
        session.scalars(sa.select(models.SyncRun).where(models.SyncRun.state == RunState.RUNNING))
    )
    for run in dead:
        run.state = RunState.INTERRUPTED
        run.ended_at = now
        run.message = "Its process ended in the middle; what it had not begun was not written."
        skip_planned(session, run.id, "Not tried: the run was interrupted before.", now)
    return [f"Run {run.id} was interrupted; it is settled now by reading." for run in dead]


def open_intents(session: Session) -> list[models.Change]:
    """The changes whose call may have gone out, and whose outcome is not known yet."""
    open_ones = sa.select(models.Change).where(models.Change.state.in_(OPEN_INTENTS))
    return list(session.scalars(open_ones.order_by(models.Change.id)))


def _let_them_arrive(context: SyncContext, rows: Iterable[models.Change]) -> None:
    """A request that was under way when we gave up, or died, may still be at work in ConnectWise.

    When we died nobody knows, so after a crash the wait begins now.
    """
    wait = max((_time_left(context, row) for row in rows), default=0)
    if wait > 0:
        context.progress("Waiting for a doubtful request of an earlier run", 0, 1)
        context.sleep(wait)


def _time_left(context: SyncContext, row: models.Change) -> float:
    """For how many seconds the effect of an open intent may still appear."""
    if row.settled_at is None:
        return context.crash_wait
    if row.kind is not ChangeKind.CREATE:
        return 0
    # A clock that was set back since must not make us wait for hours: it was sent before now.
    left = min(context.late_arrival, context.late_arrival - (context.now() - row.settled_at))
    return left.total_seconds()


def _may_still_arrive(context: SyncContext, row: models.Change) -> bool:
    """Whether a create whose answer we waited for in vain is young enough to come after all.

    One of a process that died was not waited for: the short wait above has to do.
    """
    return (
        row.kind is ChangeKind.CREATE
        and row.state is ChangeState.UNCLEAR
        and row.settled_at is not None
        and context.now() - row.settled_at < context.late_arrival
    )
