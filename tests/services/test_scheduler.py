"""The scheduler under a clock that a test sets: each slot once, whatever the clock does."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography.fernet import Fernet
from sqlalchemy.engine import Engine

import models
from config import load_config
from models import RunState, SlotState
from services.installation import Installation
from services.runs.jobs import Jobs
from services.scheduling import scheduled_run, scheduler, slots
from services.scheduling.schedule_state import SchedulerState, state
from services.scheduling.scheduler import Scheduler
from services.scheduling.slots import Outcome
from services.secrets import Vault
from services.setting_changes import change_settings, fingerprint
from tests.databases import sqlite_only

MINUTE, HOUR, DAY = (dt.timedelta(**{name: 1}) for name in ("minutes", "hours", "days"))
EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
DONE = Outcome(SlotState.DONE)


@dataclass(frozen=True)
class Clocked(Installation):
    """An installation whose clock a test sets."""

    clock: list[dt.datetime] = field(default_factory=list)

    def now(self) -> dt.datetime:
        return self.clock[0]


@dataclass
class Bench:
    """A scheduler whose runs are pretended; `ran` keeps the key of each and when it was."""

    engine: Engine
    installation: Clocked
    scheduler: Scheduler
    ran: list[tuple[str, dt.datetime]]
    outcome: Callable[[models.ScheduledSlot], Outcome]

    @property
    def now(self) -> dt.datetime:
        return self.installation.now()

    @now.setter
    def now(self, instant: dt.datetime) -> None:
        self.installation.clock[0] = instant

    def beat(self, instant: dt.datetime | None = None) -> None:
        if instant is not None:
            self.now = instant
        self.scheduler.beat()
        if self.scheduler._thread is not None:
            self.scheduler._thread.join()

    def beats(self, until: dt.datetime, step: dt.timedelta = HOUR) -> None:
        self.beat()
        while self.now < until:
            gone = (self.now - EPOCH) // step
            self.beat(min(EPOCH + (gone + 1) * step, until))

    def restart(self) -> None:
        """As if the process had died and another one had taken its place."""
        self.scheduler._give_up_lead()
        self.scheduler = Scheduler(self.installation, Jobs(self.installation))

    def choose(self, timezone: str = "UTC", **schedule: Any) -> None:
        """Set the schedule as the page does."""
        with self.installation.session() as session, session.begin():
            before = self.installation.settings()
            values = {"timezone": timezone, "schedule": schedule}
            seen = fingerprint(before, values.keys())
            change_settings(session, values, seen=seen, actor="anna", now=self.now)

    def slots(self) -> dict[str, models.ScheduledSlot]:
        with self.installation.reading() as session:
            rows = session.scalars(sa.select(models.ScheduledSlot)).all()
            return {row.key: row for row in rows}

    def keys(self) -> list[str]:
        return [key for key, _ in self.ran]

    def state(self) -> SchedulerState:
        with self.installation.reading() as session:
            return state(session, self.installation.settings(), self.now)


def at(text: str, zone: str = "UTC") -> dt.datetime:
    local = dt.datetime.fromisoformat(text).replace(tzinfo=zoneinfo.ZoneInfo(zone))
    return local.astimezone(dt.UTC)


@pytest.fixture
def bench(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    @sa.event.listens_for(engine, "connect")
    def _quickly(connection: Any, _record: object) -> None:
        if engine.dialect.name == "sqlite":
            connection.execute("PRAGMA synchronous = OFF")  # nobody cuts the power here

    engine.dispose()
    vault = Vault([Fernet.generate_key().decode()])
    installation = Clocked(load_config({}), engine, vault, [at("2026-11-22T09:30")])
    made = Bench(
        engine, installation, Scheduler(installation, Jobs(installation)), [], lambda _slot: DONE
    )

    def pretend(_installation: Installation, _jobs: Jobs, slot: models.ScheduledSlot) -> Outcome:
        made.ran.append((slot.key, made.now))
        return made.outcome(slot)

    monkeypatch.setattr(scheduled_run, "carry_out", pretend)
    yield made
    made.scheduler._give_up_lead()


def interrupt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die right after the slot was taken: nothing of it is stored."""
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "_carry_out", lambda *_args: None)
        bench.beat()
    bench.restart()


