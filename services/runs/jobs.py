"""Runs that go on after the page that asked for them was answered.

One process, one run at a time: the lock of sync runs decides, here we only wait until a run is
stored, so that its page can be shown at once.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

import models
from models import RunState
from services.clients.errors import VendorError
from services.connections import NotConfiguredError
from services.context import Progress, SyncContext
from services.database import AlreadyLockedError, exclusive
from services.installation import Installation
from services.runs.recovery import mark_interrupted, open_intents, recover
from services.runs.sync_runs import OnStart, RunRefusedError, RunResult
from services.secrets import WrongKeyError

logger = logging.getLogger("tallybridge.jobs")

Work = Callable[[SyncContext, OnStart], RunResult]
"""What a job does: one of the verbs of services/sync_runs."""

_REFUSALS = (RunRefusedError, VendorError, NotConfiguredError, WrongKeyError)
_STOPPED = "Tallybridge was stopped."
_KEYS_KEPT = 200
_SECONDS_BETWEEN_WRITES = 0.5


class NotConnectedError(RunRefusedError):
    """A vendor cannot be reached with what is configured; the settings are the place to look."""


@dataclass(slots=True)
class _Job:
    begun: threading.Event = field(default_factory=threading.Event)
    run_id: int | None = None
    refusal: RunRefusedError | None = None
    thread: threading.Thread | None = None


class Jobs:
    """The runs that this process was asked for.

    `ending` says whether the process is about to end: then nothing more is begun, and what is under
    way stops after the change that it is at.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        patience: float = 20,
        ending: Callable[[], bool] = lambda: False,
    ) -> None:
        self._installation = installation
        self._patience = patience
        self._ending = ending
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._by_key: OrderedDict[str, _Job] = OrderedDict()

    def start(self, work: Work, *, actor: str, trigger: str, key: str) -> int:
        """Begin a run in the background; returns its id as soon as it is stored as running.

        `key` names the press of a button: pressed twice it is one run. Raises RunRefusedError
        with one sentence when it did not begin; nothing was changed then, and the key is free.
        """
        if self.why_stop():
            raise RunRefusedError(f"{_STOPPED} Nothing was changed; try again in a moment.")
        job, mine = self._claim_key(key)
        if mine:
            job.thread = threading.Thread(
                target=self._carry_out, args=(job, work, actor, trigger), name="sync run"
            )
            job.thread.start()
        if not job.begun.wait(self._patience):
            raise RunRefusedError(
                "The run takes long to begin, because an earlier one is still being settled. "
                "Nothing is lost: look at the list of runs in a moment."
            )
        if job.run_id is None:
            raise job.refusal or RunRefusedError("The run did not begin. Nothing was changed.")
        return job.run_id

    def carry_out(self, work: Work, *, actor: str, trigger: str, on_start: OnStart) -> RunResult:
        """Do a run in this thread. Raises what `work` does, and what keeps it from beginning."""
        recorder = Recorder(self._installation)

        def begun(run_id: int) -> None:
            recorder.watch(run_id)
            on_start(run_id)

        return work(self._context(actor, trigger, recorder), begun)

    def why_stop(self) -> str | None:
        """Why runs are to stop at the next safe point; None while they may go on."""
        return _STOPPED if self._stop.is_set() or self._ending() else None

    def stop(self) -> None:
        """Begin nothing more; what is under way stops after the change that it is at."""
        self._stop.set()

    def join(self) -> None:
        """Wait until nothing that was begun here is under way any more."""
        for job in list(self._by_key.values()):
            if job.thread is not None:
                job.thread.join()

    def _claim_key(self, key: str) -> tuple[_Job, bool]:
        with self._lock:
            if key and key in self._by_key:
                return self._by_key[key], False
            job = _Job()
            self._by_key[key or secrets.token_urlsafe(8)] = job
            while len(self._by_key) > _KEYS_KEPT:
                self._by_key.popitem(last=False)
            return job, True

    def _carry_out(self, job: _Job, work: Work, actor: str, trigger: str) -> None:
        def on_start(run_id: int) -> None:
            job.run_id = run_id
            job.begun.set()

        try:
            self.carry_out(work, actor=actor, trigger=trigger, on_start=on_start)
        except _REFUSALS as error:
            job.refusal = _plainly(error)
        except Exception as error:  # the end of a thread: there is nobody above to tell
            logger.exception("a run ended unexpectedly", exc_info=error)
            job.refusal = RunRefusedError(
                "Something went wrong here; it is in the log. Nothing was changed."
            )
        finally:
            if job.run_id is None:
                self._forget(job)
            job.begun.set()

    def _forget(self, job: _Job) -> None:
        """What never began may be asked for again with the same key."""
        with self._lock:
            for key in [key for key, each in self._by_key.items() if each is job]:
                del self._by_key[key]

    def _context(self, actor: str, trigger: str, progress: Progress) -> SyncContext:
        made = self._installation.context(actor=actor, trigger=trigger, progress=progress)
        return replace(made, why_stop=self.why_stop)


