"""The slots of the schedule as they are claimed, taken, settled and missed, in the database.

A slot is one row with a unique key, so whoever inserts it has it. It is inserted waiting, and taken
by a conditional change: a process that dies in between has lost nothing.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

import models
from models import RunState, SlotState
from services.scheduling.schedule import Slot, signature, slots_between
from services.settings import AppSettings

LOOKED = "scheduler"
"""The marker of the instant up to which slots were looked for."""
HEARTBEAT = "scheduler heartbeat"
SCHEDULED = "schedule"
"""The trigger, and the actor, of runs that the schedule starts."""

_NEVER_SET = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""A clock that shows an earlier time was never set: it knows nothing about what is yet to come."""
MADE_UP_WITHIN = dt.timedelta(days=7)
MISSED_KEPT = 31
_ONE_DAY = dt.timedelta(days=1)
_ONE_MINUTE = dt.timedelta(minutes=1)
_ONE_SECOND = dt.timedelta(seconds=1)
_TAKES_WITHOUT_A_RUN = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a slot, in words; `retry_at` only of one that waits.

    What was not even tried does not count among its `attempts`.
    """

    state: SlotState
    message: str | None = None
    retry_at: dt.datetime | None = None
    tried: bool = True


# --- what is due --------------------------------------------------------------------------------


def quiet(session: Session, settings: AppSettings, now: dt.datetime) -> bool:
    """Whether there is nothing to write down: no slot is due, and the heartbeat is fresh."""
    looked, beat = session.get(models.Marker, LOOKED), heartbeat(session)
    if looked is None or beat is None or looked.number != signature(settings):
        return False
    fresh = dt.timedelta(0) <= now - beat < _ONE_MINUTE
    return fresh and not slots_between(settings, looked.at, now)


def look(session: Session, settings: AppSettings, now: dt.datetime) -> None:
    """Claim the newest slot that has become due, and record older ones as missed.

    What was due before the schedule was set as it is now, or before the first look, is no slot of
    ours. In the caller's transaction; raises IntegrityError when another process was faster.
    """
    _mark(session, HEARTBEAT, now)
    looked = session.get(models.Marker, LOOKED)
    if looked is None:
        session.add(models.Marker(name=LOOKED, number=signature(settings), at=now))
        return
    if looked.at - now > _ONE_DAY and now > _NEVER_SET:
        _forget_the_future(session, now)
    since = _since(session, settings, looked, now)
    _close_waiting_of_another_schedule(session, settings, looked, now)
    _claim(session, slots_between(settings, since, now), now)
    looked.at = max(since, now)
    looked.number = signature(settings)


def _since(
    session: Session, settings: AppSettings, looked: models.Marker, now: dt.datetime
) -> dt.datetime:
    """From when on to look. The marker never moves back, unless the clock was far ahead."""
    if looked.at - now > _ONE_DAY:
        return now
    changed_at = _schedule_changed_at(session, looked.at, now)
    if changed_at is not None:
        return changed_at
    return looked.at if looked.number == signature(settings) else now


def _forget_the_future(session: Session, now: dt.datetime) -> None:
    """What a clock that was far ahead claimed is yet to come, and must be free to be claimed then.

    A slot whose run it began gets another name, because that run goes on.
    """
    slot = models.ScheduledSlot
    for row in session.scalars(sa.select(slot).where(slot.due_at > now)):
        if row.state is SlotState.RUNNING:
            row.key, row.due_at = f"{row.key} #{row.id}", now
        else:
            session.delete(row)
    session.flush()


def _schedule_changed_at(
    session: Session, after: dt.datetime, now: dt.datetime
) -> dt.datetime | None:
    """When a person last changed the schedule or the time zone, if after this instant."""
    event = models.AuditEvent
    changes = session.scalars(
        sa.select(event)
        .where(event.at.between(after, now), event.action.in_(["settings.change", "config.import"]))
        .order_by(event.at.desc())
    )
    return next((each.at for each in changes if _is_about_when(each)), None)


def _is_about_when(event: models.AuditEvent) -> bool:
    before, after = event.before or {}, event.after or {}
    return any(before.get(name) != after.get(name) for name in ("schedule", "timezone"))


def _claim(session: Session, due: Sequence[Slot], now: dt.datetime) -> None:
    if not due:
        return
    newest = due[-1]
    kept = due[-MISSED_KEPT:]
    keys = sa.select(models.ScheduledSlot.key).where(
        models.ScheduledSlot.key.in_([slot.key for slot in kept])
    )
    known = set(session.scalars(keys))
    for slot in kept:
        if slot.key not in known:
            in_time = slot is newest and now - slot.due_at <= MADE_UP_WITHIN
            session.add(_waiting(slot, now) if in_time else _missed(slot, now))
    if newest.key not in known:
        _close_waiting(session, "Given up, because the next one is due.", now, but=newest.key)


def _waiting(slot: Slot, now: dt.datetime) -> models.ScheduledSlot:
    return models.ScheduledSlot(
        key=slot.key, due_at=slot.due_at, state=SlotState.WAITING, retry_at=now, started_at=now
    )


def _missed(slot: Slot, now: dt.datetime) -> models.ScheduledSlot:
    return models.ScheduledSlot(
        key=slot.key,
        due_at=slot.due_at,
        state=SlotState.MISSED,
        message="Missed: Tallybridge did not run then.",
        started_at=now,
        ended_at=now,
    )


def _close_waiting_of_another_schedule(
    session: Session, settings: AppSettings, looked: models.Marker, now: dt.datetime
) -> None:
    if looked.number != signature(settings):
        _close_waiting(session, "Given up, because the schedule was changed.", now)


def _close_waiting(session: Session, why: str, now: dt.datetime, *, but: str = "") -> None:
    slot = models.ScheduledSlot
    for row in session.scalars(sa.select(slot).where(slot.state == SlotState.WAITING)):
        if row.key != but:
            _give_up(row, why, now)


def _give_up(row: models.ScheduledSlot, why: str, now: dt.datetime) -> None:
    row.state, row.retry_at, row.ended_at = SlotState.MISSED, None, now
    row.message = f"{why} {row.message or ''}".strip()


def close_outdated(session: Session, settings: AppSettings, now: dt.datetime) -> None:
    """Give up what waits although its time is over, within the caller's transaction.

    The schedule was changed, or the next slot became due, while its run went on.
    """
    slot = models.ScheduledSlot
    newest = session.scalar(sa.select(sa.func.max(slot.due_at)).where(slot.due_at <= now))
    for row in session.scalars(sa.select(slot).where(slot.state == SlotState.WAITING)):
        due = slots_between(settings, row.due_at - _ONE_SECOND, row.due_at)
        if row.key not in {each.key for each in due}:
            _give_up(row, "Given up, because the schedule was changed.", now)
        elif newest is not None and row.due_at < newest:
            _give_up(row, "Given up, because the next one is due.", now)


def forget_the_past(connection: Connection, now: dt.datetime) -> None:
    """Let the schedule begin anew, in the caller's transaction: a restored database is about then.

    Its slots that wait or were under way are closed, and those that were due since are none.
    """
    slot = models.ScheduledSlot
    connection.execute(
        sa.update(slot)
        .where(slot.state.in_((SlotState.WAITING, SlotState.RUNNING)))
        .values(
            state=SlotState.MISSED,
            retry_at=None,
            ended_at=now,
            message="Given up, because a backup was restored.",
        )
    )
    connection.execute(sa.delete(models.Marker).where(models.Marker.name == LOOKED))


# --- taking and settling ------------------------------------------------------------------------


def something_waits(session: Session, now: dt.datetime) -> bool:
    """Whether a slot is there to be taken."""
    slot = models.ScheduledSlot
    waiting = sa.exists().where(slot.state == SlotState.WAITING, slot.retry_at <= now)
    return bool(session.scalar(sa.select(waiting)))


def take(session: Session, now: dt.datetime) -> models.ScheduledSlot | None:
    """Take the newest slot whose time has come, in the caller's transaction; None without one."""
    slot = models.ScheduledSlot
    row = session.scalar(
        sa.select(slot)
        .where(slot.state == SlotState.WAITING, slot.retry_at <= now)
        .order_by(slot.due_at.desc())
        .limit(1)
    )
    if row is None:
        return None
    taken = session.execute(
        sa.update(slot)
        .where(slot.id == row.id, slot.state == SlotState.WAITING, slot.attempts == row.attempts)
        .values(
            state=SlotState.RUNNING,
            attempts=row.attempts + 1,
            retry_at=None,
            run_id=None,
            started_at=now,
        )
        .execution_options(synchronize_session=False)
    )
    session.refresh(row)
    return row if taken.rowcount else None  # type: ignore[attr-defined]