# --- the ordinary ---------------------------------------------------------------------------------


def test_each_slot_runs_once_and_soon(bench: Bench) -> None:
    bench.choose(when="daily", time="06:00")
    bench.beats(at("2026-11-26T12:00"))
    assert bench.keys() == [f"daily 2026-11-{n}" for n in (23, 24, 25, 26)]
    assert all(when == at(f"{key[6:]}T06:00") for key, when in bench.ran)
    assert {row.state for row in bench.slots().values()} == {SlotState.DONE}


def test_the_first_start_makes_nothing_up(bench: Bench) -> None:
    bench.choose(when="daily", time="09:29")
    bench.beat()
    assert bench.ran == []
    assert bench.state().next_at == at("2026-11-23T09:29")


@pytest.mark.parametrize("when", ["daily", "monthly", "invoice"])
def test_what_is_shown_is_what_fires(bench: Bench, when: str) -> None:
    bench.choose("Europe/Berlin", when=when, time="06:00", day=24)
    bench.beat()
    shown = bench.state().next_at
    assert shown is not None
    bench.beats(shown - dt.timedelta(seconds=1))
    assert bench.ran == []
    bench.beat(shown)
    assert len(bench.ran) == 1
    assert bench.state().next_at != shown
    assert bench.state().last


def test_by_hand_starts_nothing(bench: Bench) -> None:
    bench.choose(when="by_hand")
    bench.beats(at("2026-12-30T00:00"), step=6 * HOUR)
    assert bench.slots() == {}
    assert bench.state().next_words == "Only by hand, with Sync now"
    assert not bench.state().dead


def test_the_heartbeat_is_written_about_once_a_minute(bench: Bench) -> None:
    assert not bench.state().alive
    writes = 0
    for _ in range(60):
        with bench.installation.reading() as session:
            before = scheduler.heartbeat(session)
        bench.beat(bench.now + dt.timedelta(seconds=5))
        with bench.installation.reading() as session:
            writes += scheduler.heartbeat(session) != before
        assert bench.state().alive
    assert writes == 5
    bench.now += 4 * MINUTE
    assert bench.state().dead


def test_chores_are_done_about_once_a_minute_by_who_leads(bench: Bench) -> None:
    done: list[dt.datetime] = []

    def broken(_installation: Installation, _now: dt.datetime) -> None:
        raise ValueError("a bug")

    def chore(_installation: Installation, now: dt.datetime) -> None:
        done.append(now)

    jobs = Jobs(bench.installation)
    bench.scheduler = Scheduler(bench.installation, jobs, chores=[broken, chore])
    other = Scheduler(bench.installation, jobs, chores=[chore])
    for _ in range(36):
        bench.beat(bench.now + dt.timedelta(seconds=5))
        other.beat()
        thread = bench.scheduler._chores_thread
        assert thread is not None
        thread.join()
    assert len(done) == len(set(done)) == 3


# --- changes of the schedule ----------------------------------------------------------------------


def test_a_changed_schedule_does_not_fire_for_what_is_past(bench: Bench) -> None:
    bench.choose(when="daily", time="06:00")
    bench.beat()
    bench.choose(when="daily", time="09:00")
    bench.beats(at("2026-11-23T08:59"))
    assert bench.ran == []
    bench.beat(at("2026-11-23T09:00"))
    assert bench.keys() == ["daily 2026-11-23"]


def test_switched_on_after_a_time_off_it_looks_ahead_only(bench: Bench) -> None:
    bench.choose(when="by_hand")
    bench.beat()
    bench.restart()
    bench.now = at("2026-11-25T10:00")  # nobody was there for three days
    bench.choose(when="daily", time="06:00")
    bench.beat(at("2026-11-25T10:05"))
    assert bench.ran == []
    bench.beats(at("2026-11-26T06:00"))
    assert bench.keys() == ["daily 2026-11-26"]


def test_a_slot_between_the_change_and_the_look_counts(bench: Bench) -> None:
    bench.beat()
    bench.choose(when="daily", time="09:31")
    bench.beat(at("2026-11-22T09:31:10"))
    assert bench.keys() == ["daily 2026-11-22"]


