"""What a scheduler must survive beside the ordinary: wrong clocks, changes while a run goes on."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

import models
from models import RunState, SlotState
from services.scheduling import slots
from services.scheduling.slots import Outcome
from tests.services.test_scheduler import DAY, HOUR, MINUTE, Bench, add_run, at
from tests.services.test_scheduler import bench as bench  # noqa: PLC0414


@pytest.mark.parametrize("days", [2, 5, 40])
def test_days_that_a_wrong_clock_showed_are_not_taken_for_done(bench: Bench, days: int) -> None:
    """A clock far ahead for a moment claims slots that are yet to come."""
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.beat(bench.now + days * DAY)
    bench.ran.clear()
    bench.beats(at("2026-11-22T09:31"))
    bench.beat(at("2026-11-22T09:31"))
    bench.beats(at("2026-11-27T12:00"))
    assert bench.keys() == [f"daily 2026-11-{n}" for n in range(22, 28)]


def test_a_run_under_a_wrong_clock_does_not_use_up_the_month(bench: Bench) -> None:
    """The clock is put right while the run that it began goes on."""
    bench.choose(when="monthly", time="06:00", day=1)
    bench.beat()
    ahead, go_on = bench.now + 10 * DAY, threading.Event()

    def slow(_slot: models.ScheduledSlot) -> Outcome:
        go_on.wait(10)
        return Outcome(SlotState.DONE)

    bench.outcome = slow
    bench.now = ahead
    bench.scheduler.beat()
    bench.now = at("2026-11-22T09:31")
    bench.scheduler.beat()
    go_on.set()
    bench.beat()
    bench.ran.clear()
    bench.beats(at("2026-12-02T00:00"), step=6 * HOUR)
    assert bench.keys() == ["monthly 2026-12"]


def test_a_change_recorded_under_a_wrong_clock_hides_no_slot(bench: Bench) -> None:
    bench.choose(when="daily", time="09:00")
    bench.beat()
    bench.now += 20 * DAY
    bench.choose(when="daily", time="10:00")
    bench.beat()
    bench.ran.clear()
    bench.beat(at("2026-11-22T09:31"))
    bench.beats(at("2026-11-23T10:30"))
    assert bench.keys() == [f"daily 2026-11-{n}" for n in (22, 23)]


def test_switched_off_while_a_run_goes_on_it_is_not_tried_again(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()

    def down(_slot: models.ScheduledSlot) -> Outcome:
        bench.choose(when="by_hand")
        bench.now += 2 * MINUTE
        with bench.installation.session() as session, session.begin():
            slots.look(session, bench.installation.settings(), bench.now)
        return Outcome(SlotState.WAITING, "ConnectWise is down.", bench.now + HOUR)

    bench.outcome = down
    bench.beats(at("2026-11-23T12:00"))
    assert bench.keys() == ["daily 2026-11-22"]
    row = bench.slots()["daily 2026-11-22"]
    assert (row.state, row.retry_at) == (SlotState.MISSED, None)
    assert row.message == "Given up, because the schedule was changed. ConnectWise is down."


def test_the_next_slot_ends_one_whose_run_was_still_going_on(bench: Bench) -> None:
    bench.choose(when="daily", time="10:00")
    bench.beat()

    def down(slot: models.ScheduledSlot) -> Outcome:
        if slot.key != "daily 2026-11-22" or slot.attempts > 1:
            return Outcome(SlotState.DONE)
        bench.now = at("2026-11-23T10:00")
        with bench.installation.session() as session, session.begin():
            slots.look(session, bench.installation.settings(), bench.now)
        return Outcome(SlotState.WAITING, "ConnectWise is down.", bench.now + MINUTE)

    bench.outcome = down
    bench.beats(at("2026-11-23T14:00"))
    assert bench.keys() == ["daily 2026-11-22", "daily 2026-11-23"]
    assert bench.slots()["daily 2026-11-22"].state is SlotState.MISSED


def test_a_run_that_could_not_store_its_end_is_marked_soon(bench: Bench) -> None:
    """Whoever started it: else nobody hears of it before the next run."""
    bench.choose(when="by_hand")
    bench.beat()
    add_run(bench, RunState.RUNNING)
    bench.beat(bench.now + 2 * MINUTE)
    with bench.installation.reading() as session:
        assert session.scalars(sa.select(models.SyncRun.state)).all() == [RunState.INTERRUPTED]
