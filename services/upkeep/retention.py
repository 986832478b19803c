"""What is kept for how long: old details are removed, but nothing that anybody still needs.

Never removed: the audit, every run with its outcome, and mappings. Removed are the changes and
findings of old runs, and the usage lines of old reports. Age is counted from the newest run and
report, never from the clock alone: a clock that is wrong must not remove anything.
"""

from __future__ import annotations

import calendar
import datetime as dt
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS, ChangeState, RunState
from services.database import exclusive
from services.runs.run_pages import DETAILS_REMOVED
from services.settings import Retention

RUNS_ALWAYS_KEPT = 10
SHORT_LIVED = dt.timedelta(days=30)
"""Sign-ins that are long over, and failed attempts to sign in."""
TOLD = dt.timedelta(days=400)
"""Slots that are over and notices that were sent: longer than any of them can come again."""
_REFRESHES_KEPT = 50
_NO_DIGEST = ""


@dataclass(slots=True)
class Purged:
    """How much was removed."""

    runs: int = 0
    changes: int = 0
    reports: int = 0
    lines: int = 0
    others: int = 0

    def __str__(self) -> str:
        return (
            f"{self.changes} changes of {self.runs} old runs, {self.lines} usage lines of "
            f"{self.reports} old reports and {self.others} other rows were removed."
        )


def purge(engine: Engine, settings: Retention, *, now: dt.datetime) -> Purged:
    """Remove what the settings let go of, in short transactions.

    Raises AlreadyLockedError while a sync run is going on; nothing was removed then.
    """
    done = Purged()
    with exclusive(engine, "sync"):
        _purge_runs(engine, settings.runs_months, now, done)
        _purge_reports(engine, settings.usage_months, done)
        _purge_short_lived(engine, now, done)
    return done


# --- runs ---------------------------------------------------------------------------------------


def _purge_runs(engine: Engine, months: int | None, now: dt.datetime, done: Purged) -> None:
    if months is None:
        return
    with Session(engine) as session:
        old = runs_to_purge(session, months, now=now)
    for run_id in old:
        with Session(engine) as session, session.begin():
            done.changes += _deleted(session, models.Change, models.Change.run_id == run_id)
            _deleted(session, models.Finding, models.Finding.run_id == run_id)
            run = session.get_one(models.SyncRun, run_id)
            told = f"{DETAILS_REMOVED}{now.date()}, as old as the retention settings say."
            run.message = f"{run.message} {told}" if run.message else told
            run.report_id = None  # without its changes it proves no more that all of it was written
            done.runs += 1


def runs_to_purge(session: Session, months: int, *, now: dt.datetime) -> list[int]:
    """The runs whose changes and findings nobody needs any more, the oldest first."""
    run = models.SyncRun
    newest = session.scalar(sa.select(sa.func.max(run.started_at)))
    if newest is None:
        return []
    before = months_before(min(newest, now), months)
    details = sa.or_(
        sa.exists().where(models.Change.run_id == run.id),
        sa.exists().where(models.Finding.run_id == run.id),
    )
    old = session.scalars(
        sa.select(run.id)
        .where(run.started_at < before, run.state != RunState.RUNNING, details)
        .order_by(run.id)
    ).all()
    needed = _needed_runs(session)
    return [run_id for run_id in old if run_id not in needed]


def _needed_runs(session: Session) -> frozenset[int]:
    """Runs of any age that something still rests on."""
    run, change = models.SyncRun, models.Change
    needed: set[int | None] = set()
    # What people look at first, and what an approval of an older run is compared with.
    needed.update(
        session.scalars(sa.select(run.id).order_by(run.id.desc()).limit(RUNS_ALWAYS_KEPT))
    )
    planned = sa.and_(run.fingerprint.is_not(None), run.undo_of_id.is_(None))
    needed.add(session.scalar(sa.select(sa.func.max(run.id)).where(planned)))
    # What waits for a person, and what may still arrive in ConnectWise.
    waiting = change.state.in_((ChangeState.HELD, *OPEN_INTENTS))
    needed.update(session.scalars(sa.select(change.run_id).where(waiting).distinct()))
    # The last word on each addition that we own explains the number that stands there.
    owned = sa.select(models.OwnedAddition.addition_id)
    last = (
        sa.select(sa.func.max(change.id))
        .where(change.state == ChangeState.APPLIED, change.addition_id.in_(owned))
        .group_by(change.addition_id)
    )
    needed.update(session.scalars(sa.select(change.run_id).where(change.id.in_(last)).distinct()))
    # The newest month that was written: older ones are held as a whole.
    needed.update(_witnesses_of_the_newest_month(session))
    # To undo means to look at what was done.
    undone = session.scalars(sa.select(run.undo_of_id).where(run.id.in_(needed - {None})))
    needed.update(undone)
    return frozenset(number for number in needed if number is not None)