def note_run(session: Session, slot_id: int, run_id: int) -> None:
    """Remember which run a slot has become, in the caller's transaction."""
    session.execute(
        sa.update(models.ScheduledSlot)
        .where(models.ScheduledSlot.id == slot_id)
        .values(run_id=run_id)
    )


def settle(session: Session, slot_id: int, outcome: Outcome, now: dt.datetime) -> None:
    """Store what came of a slot that was taken, in the caller's transaction."""
    slot = models.ScheduledSlot
    session.execute(
        sa.update(slot)
        .where(slot.id == slot_id, slot.state == SlotState.RUNNING)
        .values(
            state=outcome.state,
            message=outcome.message,
            retry_at=outcome.retry_at,
            attempts=slot.attempts if outcome.tried else slot.attempts - 1,
            ended_at=None if outcome.state is SlotState.WAITING else now,
        )
    )


# --- after a crash ------------------------------------------------------------------------------


def settle_orphans(session: Session, now: dt.datetime, *, but: int | None) -> bool:
    """Settle slots that nobody carries out any more, in the caller's transaction.

    Only for the process that leads, after dead runs were marked; `but` is the slot that it carries
    out itself. A slot whose run still goes on elsewhere is left alone. Says whether it found any.
    """
    orphans = _orphans(session, but)
    for row in orphans:
        run = _run_of(session, row)
        if run is None or run.state is not RunState.RUNNING:
            row.run_id = run.id if run else None
            session.flush()
            settle(session, row.id, _after_death(session, row, run, now), now)
    return bool(orphans)