def _plainly(error: Exception) -> RunRefusedError:
    text = str(error) if "Nothing was" in str(error) else f"{error} Nothing was changed."
    kind = RunRefusedError if isinstance(error, RunRefusedError) else NotConnectedError
    return kind(text)


class Recorder:
    """Writes how far a run is to its row, about twice a second, for whoever watches its page."""

    def __init__(
        self, installation: Installation, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._installation = installation
        self._clock = clock
        self._lock = threading.Lock()
        self._run_id: int | None = None
        self._what: str | None = None
        self._written = 0.0

    def watch(self, run_id: int) -> None:
        """From now on the progress told is that of this run."""
        self._run_id = run_id
        self._write(None, 0, 0)

    def __call__(self, what: str, done: int, total: int) -> None:
        """Write this state, unless the last one is fresher than half a second."""
        with self._lock:
            now = self._clock()
            if what == self._what and now - self._written < _SECONDS_BETWEEN_WRITES:
                return
            self._what, self._written = what, now
        self._write(what, done, total)

    def _write(self, what: str | None, done: int, total: int) -> None:
        """A run must not fail because its progress could not be shown."""
        try:
            with self._installation.session() as session, session.begin():
                session.execute(
                    sa.update(models.SyncRun)
                    .where(models.SyncRun.id == self._run_id)
                    .values(progress=what, progress_done=done, progress_total=total)
                )
        except SQLAlchemyError as error:
            logger.warning("progress could not be stored: %s", type(error).__name__)


def mark_dead_runs(installation: Installation) -> None:
    """Mark runs whose process is gone as interrupted. No vendor is asked.

    A living run holds the lock, so its row is never touched.
    """
    with installation.reading() as session:
        if not session.scalar(
            sa.select(sa.exists().where(models.SyncRun.state == RunState.RUNNING))
        ):
            return
    with (
        contextlib.suppress(AlreadyLockedError),
        exclusive(installation.engine, "sync"),
        installation.session() as session,
        session.begin(),
    ):
        mark_interrupted(session, installation.now())


def recover_in_background(installation: Installation) -> threading.Thread:
    """After a start: settle what an earlier process left open, by reading, without waiting."""
    thread = threading.Thread(target=_recover, args=(installation,), name="recovery", daemon=True)
    thread.start()
    return thread


def _recover(installation: Installation) -> None:
    try:
        mark_dead_runs(installation)
        with installation.reading() as session:
            if not open_intents(session):
                return
        context = installation.context(actor="Tallybridge", trigger="start")
        with exclusive(installation.engine, "sync"):
            for note in recover(context):
                logger.info("%s", note)
    except AlreadyLockedError:
        logger.info("a run is under way already; it settles what was open")
    except (*_REFUSALS, SQLAlchemyError) as error:
        logger.warning("what an earlier run left open could not be settled yet: %s", error)
