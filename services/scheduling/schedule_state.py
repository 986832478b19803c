"""What pages say about the schedule: who is at work, when the next run is, how the last went."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import SlotState
from services.scheduling.schedule import in_words, instant_in_words, next_slot
from services.scheduling.slots import LOOKED, heartbeat
from services.settings import AppSettings

ALIVE_FOR = dt.timedelta(minutes=3)
"""The heartbeat is written once a minute; one this old is that of a scheduler that is gone."""
_TRIES = 40


@dataclass(frozen=True, slots=True)
class LastSlot:
    """How the schedule's last occasion went: a colour, a word, what there is to say."""

    kind: str
    word: str
    due: str
    message: str | None
    retry: str | None
    run_id: int | None


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """The schedule in words; `next_at` is None when runs are started by hand only."""

    schedule: str
    timezone: str
    next_at: dt.datetime | None
    last: LastSlot | None
    heartbeat: dt.datetime | None
    alive: bool

    @property
    def dead(self) -> bool:
        """Whether a run is due some day, and nobody is there to start it."""
        return self.next_at is not None and not self.alive

    @property
    def next_words(self) -> str:
        """When the next run starts by itself, as people there write it."""
        if self.next_at is None:
            return "Only by hand, with Sync now"
        return instant_in_words(self.next_at, self.timezone)


def state(session: Session, settings: AppSettings, now: dt.datetime) -> SchedulerState:
    """What there is to say about the schedule now."""
    beat = heartbeat(session)
    return SchedulerState(
        schedule=in_words(settings.schedule),
        timezone=settings.timezone,
        next_at=_next_at(session, settings, now),
        last=_last(session, settings, now),
        heartbeat=beat,
        alive=beat is not None and abs(now - beat) < ALIVE_FOR,
    )


def _next_at(session: Session, settings: AppSettings, now: dt.datetime) -> dt.datetime | None:
    """The slot that will be claimed next: not one that was claimed already, as the clock goes."""
    looked = session.get(models.Marker, LOOKED)
    ahead = looked is not None and looked.at - now < dt.timedelta(days=1)
    after = max(now, looked.at) if looked is not None and ahead else now
    for _ in range(_TRIES):
        slot = next_slot(settings, after)
        if slot is None:
            return None
        known = sa.exists().where(models.ScheduledSlot.key == slot.key)
        if not session.scalar(sa.select(known)):
            return slot.due_at
        after = slot.due_at
    return after


def _last(session: Session, settings: AppSettings, now: dt.datetime) -> LastSlot | None:
    row = session.scalar(
        sa.select(models.ScheduledSlot)
        .where(models.ScheduledSlot.due_at <= now + dt.timedelta(days=1))
        .order_by(models.ScheduledSlot.due_at.desc())
        .limit(1)
    )
    if row is None:
        return None
    kind, word = _WORDS[row.state]
    tried = row.state is SlotState.WAITING and row.attempts > 0
    return LastSlot(
        kind=kind,
        word=word if row.attempts or row.state is not SlotState.WAITING else "about to start",
        due=instant_in_words(row.due_at, settings.timezone),
        message=row.message,
        retry=instant_in_words(row.retry_at, settings.timezone) if tried and row.retry_at else None,
        run_id=row.run_id,
    )


_WORDS = {
    SlotState.RUNNING: ("info", "running"),
    SlotState.WAITING: ("warn", "waiting"),
    SlotState.DONE: ("good", "done"),
    SlotState.FAILED: ("bad", "failed"),
    SlotState.MISSED: ("warn", "missed"),
}