def test_another_setting_changes_nothing(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.now = at("2026-11-22T10:30")
    with bench.installation.session() as session, session.begin():
        seen = fingerprint(bench.installation.settings(), ["read_only"])
        change_settings(session, {"read_only": True}, seen=seen, actor="a", now=bench.now)
    bench.beat(at("2026-11-22T10:31"))
    assert bench.keys() == ["daily 2026-11-22"]


def test_a_time_zone_that_the_environment_changed_looks_ahead_only(bench: Bench) -> None:
    """At a start; nobody recorded when."""
    bench.choose(when="daily", time="12:00")
    bench.beats(at("2026-11-22T09:40"))
    bench.restart()
    bench.now = at("2026-11-22T11:30")
    bench.scheduler = Scheduler(
        replace(bench.installation, config=load_config({"TALLYBRIDGE_TIMEZONE": "Europe/Berlin"})),
        Jobs(bench.installation),
    )
    bench.beats(at("2026-11-22T20:00"))
    assert bench.ran == []
    bench.beats(at("2026-11-23T20:00"))
    assert bench.ran == [("daily 2026-11-23", at("2026-11-23T11:00"))]


def test_what_waits_ends_with_its_schedule(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.outcome = lambda _slot: Outcome(SlotState.WAITING, "No report yet.", bench.now + HOUR)
    bench.beats(at("2026-11-22T10:00"))
    bench.choose(when="by_hand")
    bench.beats(at("2026-11-24T00:00"))
    assert bench.keys() == ["daily 2026-11-22"]
    row = bench.slots()["daily 2026-11-22"]
    assert row.state is SlotState.MISSED
    assert row.message == "Given up, because the schedule was changed. No report yet."


# --- time off, and clocks that are set ------------------------------------------------------------


def test_after_time_off_the_newest_slot_is_made_up_once(bench: Bench) -> None:
    bench.choose(when="daily", time="06:00")
    bench.beat()
    bench.restart()
    bench.beat(at("2026-11-26T09:00"))
    bench.beats(at("2026-11-26T20:00"))
    assert bench.keys() == ["daily 2026-11-26"]
    states = {key: row.state for key, row in bench.slots().items()}
    assert states == {
        **{f"daily 2026-11-{n}": SlotState.MISSED for n in (23, 24, 25)},
        "daily 2026-11-26": SlotState.DONE,
    }


@pytest.mark.parametrize(("days", "made_up"), [(7, True), (8, False)])
def test_what_is_older_than_a_week_is_not_made_up(bench: Bench, days: int, made_up: bool) -> None:
    bench.choose(when="monthly", time="06:00", day=1)
    bench.beat()
    bench.restart()
    bench.beat(at("2026-12-01T06:00") + days * DAY)
    assert bench.keys() == (["monthly 2026-12"] if made_up else [])
    assert len(bench.slots()) == 1


def test_years_off_are_no_flood(bench: Bench) -> None:
    bench.choose(when="daily", time="06:00")
    bench.beat()
    bench.beat(at("2031-11-22T09:00"))
    assert bench.keys() == ["daily 2031-11-22"]
    assert len(bench.slots()) == slots.MISSED_KEPT


def test_a_clock_set_back_an_hour_doubles_nothing(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beats(at("2026-11-22T10:20"))
    bench.now -= HOUR
    shown = bench.state().next_at
    bench.beats(at("2026-11-22T12:00"))
    assert bench.keys() == ["daily 2026-11-22"]
    assert shown == at("2026-11-23T10:00")


def test_a_clock_set_forward_makes_up_once(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beats(at("2026-11-22T09:50"))
    bench.beats(at("2026-11-22T13:00"), step=HOUR)
    assert bench.keys() == ["daily 2026-11-22"]


def test_a_clock_that_was_years_ahead_does_not_silence_it(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.beat(at("2036-01-01T00:00"))
    bench.ran.clear()
    bench.beat(at("2026-11-22T09:40"))
    bench.beats(at("2026-11-23T12:00"))
    assert bench.keys() == ["daily 2026-11-22", "daily 2026-11-23"]


def test_a_clock_that_began_in_1970_makes_nothing_twice(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beats(at("2026-11-22T11:00"))
    bench.restart()
    bench.beat(at("1970-01-01T00:00"))
    bench.beats(at("2026-11-22T12:00"), step=100_000 * HOUR)
    assert bench.keys().count("daily 2026-11-22") == 1
    bench.ran.clear()
    bench.beats(at("2026-11-23T12:00"))
    assert bench.keys() == ["daily 2026-11-23"]


NIGHTS = [
    ("Europe/Berlin", "2026-03-28", "02:30"), ("Europe/Berlin", "2026-10-24", "02:30"),
    ("Europe/Berlin", "2026-03-28", "03:00"), ("Europe/Berlin", "2026-10-24", "03:00"),
    ("America/New_York", "2026-03-07", "02:00"), ("America/New_York", "2026-10-31", "01:59"),
    ("Australia/Lord_Howe", "2026-10-03", "02:15"), ("Australia/Lord_Howe", "2026-04-04", "01:45"),
    ("America/Havana", "2026-03-07", "00:30"), ("America/Havana", "2026-10-31", "00:30"),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "eve", "time"), NIGHTS)
def test_nights_in_which_clocks_change(bench: Bench, zone: str, eve: str, time: str) -> None:
    """Three local days around the change: three runs, one each, at the instant that was shown."""
    bench.now = at(f"{eve}T12:00", zone)
    bench.choose(zone, when="daily", time=time)
    bench.beat()
    for n in (1, 2, 3):
        shown = bench.state().next_at
        assert shown is not None
        day = dt.date.fromisoformat(eve) + n * DAY
        bench.beats(at(f"{day}T12:00", zone), step=20 * MINUTE)
        assert len(bench.ran) == n
        key, ran_at = bench.ran[-1]
        assert key == f"daily {day}"
        assert shown <= ran_at < shown + 20 * MINUTE


# --- tried again ----------------------------------------------------------------------------------


def test_what_waits_is_tried_again_until_the_next_slot(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.outcome = lambda _slot: Outcome(SlotState.WAITING, "No report yet.", bench.now + HOUR)
    bench.beats(at("2026-11-23T10:00"))
    assert bench.keys() == ["daily 2026-11-22"] * 24 + ["daily 2026-11-23"]
    first, second = bench.slots().values()
    assert (first.state, first.retry_at) == (SlotState.MISSED, None)
    assert first.message == "Given up, because the next one is due. No report yet."
    assert (second.state, second.attempts) == (SlotState.WAITING, 1)
    last = bench.state().last
    assert last is not None
    assert last.retry == "Mon 23 Nov 2026 11:00 (UTC)"
    bench.outcome = lambda _slot: DONE
    bench.beats(at("2026-11-23T12:00"))
    assert bench.slots()["daily 2026-11-23"].state is SlotState.DONE


def test_what_is_unexpected_is_told_and_not_repeated(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")

    def broken(_slot: models.ScheduledSlot) -> Outcome:
        raise ValueError("a bug")

    bench.outcome = broken
    bench.beats(at("2026-11-22T14:00"))
    row = bench.slots()["daily 2026-11-22"]
    assert (row.state, row.message) == (
        SlotState.FAILED,
        "Something went wrong here; it is in the log.",
    )
    assert len(bench.ran) == 1


def test_vendors_are_asked_ever_more_seldom() -> None:
    waits = [scheduled_run.wait_after(n) // MINUTE for n in range(1, 10)]
    assert waits == [5, 10, 20, 40, 80, 160, 320, 360, 360]
    now = at("2026-11-22T10:00")
    assert scheduled_run.not_ready_until(1, now) == now + HOUR
    assert scheduled_run.not_ready_until(24, now) == now + 6 * HOUR


# --- death ----------------------------------------------------------------------------------------


def test_death_between_claim_and_start_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    with monkeypatch.context() as patch:
        patch.setattr(Scheduler, "_begin_next", lambda *_args: None)
        bench.beat(at("2026-11-22T10:00"))
    assert bench.slots()["daily 2026-11-22"].state is SlotState.WAITING
    bench.restart()
    bench.beat()
    assert bench.keys() == ["daily 2026-11-22"]


def test_death_before_the_run_is_tried_again_a_few_times(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.now = at("2026-11-22T10:00")
    for _ in range(3):
        interrupt(bench, monkeypatch)
    bench.beats(at("2026-11-22T11:00"))
    row = bench.slots()["daily 2026-11-22"]
    assert (row.state, row.attempts) == (SlotState.FAILED, 3)
    assert "before a run began" in (row.message or "")


@pytest.mark.parametrize(
    ("run_state", "slot_state"),
    [
        (RunState.SUCCEEDED, SlotState.DONE),
        (RunState.PLANNED, SlotState.DONE),
        (RunState.FAILED, SlotState.FAILED),
    ],
)
def test_death_after_the_run_has_ended_repeats_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, run_state: RunState, slot_state: SlotState
) -> None:
    """The run ended, and its slot could not remember: not even which run it was."""
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.now = at("2026-11-22T10:00")
    interrupt(bench, monkeypatch)
    add_run(bench, run_state)
    bench.beat()
    row = bench.slots()["daily 2026-11-22"]
    assert (row.state, row.run_id) == (slot_state, 1)
    assert bench.ran == []


def test_a_run_that_died_is_made_again_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.now = at("2026-11-22T10:00")
    interrupt(bench, monkeypatch)
    add_run(bench, RunState.RUNNING)  # of a process that is gone: nobody holds its lock
    interrupt(bench, monkeypatch)
    row = bench.slots()["daily 2026-11-22"]
    assert (row.attempts, row.state) == (2, SlotState.RUNNING)
    bench.now += MINUTE
    add_run(bench, RunState.RUNNING)
    bench.beat()
    row = bench.slots()["daily 2026-11-22"]
    assert row.state is SlotState.FAILED
    assert "Run 2 was interrupted again" in (row.message or "")
    assert bench.ran == []


def add_run(bench: Bench, run_state: RunState) -> None:
    with bench.installation.session() as session, session.begin():
        session.add(
            models.SyncRun(
                trigger="schedule", actor="schedule", state=run_state, started_at=bench.now
            )
        )


# --- who leads ------------------------------------------------------------------------------------


def test_one_leads_and_the_other_takes_over(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    other = Scheduler(bench.installation, Jobs(bench.installation))
    other.beat()
    assert (bench.scheduler._lead is not None, other._lead) == (True, None)
    bench.scheduler._give_up_lead()
    other.beat()
    assert other._lead is not None
    bench.beat(at("2026-11-22T10:00"))
    assert bench.ran == []
    other._give_up_lead()


@sqlite_only
def test_who_loses_the_lock_stops_at_once(bench: Bench, tmp_path: Any) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    (tmp_path / "tallybridge.db.scheduler.lock").unlink()
    bench.beat(at("2026-11-22T10:00"))
    assert bench.ran == []
    assert bench.scheduler._lead is None
    bench.beat()
    assert bench.keys() == ["daily 2026-11-22"]


def test_a_slot_that_another_process_took_is_left_alone(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.now = at("2026-11-22T10:00")
    with bench.installation.session() as session, session.begin():
        slots.look(session, bench.installation.settings(), bench.now)
        assert slots.take(session, bench.now) is not None
        assert slots.take(session, bench.now) is None


def test_stopping_begins_nothing_more(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.scheduler.start()
    bench.scheduler.stop()
    bench.beat(at("2026-11-22T10:00"))
    bench.beat()
    assert bench.ran == []
    assert bench.slots()["daily 2026-11-22"].state is SlotState.WAITING


@pytest.mark.parametrize("hours", [-1, 1, 500_000])
def test_the_beat_goes_on_when_the_clock_is_set(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    """APScheduler alone would sleep for an hour, or count half a million hours of beats."""
    import threading

    import apscheduler.schedulers.base

    beats, shift, real = threading.Semaphore(0), [dt.timedelta(0)], dt.datetime

    class Shifted(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> Any:
            return real.now(tz) + shift[0]

    monkeypatch.setattr(apscheduler.schedulers.base, "datetime", Shifted)
    monkeypatch.setattr(dt, "datetime", Shifted)
    quick = Scheduler(bench.installation, Jobs(bench.installation), beat=0.02)
    monkeypatch.setattr(quick, "beat", beats.release)
    quick.start()
    try:
        assert beats.acquire(timeout=5)
        shift[0] = hours * HOUR
        for _ in range(5):
            assert beats.acquire(timeout=5)
    finally:
        quick.stop()