def has_orphans(session: Session, *, but: int | None) -> bool:
    """Whether a slot says that it runs, and it is not the one that is carried out here."""
    return bool(_orphans(session, but))


def _orphans(session: Session, but: int | None) -> Sequence[models.ScheduledSlot]:
    slot = models.ScheduledSlot
    running = sa.select(slot).where(slot.state == SlotState.RUNNING, slot.id != (but or 0))
    return session.scalars(running).all()


def _run_of(session: Session, row: models.ScheduledSlot) -> models.SyncRun | None:
    """Its run; it may have begun in the moment before the slot could remember it."""
    if row.run_id is not None:
        return session.get(models.SyncRun, row.run_id)
    run = models.SyncRun
    return session.scalar(
        sa.select(run)
        .where(run.trigger == SCHEDULED, run.started_at >= row.started_at)
        .order_by(run.id.desc())
        .limit(1)
    )


def _after_death(
    session: Session,
    row: models.ScheduledSlot,
    run: models.SyncRun | None,
    now: dt.datetime,
) -> Outcome:
    if run is None:
        if row.attempts >= _TAKES_WITHOUT_A_RUN:
            return Outcome(SlotState.FAILED, "Its process ended several times before a run began.")
        why = "Its process ended before the run began; it is tried again."
        return Outcome(SlotState.WAITING, why, now)
    if run.state is RunState.INTERRUPTED:
        return _after_interruption(session, row, run, now)
    if run.state is RunState.NOT_READY:
        return Outcome(SlotState.WAITING, run.message, now)
    good = run.state in (RunState.SUCCEEDED, RunState.PLANNED)
    return Outcome(SlotState.DONE if good else SlotState.FAILED, run.message)


def _after_interruption(
    session: Session, row: models.ScheduledSlot, died: models.SyncRun, now: dt.datetime
) -> Outcome:
    """Tried again once: what kills the process each time must not do so for ever."""
    run = models.SyncRun
    times = session.scalar(
        sa.select(sa.func.count())
        .select_from(run)
        .where(
            run.trigger == SCHEDULED,
            run.state == RunState.INTERRUPTED,
            run.started_at >= row.due_at,
        )
    )
    if times is None or times <= 1:
        why = f"Run {died.id} was interrupted, because its process ended; it is tried again."
        return Outcome(SlotState.WAITING, why, now)
    return Outcome(
        SlotState.FAILED,
        f"Run {died.id} was interrupted again, because its process ended. It is not tried again by "
        "itself; look at the run, then start one by hand.",
    )


# --- markers ------------------------------------------------------------------------------------


def heartbeat(session: Session) -> dt.datetime | None:
    """When the scheduler last said that it is at work; about once a minute. None: never yet."""
    marker = session.get(models.Marker, HEARTBEAT)
    return None if marker is None else marker.at


def _mark(session: Session, name: str, now: dt.datetime) -> None:
    marker = session.get(models.Marker, name)
    if marker is None:
        session.add(models.Marker(name=name, at=now))
    else:
        marker.at = now
