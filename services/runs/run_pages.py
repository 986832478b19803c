"""The list of sync runs, and the head of one: what happened, in numbers."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from models import OPEN_INTENTS, ChangeState, RunState
from services.paging import Page, window
from services.sync.model import Month

RUNS_A_PAGE = 25
_MONTHS_OFFERED = 12
_FAILED = (ChangeState.FAILED, *OPEN_INTENTS)

DETAILS_REMOVED = "Its changes and findings were removed on "
"""How what retention adds to the message of an old run begins."""

RUN_STATES: Mapping[RunState, tuple[str, str]] = {
    RunState.RUNNING: ("info", "running"),
    RunState.PLANNED: ("info", "planned only"),
    RunState.SUCCEEDED: ("good", "succeeded"),
    RunState.FAILED: ("bad", "failed"),
    RunState.NOT_READY: ("warn", "not ready"),
    RunState.INTERRUPTED: ("bad", "interrupted"),
}
"""How a state is shown: its colour and its words."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run with its numbers."""

    run: models.SyncRun
    counts: Mapping[ChangeState, int]
    findings: int
    now: dt.datetime

    @property
    def state(self) -> tuple[str, str]:
        """Colour and words of its state."""
        return RUN_STATES[self.run.state]

    @property
    def running(self) -> bool:
        """Whether it is still under way."""
        return self.run.state is RunState.RUNNING

    @property
    def applied(self) -> int:
        """How many changes were written."""
        return self.counts.get(ChangeState.APPLIED, 0)

    @property
    def planned(self) -> int:
        """How many changes are planned and not held."""
        return self.counts.get(ChangeState.PLANNED, 0)

    @property
    def held(self) -> int:
        """How many changes wait for a person."""
        return self.counts.get(ChangeState.HELD, 0)

    @property
    def skipped(self) -> int:
        """How many changes were left out."""
        return self.counts.get(ChangeState.SKIPPED, 0)

    @property
    def failed(self) -> int:
        """How many changes failed, or have an open end."""
        return sum(self.counts.get(state, 0) for state in _FAILED)

    @property
    def total(self) -> int:
        """How many changes it planned."""
        return sum(self.counts.values())

    @property
    def details_removed(self) -> bool:
        """Whether there were changes once that are not kept any more."""
        return details_removed(self.run)

    @property
    def duration(self) -> str:
        """How long it took, or takes so far."""
        return took((self.run.ended_at or self.now) - self.run.started_at)


def details_removed(run: models.SyncRun) -> bool:
    """Whether the changes and findings of a run were removed, so that none are left to look at."""
    return DETAILS_REMOVED in (run.message or "")


def list_runs(session: Session, *, page: int, now: dt.datetime) -> Page[RunLine]:
    """The runs, the newest first."""
    total = session.scalar(sa.select(sa.func.count()).select_from(models.SyncRun)) or 0
    number, offset = window(page, size=RUNS_A_PAGE, total=total)
    runs = session.scalars(
        sa.select(models.SyncRun)
        .order_by(models.SyncRun.id.desc())
        .limit(RUNS_A_PAGE)
        .offset(offset)
    ).all()
    return Page(lines_of(session, runs, now), number, RUNS_A_PAGE, total)


def run_line(session: Session, run_id: int, *, now: dt.datetime) -> RunLine | None:
    """One run with its numbers; None when there is no such run."""
    run = session.get(models.SyncRun, run_id)
    return None if run is None else lines_of(session, [run], now)[0]


def running_run(session: Session) -> models.SyncRun | None:
    """The run that is under way, if any."""
    return session.scalar(sa.select(models.SyncRun).where(models.SyncRun.state == RunState.RUNNING))


def undone_by(session: Session, run_id: int) -> Sequence[models.SyncRun]:
    """The runs that take this one back, the oldest first."""
    return session.scalars(
        sa.select(models.SyncRun)
        .where(models.SyncRun.undo_of_id == run_id)
        .order_by(models.SyncRun.id)
    ).all()


def months_offered(today: dt.date) -> list[Month]:
    """The months that a run can be asked for, the newest first."""
    months = [Month.of(today)]
    while len(months) < _MONTHS_OFFERED:
        months.append(months[-1].previous)
    return months


def took(span: dt.timedelta) -> str:
    """A duration in words: `0.4 s`, `12 s`, `3 min 05 s`."""
    seconds = max(0.0, span.total_seconds())
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"


def money_of(change: models.Change) -> Decimal | None:
    """The price effect of a change per billing cycle; None where no price is known."""
    if change.unit_price is None or change.after is None:
        return None
    return (change.after - (change.before or Decimal(0))) * change.unit_price


@dataclass(slots=True)
class Sum:
    """Seats and money of some changes. `unpriced` counts those without a known price."""

    count: int = 0
    seats: Decimal = Decimal(0)
    money: Decimal = Decimal(0)
    unpriced: int = 0

    def add(self, before: Decimal | None, after: Decimal | None, price: Decimal | None) -> None:
        """Count one change in. One that makes a product has no quantity."""
        self.count += 1
        if after is None:
            return
        difference = after - (before or Decimal(0))
        self.seats += difference
        if price is not None:
            self.money += difference * price
        elif difference:
            self.unpriced += 1


def sums_by_state(session: Session, run_id: int) -> dict[ChangeState, Sum]:
    """Seats and money of a run by state; added here, because the database would overflow."""
    change = models.Change
    rows = session.execute(
        sa.select(change.state, change.before, change.after, change.unit_price).where(
            change.run_id == run_id
        )
    )
    sums: defaultdict[ChangeState, Sum] = defaultdict(Sum)
    for state, before, after, price in rows:
        sums[state].add(before, after, price)
    return dict(sums)


def sum_of(session: Session, run_id: int, states: Iterable[ChangeState]) -> Sum:
    """Seats and money of the changes of a run that are in one of these states."""
    total = Sum()
    for state, one in sums_by_state(session, run_id).items():
        if state in set(states):
            total.count += one.count
            total.seats += one.seats
            total.money += one.money
            total.unpriced += one.unpriced
    return total


def lines_of(session: Session, runs: Sequence[models.SyncRun], now: dt.datetime) -> list[RunLine]:
    """These runs with their numbers, in the same order."""
    ids = [run.id for run in runs]
    counts: defaultdict[int, dict[ChangeState, int]] = defaultdict(dict)
    change, finding = models.Change, models.Finding
    for run_id, state, n in session.execute(
        sa.select(change.run_id, change.state, sa.func.count())
        .where(change.run_id.in_(ids))
        .group_by(change.run_id, change.state)
    ):
        counts[run_id][state] = n
    found = session.execute(
        sa.select(finding.run_id, sa.func.count())
        .where(finding.run_id.in_(ids))
        .group_by(finding.run_id)
    ).all()
    findings = dict(found)
    return [RunLine(run, counts[run.id], findings.get(run.id, 0), now) for run in runs]