def _witnesses_of_the_newest_month(session: Session) -> Collection[int]:
    run = models.SyncRun
    applied = sa.exists().where(
        models.Change.run_id == run.id, models.Change.state == ChangeState.APPLIED
    )
    wrote = sa.and_(run.undo_of_id.is_(None), sa.or_(run.state == RunState.SUCCEEDED, applied))
    newest = sa.select(sa.func.max(run.month)).where(wrote).scalar_subquery()
    return session.scalars(sa.select(run.id).where(wrote, run.month == newest)).all()


# --- reports ------------------------------------------------------------------------------------


def _purge_reports(engine: Engine, months: int | None, done: Purged) -> None:
    if months is None:
        return
    with Session(engine) as session:
        old = reports_to_purge(session, months)
        yardsticks = _yardsticks(session)
    for report_id in old:
        with Session(engine) as session, session.begin():
            lines = _deleted(session, models.UsageLine, models.UsageLine.report_id == report_id)
            done.lines += lines
            done.reports += 1
            if report_id in yardsticks:
                # Who its customers were is still compared with. Read again, it is another report:
                # this one has no lines to show any more.
                session.get_one(models.UsageReport, report_id).fingerprint = _NO_DIGEST
                continue
            session.execute(
                sa.update(models.SyncRun)
                .where(models.SyncRun.report_id == report_id)
                .values(report_id=None)
            )
            _deleted(session, models.UsageReport, models.UsageReport.id == report_id)


def reports_to_purge(session: Session, months: int) -> list[int]:
    """The reports whose lines nobody needs any more.

    Kept are all of the newest `months` months that were read, and those of every run that still
    has its changes or findings.
    """
    report, run = models.UsageReport, models.SyncRun
    recent = sa.select(report.month).distinct().order_by(report.month.desc()).limit(months)
    kept_months = session.scalars(recent).all()
    details = sa.or_(
        sa.exists().where(models.Change.run_id == run.id),
        sa.exists().where(models.Finding.run_id == run.id),
        run.id.in_(_needed_runs(session)),
    )
    used = session.scalars(
        sa.select(run.report_id).where(run.report_id.is_not(None), details).distinct()
    ).all()
    return list(
        session.scalars(
            sa.select(report.id)
            .where(
                report.month.not_in(kept_months),
                report.id.not_in(used),
                report.fingerprint != _NO_DIGEST,
            )
            .order_by(report.id)
        )
    )


def _yardsticks(session: Session) -> frozenset[int]:
    """The newest trusted report of each month, with which later ones are compared."""
    report = models.UsageReport
    newest = sa.select(sa.func.max(report.id)).where(report.trusted).group_by(report.month)
    return frozenset(session.scalars(newest))


# --- what lives shortly -------------------------------------------------------------------------


def _purge_short_lived(engine: Engine, now: dt.datetime, done: Purged) -> None:
    session_row, attempt = models.LoginSession, models.LoginAttempt
    slot, notice = models.ScheduledSlot, models.Notice
    over = slot.state.in_((models.SlotState.DONE, models.SlotState.FAILED, models.SlotState.MISSED))
    refresh = models.DirectoryRefresh
    newest = sa.select(refresh.id).order_by(refresh.id.desc()).limit(_REFRESHES_KEPT)
    last_done = sa.select(sa.func.max(slot.id)).where(slot.state == models.SlotState.DONE)
    good = sa.select(sa.func.max(refresh.id)).where(
        refresh.error.is_(None), refresh.ended_at.is_not(None)
    )
    with Session(engine) as session, session.begin():
        for model, condition in (
            (session_row, session_row.last_seen_at < now - SHORT_LIVED),
            (attempt, attempt.at < now - SHORT_LIVED),
            (slot, sa.and_(slot.due_at < now - TOLD, over, slot.id.not_in(last_done))),
            # Those about a run only: what is not mapped is not told a second time next year.
            (notice, sa.and_(notice.sent_at < now - TOLD, notice.run_id.is_not(None))),
            (refresh, sa.and_(refresh.id.not_in(newest), refresh.id.not_in(good),
                              refresh.ended_at.is_not(None))),
        ):  # fmt: skip
            done.others += _deleted(session, model, condition)


def months_before(instant: dt.datetime, months: int) -> dt.datetime:
    """The same moment so many calendar months earlier, on the last day of a shorter month."""
    count = instant.year * 12 + instant.month - 1 - months
    year, month = divmod(count, 12)
    day = min(instant.day, calendar.monthrange(year, month + 1)[1])
    return instant.replace(year=year, month=month + 1, day=day)


def _deleted(session: Session, model: type[models.Base], condition: sa.ColumnElement[bool]) -> int:
    result = session.execute(
        sa.delete(model).where(condition).execution_options(synchronize_session=False)
    )
    count: int = result.rowcount  # type: ignore[attr-defined]
    return count
