"""One slot of the schedule carried out: is there anything to do, the run, and what came of it.

What can pass by itself is tried again until the next slot is due; what needs a person is not.
"""

from __future__ import annotations

import datetime as dt
import logging

from sqlalchemy.exc import SQLAlchemyError

import models
from models import RunState, SlotState
from services.clients.errors import VendorError
from services.connections import NotConfiguredError
from services.installation import Installation
from services.runs import reports, sync_runs
from services.runs.gather import newest_report
from services.runs.jobs import Jobs, mark_dead_runs
from services.runs.run_pages import running_run
from services.runs.sync_runs import RunRefusedError, RunResult
from services.scheduling import slots
from services.scheduling.slots import SCHEDULED, Outcome
from services.secrets import WrongKeyError

logger = logging.getLogger("tallybridge.scheduler")

IN_THE_WAY = dt.timedelta(seconds=15)
NOT_READY = dt.timedelta(hours=1)
LATER = dt.timedelta(hours=6)
_HOURLY_TRIES = 24
_FIRST_WAIT = dt.timedelta(minutes=5)

Slot = models.ScheduledSlot


def carry_out(installation: Installation, jobs: Jobs, slot: Slot) -> Outcome:
    """Do what a slot is for, and say what came of it; the slot has been taken by the caller.

    Only what nobody expects is raised: errors of vendors, of the configuration and the database,
    and a run in the way, are outcomes.
    """
    try:
        if told := _in_the_way(installation):
            return told
        if slot.key.startswith("invoice ") and (told := _nothing_new(installation, slot)):
            return told
        if why := jobs.why_stop():
            return Outcome(SlotState.WAITING, _again(why), installation.now(), tried=False)
        return _run(installation, jobs, slot)
    except RunRefusedError as error:
        return _later(installation, str(error))
    except VendorError as error:
        return _failed(slot, str(error), error, installation.now())
    except (NotConfiguredError, WrongKeyError) as error:
        return Outcome(SlotState.FAILED, f"No run was made. {error}")
    except (SQLAlchemyError, OSError) as error:
        logger.warning("%s: the database failed: %s", slot.key, type(error).__name__)
        words = "The database, or its volume, could not be used in the middle; it is in the log."
        return Outcome(SlotState.WAITING, words, installation.now() + wait_after(slot.attempts))


def _in_the_way(installation: Installation) -> Outcome | None:
    """Whether another run is under way: then not even the report is looked at."""
    mark_dead_runs(installation)
    with installation.reading() as session:
        other = running_run(session)
    return _later(installation, f"Run {other.id} is under way.") if other else None


def _later(installation: Installation, why: str) -> Outcome:
    at = installation.now() + IN_THE_WAY
    return Outcome(SlotState.WAITING, why, at, tried=False)


def _nothing_new(installation: Installation, slot: Slot) -> Outcome | None:
    """The look for a new invoice: an outcome when there is none. Writes nothing."""
    context = installation.context(actor=SCHEDULED, trigger=SCHEDULED)
    month, lines = newest_report(context, None, context.settings())
    if lines is None:
        why = f"Sophos has no billing report for {month} or later yet."
        return Outcome(SlotState.WAITING, why, not_ready_until(slot.attempts, installation.now()))
    with installation.reading() as session:
        run_id = reports.written_already(session, month, lines)
    if run_id is None:
        return None
    return Outcome(
        SlotState.DONE,
        f"Sophos' report for {month} is unchanged since run {run_id} wrote it: nothing to do.",
    )


def _run(installation: Installation, jobs: Jobs, slot: Slot) -> Outcome:
    def begun(run_id: int) -> None:
        with installation.session() as session, session.begin():
            slots.note_run(session, slot.id, run_id)

    result = jobs.carry_out(
        lambda context, told: sync_runs.run(context, on_start=told),
        actor=SCHEDULED,
        trigger=SCHEDULED,
        on_start=begun,
    )
    return _told(installation, slot, result)


def _told(installation: Installation, slot: Slot, result: RunResult) -> Outcome:
    now = installation.now()
    with installation.reading() as session:
        run = session.get_one(models.SyncRun, result.run_id)
    message = run.message or ""
    if run.state in (RunState.SUCCEEDED, RunState.PLANNED):
        return Outcome(SlotState.DONE, run.message)
    if run.state is RunState.NOT_READY:
        return Outcome(SlotState.WAITING, message, not_ready_until(slot.attempts, now))
    if run.state is RunState.INTERRUPTED:
        return Outcome(SlotState.WAITING, _again(message), now)
    return _failed(slot, message, result.error, now)


def _failed(slot: Slot, message: str, error: VendorError | None, now: dt.datetime) -> Outcome:
    """Tried again only when the vendor may answer otherwise by then, ever more seldom."""
    if error is None or error.permanent:
        return Outcome(SlotState.FAILED, message)
    return Outcome(SlotState.WAITING, message, now + wait_after(slot.attempts))


def _again(why: str) -> str:
    return f"{why} The scheduled run is made again."


def not_ready_until(attempts: int, now: dt.datetime) -> dt.datetime:
    """When to ask again for a report that is not there: hourly for a day, then every six hours."""
    return now + (NOT_READY if attempts < _HOURLY_TRIES else LATER)


def wait_after(attempts: int) -> dt.timedelta:
    """How long to wait for a vendor that failed for the nth time: 5, 10, 20 minutes ... 6 hours."""
    return min(_FIRST_WAIT * (1 << min(attempts - 1, 10)), LATER)
