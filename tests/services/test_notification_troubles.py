"""Being told in spite of wrong clocks, and of what fails before there is a run."""

from __future__ import annotations

import models
from models import RunState, SlotState
from services.installation import Installation
from services.monitoring.health import last_good_run
from services.monitoring.notifications import MARKER, send_digest
from tests.services.test_notifications import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    Receiver,
    add,
    message,
    run_row,
    target,
    told,
)
from tests.services.test_notifications import here as here  # noqa: PLC0414
from tests.services.test_notifications import receiver as receiver  # noqa: PLC0414


def slot(state: SlotState, key: str = "invoice 2026-11-22") -> models.ScheduledSlot:
    return models.ScheduledSlot(key=key, due_at=NOW, state=state, started_at=NOW, ended_at=NOW)


def test_a_scheduled_run_that_failed_before_it_began_is_told(
    here: Installation, receiver: Receiver
) -> None:
    """With the invoice, refused credentials leave no run behind."""
    target(here, f"json://{receiver.place}/")
    add(here, slot(SlotState.FAILED), slot(SlotState.DONE, "invoice 2026-11-21"))
    said = "The scheduled run of Sun 22 Nov 2026 09:30 (UTC) did not take place"
    assert [each.startswith(said) for each in told(here)] == [True]
    with here.session() as session, session.begin():
        run = run_row(state=RunState.FAILED)
        session.add(run)
        session.flush()
        session.query(models.ScheduledSlot).update({"run_id": run.id})
    assert not any(each.startswith(said) for each in told(here))  # the run is told


def test_a_clock_that_was_ahead_does_not_silence_messages(
    here: Installation, receiver: Receiver
) -> None:
    target(here, f"json://{receiver.place}/")
    add(here, models.Marker(name=MARKER, number=1, at=NOW + 400 * DAY))
    add(here, models.Notice(at=NOW, kind="run_failed", key="a", message="Run 1 failed."))
    assert send_digest(here, NOW)
    assert "Run 1 failed." in message(receiver)


def test_a_claim_is_respected_still(here: Installation, receiver: Receiver) -> None:
    target(here, f"json://{receiver.place}/")
    add(here, models.Marker(name=MARKER, number=1, at=NOW + MINUTE))
    add(here, models.Notice(at=NOW, kind="run_failed", key="a", message="Run 1 failed."))
    assert not send_digest(here, NOW)


def test_a_run_that_ended_in_the_future_is_no_reason_for_silence(
    here: Installation, receiver: Receiver
) -> None:
    target(here, f"json://{receiver.place}/", at=NOW - 60 * DAY)
    add(here, run_row(state=RunState.SUCCEEDED, ended_at=NOW + 90 * DAY))
    assert any("No run has ended well for 36 hours" in each for each in told(here))


def test_a_look_that_found_nothing_new_is_a_good_sign_outside_too(here: Installation) -> None:
    add(here, run_row(state=RunState.SUCCEEDED, ended_at=NOW - 300 * HOUR))
    add(here, slot(SlotState.DONE))
    with here.reading() as session:
        assert last_good_run(session) == NOW
