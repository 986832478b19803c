"""The scheduler: a thread of the web process that starts runs when their slot is due.

Of several processes one leads: whoever holds the lock "scheduler", which dies with its process.
The others try again every few seconds. What is due and what came of it stands in the database, so
that nothing depends on this process living on.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

import models
from models import SlotState
from services.database import AlreadyLockedError, StillHeld, exclusive
from services.installation import Installation
from services.runs.jobs import Jobs, mark_dead_runs
from services.scheduling import scheduled_run, slots
from services.scheduling.schedule_state import SchedulerState, state
from services.scheduling.slots import Outcome, heartbeat
from services.settings import AppSettings, load_settings

__all__ = ["BEAT", "Scheduler", "SchedulerState", "heartbeat", "state"]

logger = logging.getLogger("tallybridge.scheduler")

BEAT = 5.0
"""Seconds between two looks at the clock, and between two tries to lead."""

_PATIENCE_WITH_CHORES = 5.0
Chore = Callable[[Installation, dt.datetime], object]
"""Small work for the process that leads, about once a minute; it decides itself what is due."""


class Scheduler:
    """One for each process; `start` it once its worker is up, `stop` it before the worker ends.

    `chores` run one after the other beside the beat, so that none can delay a run; one that fails
    is logged and does not keep the others from their turn.
    """

    def __init__(
        self,
        installation: Installation,
        jobs: Jobs,
        *,
        beat: float = BEAT,
        chores: Sequence[Chore] = (),
    ) -> None:
        self._installation = installation
        self._jobs = jobs
        self._chores = chores
        self._chores_thread: threading.Thread | None = None
        self._seconds = beat
        self._beats = _Beats(beat)
        self._lead: ExitStack | None = None
        self._still_held: StillHeld = lambda: False
        self._thread: threading.Thread | None = None
        self._carried_out: int | None = None
        self._trouble = ""

    def start(self) -> None:
        """Begin to beat, in the background."""
        self._beats.add_job(
            self.beat,
            "interval",
            seconds=self._seconds,
            next_run_time=dt.datetime.now(dt.UTC),
            coalesce=True,
            max_instances=1,
            misfire_grace_time=None,  # however late it is: look now
        )
        self._beats.start()

    def stop(self) -> None:
        """Begin nothing more, let a run come to its next safe point, and give up the lead.

        Waits for that: as long as the call to a vendor takes that is under way.
        """
        self._jobs.stop()
        self._beats.shutdown()
        if self._chores_thread is not None:
            self._chores_thread.join(_PATIENCE_WITH_CHORES)
        if self._thread is not None:
            self._thread.join()
        self._jobs.join()
        self._give_up_lead()

    def beat(self) -> None:
        """One look: lead if nobody else does, claim what is due, begin what waits.

        Whatever goes wrong is logged, and the next look tries again.
        """
        try:
            if self._leads():
                self._look()
        except IntegrityError:
            logger.info("another process claimed the slot")
        except (SQLAlchemyError, OSError) as error:
            self._say_once(f"the schedule cannot be looked at: {type(error).__name__}")
        except Exception:  # the end of a thread: there is nobody above to tell
            logger.exception("the schedule could not be looked at")
        else:
            self._trouble = ""

    def _say_once(self, trouble: str) -> None:
        """A database that is away for an hour is one line in the log, and not a thousand."""
        if trouble != self._trouble:
            logger.warning("%s; it is tried again every few seconds", trouble)
        self._trouble = trouble

    # --- leading --------------------------------------------------------------------------------

    def _leads(self) -> bool:
        if self._lead is not None:
            if self._still_held():
                return True
            logger.warning("the scheduler's lock was lost; another process may lead now")
            self._give_up_lead()
            return False
        stack, engine = ExitStack(), self._installation.engine
        try:
            self._still_held = stack.enter_context(exclusive(engine, "scheduler"))
        except AlreadyLockedError:
            return False
        self._lead = stack
        logger.info("this process leads the schedule")
        return True

    def _give_up_lead(self) -> None:
        lead, self._lead = self._lead, None
        if lead is not None:
            lead.close()

    # --- one look -------------------------------------------------------------------------------

    def _look(self) -> None:
        now, settings = self._installation.now(), self._installation.settings()
        self._settle_orphans(settings, now)
        with self._installation.reading() as session:
            quiet = slots.quiet(session, settings, now)
        if not quiet:
            with self._installation.session() as session, session.begin():
                slots.look(session, settings, now)
            mark_dead_runs(self._installation)
            self._begin_chores(now)
        if not self._is_busy():
            self._begin_next(now)

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _begin_chores(self, now: dt.datetime) -> None:
        if self._chores_thread is not None and self._chores_thread.is_alive():
            return
        self._chores_thread = threading.Thread(
            target=self._do_chores, args=(now,), name="chores", daemon=True
        )
        self._chores_thread.start()

    def _do_chores(self, now: dt.datetime) -> None:
        for chore in self._chores:
            if self._jobs.why_stop():
                return
            try:
                chore(self._installation, now)
            except Exception:  # the end of a thread: there is nobody above to tell
                logger.exception("a chore failed")

    def _settle_orphans(self, settings: AppSettings, now: dt.datetime) -> None:
        """Slots of a process that died, or whose outcome could not be stored."""
        carried_out = self._carried_out if self._is_busy() else None
        with self._installation.reading() as session:
            if not slots.has_orphans(session, but=carried_out):
                return
        mark_dead_runs(self._installation)
        with self._installation.session() as session, session.begin():
            slots.settle_orphans(session, now, but=carried_out)
            slots.close_outdated(session, settings, now)

    def _begin_next(self, now: dt.datetime) -> None:
        if self._jobs.why_stop():
            return
        with self._installation.reading() as session:
            if not slots.something_waits(session, now):
                return
        with self._installation.session() as session, session.begin():
            slot = slots.take(session, now)
            self._carried_out = slot.id if slot else None
        if slot is not None:
            self._thread = threading.Thread(
                target=self._carry_out, args=(slot,), name="scheduled run"
            )
            self._thread.start()

    def _carry_out(self, slot: models.ScheduledSlot) -> None:
        """If the outcome cannot be stored, the slot is an orphan, and the next look settles it."""
        logger.info("%s: begun, try %s", slot.key, slot.attempts)
        try:
            outcome = scheduled_run.carry_out(self._installation, self._jobs, slot)
        except Exception:  # the end of a thread: there is nobody above to tell
            logger.exception("%s: ended unexpectedly", slot.key)
            outcome = Outcome(SlotState.FAILED, "Something went wrong here; it is in the log.")
        try:
            with self._installation.session() as session, session.begin():
                now = self._installation.now()
                slots.settle(session, slot.id, outcome, now)
                session.flush()
                settings = load_settings(session, self._installation.locked_settings())
                slots.close_outdated(session, settings, now)
        except SQLAlchemyError as error:
            logger.warning("%s: its outcome could not be stored: %s", slot.key, error)
        finally:
            self._carried_out = None
        logger.info("%s: %s. %s", slot.key, outcome.state.value, outcome.message or "")


class _Beats(BackgroundScheduler):  # type: ignore[misc]
    """APScheduler, but unmoved when somebody sets the clock.

    It waits for an instant by the clock on the wall. Set back by an hour it would sleep for one,
    and set forward from 1970, as machines without a battery are, it would count every beat since.
    """

    def __init__(self, beat: float) -> None:
        super().__init__(timezone=dt.UTC)
        self._beat = beat

    def _process_jobs(self) -> float:
        now = dt.datetime.now(dt.UTC)
        for job in self.get_jobs():
            if abs((job.next_run_time - now).total_seconds()) > 2 * self._beat:
                with contextlib.suppress(JobLookupError):  # it is being shut down
                    job.modify(next_run_time=now)
        return min(super()._process_jobs() or 0.0, self._beat)
