"""The only conductor: gather -> desired -> plan -> guard -> store -> apply -> record.

`preview` plans, `run` plans and applies, `approve` applies what was held, `undo` plans the way
back. Each holds the one lock of sync runs, and first settles what an earlier crash left open.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import sqlalchemy as sa

import models
from models import ChangeState, RunState
from services.clients.errors import VendorError
from services.context import StoppedError, SyncContext
from services.database import AlreadyLockedError, exclusive
from services.journal import confirm, skip_planned, store_plan
from services.logs import during
from services.runs import approvals, doubts, reconciliation, reports, reversal
from services.runs.apply import apply_run
from services.runs.gather import Gathered, gather, newest_report
from services.runs.recovery import mark_interrupted, recover, settle_open_intents
from services.sync.desired import DesiredState, desired_additions
from services.sync.fingerprint import fingerprint
from services.sync.guard import guard
from services.sync.model import FindingKind, Month, OwnedAddition, Plan, Situation
from services.sync.plan import compute_plan

logger = logging.getLogger("tallybridge.sync")


class RunRefusedError(Exception):
    """The run did not begin, or may not do what was asked. Nothing was changed."""


OnStart = Callable[[int], None]
"""Told the id of the run as soon as it is stored as running; what comes after may take long."""


def _nobody_waits(run_id: int) -> None:
    """For those who only want the result."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """The run that was stored, and what there is to say about it beyond its changes.

    `error` is what a vendor did that ended it early.
    """

    run_id: int
    notes: tuple[str, ...] = ()
    error: VendorError | None = None


def preview(
    context: SyncContext,
    month: Month | None = None,
    *,
    whole: bool = False,
    on_start: OnStart = _nobody_waits,
) -> RunResult:
    """Plan a month and store the plan; nothing is written to either vendor.

    `whole` also reads the agreements of customers whose sync is off, to compare what they bill.
    """
    with _begun(context, month, on_start=on_start) as begun:
        context = begun.context
        _settle_earlier(context, begun)
        if _plan(context, begun, month, whole=whole) is not None:
            _finish(context, begun.run_id, RunState.PLANNED)
    return begun.result


def run(
    context: SyncContext,
    month: Month | None = None,
    *,
    approve_all: bool = False,
    on_start: OnStart = _nobody_waits,
) -> RunResult:
    """Plan a month and apply the plan. What is held waits, unless all was approved beforehand."""
    with _begun(context, month, on_start=on_start) as begun:
        context = begun.context
        _settle_earlier(context, begun)
        gathered = _plan(context, begun, month)
        if gathered is None:
            return begun.result
        if gathered.settings.read_only:
            _finish(context, begun.run_id, RunState.PLANNED, _READ_ONLY)
            return begun.result
        if approve_all:
            approvals.approve(context, begun.run_id, None)
        confirm(context, begun.confirmed)
        begun.error = _apply(context, begun.run_id, read_at=gathered.read_at)
    return begun.result


def approve(
    context: SyncContext,
    run_id: int,
    change_ids: Collection[int] | None,
    *,
    on_start: OnStart = _nobody_waits,
) -> RunResult:
    """Apply held changes of a stored run, as reviewed; None approves all of them.

    Of a preview, the other planned changes are applied too when all are approved. Raises
    RunRefusedError when the run, or one of the changes, is not there to be approved.
    """
    with _locked(context) as guarded:
        notes = _recovered(context)
        if context.settings().read_only:
            raise RunRefusedError("Read-only is switched on. Nothing was written; switch it off.")
        try:
            chosen = approvals.reopen(context, run_id, change_ids)
        except approvals.NotApprovableError as error:
            raise RunRefusedError(str(error)) from None
        with _failing_into(context, run_id):
            on_start(run_id)
            _apply(guarded, run_id, read_at=None, only=chosen)
    return RunResult(run_id, notes)


def undo(
    context: SyncContext,
    run_id: int,
    *,
    plan_only: bool = False,
    on_start: OnStart = _nobody_waits,
) -> RunResult:
    """Plan and apply the way back to what stood before a run, with the same guard rails.

    With `plan_only` nothing is written: a person reviews the way back and approves it.
    """
    with _begun(context, None, undo_of=run_id, on_start=on_start) as begun:
        context = begun.context
        _settle_earlier(context, begun)
        read_at = context.now()
        situation, plan = reversal.plan_reversal(context, run_id)
        settings = context.settings()
        guarded = guard(
            plan,
            settings.rules,
            managed=sum(1 for o in situation.owned if not o.ended_by_us),
            tenants_now=(),
            tenants_before=(),
        )
        _store(context, begun.run_id, guarded, situation, report_id=None)
        if plan_only:
            _finish(context, begun.run_id, RunState.PLANNED)
        elif settings.read_only:
            _finish(context, begun.run_id, RunState.PLANNED, _READ_ONLY)
        else:
            _apply(context, begun.run_id, read_at=read_at)
    return begun.result


_READ_ONLY = "Read-only is switched on: the plan was made, nothing was written."
_NOT_READY = (
    "Sophos has no billing report for {month} yet (reports appear towards the end of the month). "
    "Nothing was written; run again later."
)
_LOST = "The lock that keeps other runs away was lost with its database connection."
_NEVER_READY = (
    "Sophos has no billing report for {month}. Nothing was written; choose another month."
)


# --- the life of a run --------------------------------------------------------------------------


@dataclass(slots=True)
class _Begun:
    context: SyncContext
    run_id: int
    notes: tuple[str, ...]
    error: VendorError | None = None
    confirmed: tuple[OwnedAddition, ...] = ()

    @property
    def result(self) -> RunResult:
        return RunResult(self.run_id, self.notes, self.error)


@contextmanager
def _begun(
    context: SyncContext,
    month: Month | None,
    *,
    undo_of: int | None = None,
    on_start: OnStart = _nobody_waits,
) -> Iterator[_Begun]:
    """A run of its own: lock, mark those that died, store that it runs, and how it failed."""
    with _locked(context) as guarded:
        with context.session() as session:
            if undo_of is not None and (why := reversal.why_no_way_back(session, undo_of)):
                raise RunRefusedError(f"{why} Nothing was changed.")
        run_id, notes = _claim(context, month, undo_of)
        begun = _Begun(guarded, run_id, notes)
        with _failing_into(context, run_id, begun):
            on_start(run_id)
            yield begun


@contextmanager
def _locked(context: SyncContext) -> Iterator[SyncContext]:
    """The context while the lock is held; one that is lost (PostgreSQL) stops what goes on."""
    try:
        with exclusive(context.engine, "sync") as still_held:
            yield replace(
                context, why_stop=lambda: context.why_stop() or (None if still_held() else _LOST)
            )
    except AlreadyLockedError:
        with context.session() as session:
            other = session.scalar(
                sa.select(models.SyncRun).where(models.SyncRun.state == RunState.RUNNING)
            )
        who = f"Run {other.id}, started {other.started_at:%Y-%m-%d %H:%M} UTC," if other else "One"
        raise RunRefusedError(
            f"{who} is running already, and there is only one at a time. Nothing was changed; "
            "wait for it to end and try again."
        ) from None


@contextmanager
def _failing_into(context: SyncContext, run_id: int, begun: _Begun | None = None) -> Iterator[None]:
    """Record on the run what ended it early; a VendorError is told there and not raised."""
    try:
        with during(run=run_id):
            yield
    except StoppedError as stopped:
        words = f"{stopped} What this run had not begun by then was not written."
        _finish(context, run_id, RunState.INTERRUPTED, words)
    except VendorError as error:
        if begun is not None:
            begun.error = error
        logger.warning("run %s failed: %s", run_id, error)
        _finish(context, run_id, RunState.FAILED, f"{error} Nothing was written.")
    except BaseException as error:
        _finish(context, run_id, RunState.FAILED, f"Ended by {type(error).__name__}.")
        raise


def _claim(
    context: SyncContext, month: Month | None, undo_of: int | None
) -> tuple[int, tuple[str, ...]]:
    """Store the run as running; others that still say so have died, because we hold the lock."""
    with context.session() as session, session.begin():
        notes = tuple(mark_interrupted(session, context.now()))
        session.flush()
        run_row = models.SyncRun(
            month=str(month) if month else None,
            trigger=context.trigger,
            actor=context.actor,
            state=RunState.RUNNING,
            undo_of_id=undo_of,
            started_at=context.now(),
        )
        session.add(run_row)
        session.flush()
        return run_row.id, notes


def _settle_earlier(context: SyncContext, begun: _Begun) -> None:
    """What an earlier run left open is settled by reading before anything else is done."""
    for note in settle_open_intents(context):
        begun.notes = (*begun.notes, note)


def _recovered(context: SyncContext) -> tuple[str, ...]:
    """The same before an approval, which has no run of its own to record on how it failed."""
    notes: list[str] = []
    try:
        notes.extend(recover(context))
    except VendorError as error:
        said = " ".join([*notes, str(error)])
        raise RunRefusedError(f"{said} Nothing was approved; try again later.") from None
    return tuple(notes)


def _finish(context: SyncContext, run_id: int, state: RunState, message: str | None = None) -> None:
    with context.session() as session, session.begin():
        run_row = session.get_one(models.SyncRun, run_id)
        run_row.state = state
        run_row.message = message
        run_row.ended_at = context.now()
        if state in (RunState.FAILED, RunState.INTERRUPTED):
            why = "Not tried, because the run ended early."
            skip_planned(session, run_id, why, context.now())
        run_row.sophos_calls += context.sophos.calls
        run_row.connectwise_calls += context.connectwise.calls


# --- planning -----------------------------------------------------------------------------------


def _plan(
    context: SyncContext, begun: _Begun, month: Month | None, *, whole: bool = False
) -> Gathered | None:
    """Gather, plan, guard and store. None when Sophos has no report: the run has ended then."""
    settings = context.settings()
    context.progress("Reading usage from Sophos", 0, 1)
    found, lines = newest_report(context, month, settings)
    with context.session() as session, session.begin():
        session.get_one(models.SyncRun, begun.run_id).month = str(found)
    if lines is None:
        this_month = Month.of(settings.today(context.now()))
        words = _NOT_READY if found >= this_month.previous else _NEVER_READY
        _finish(context, begun.run_id, RunState.NOT_READY, words.format(month=found))
        return None
    context.stop_if_asked()
    gathered = gather(context, found, lines, whole=whole)
    state = desired_additions(gathered.situation)
    with context.session() as session:
        synced, restored = reports.newest_written_month(session), reports.restored_unseen(session)
    plan = guard(
        compute_plan(gathered.situation, state),
        gathered.settings.rules,
        managed=sum(1 for o in gathered.situation.owned if not o.ended_by_us),
        tenants_now=state.tenants_with_usage,
        tenants_before=gathered.trusted_tenants,
        synced=synced,
        month=found,
        restored=restored,
    )
    _trust(context, gathered, state, plan)
    stored = _store(context, begun.run_id, plan, gathered.situation, report_id=gathered.report_id)
    reconciliation.keep(context, begun.run_id, gathered)
    begun.confirmed = stored.confirmed
    return gathered


def _trust(context: SyncContext, gathered: Gathered, state: DesiredState, plan: Plan) -> None:
    """A report that the guard rail finds whole becomes the yardstick for the next ones."""
    shrunk = any(f.kind is FindingKind.REPORT_SHRUNK for f in plan.findings)
    with context.session() as session, session.begin():
        report = session.get_one(models.UsageReport, gathered.report_id)
        report.tenant_ids = sorted(state.tenants_with_usage)
        report.trusted = report.trusted or not shrunk


def _store(
    context: SyncContext, run_id: int, plan: Plan, situation: Situation, *, report_id: int | None
) -> Plan:
    """Keep the plan; returns it with what is in doubt held."""
    with context.session() as session, session.begin():
        plan = doubts.hold_in_doubt(plan, doubts.open_places(session))
        run_row = session.get_one(models.SyncRun, run_id)
        run_row.report_id = report_id
        run_row.fingerprint = fingerprint(plan.changes)
        store_plan(session, run_row, plan, situation)
    return plan


# --- applying -----------------------------------------------------------------------------------


def _apply(
    context: SyncContext,
    run_id: int,
    *,
    read_at: dt.datetime | None,
    only: Collection[int] | None = None,
) -> VendorError | None:
    """Apply what is planned and store how that ended; returns what ended it early, if any."""
    ended_early = apply_run(context, run_id, read_at=read_at, only=only)
    with context.session() as session:
        failed = session.scalar(
            sa.select(sa.func.count())
            .select_from(models.Change)
            .where(
                models.Change.run_id == run_id,
                models.Change.state.in_([ChangeState.FAILED, ChangeState.UNCLEAR]),
            )
        )
    if ended_early is not None:
        _finish(context, run_id, RunState.FAILED, f"Ended early: {ended_early}")
    elif failed:
        noun = "change" if failed == 1 else "changes"
        _finish(context, run_id, RunState.FAILED, f"{failed} {noun} failed; see them for why.")
    else:
        _finish(context, run_id, RunState.SUCCEEDED)
    return ended_early
