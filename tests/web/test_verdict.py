"""Can the invoices go out? The Overview's answer, its reason and its one next step."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session

import models
from models import ChangeState, RunState
from services.monitoring.findings import open_findings
from services.monitoring.verdict import Step, Verdict, verdict
from services.sync.model import FindingKind
from tests.web.client import Client
from tests.web.world import NOW, TODAY, installation_of

Alter = Callable[[Session], Any]


def change(app: Flask, *alter: Alter) -> None:
    with installation_of(app).session() as session, session.begin():
        for each in alter:
            each(session)


def judged(app: Flask, today: dt.date = TODAY) -> Verdict:
    with installation_of(app).reading() as session:
        return verdict(session, open_findings(session), today)


def states(state: ChangeState, error: str | None = None) -> Alter:
    """Every change that waits is put into a state."""
    held = sa.update(models.Change).where(models.Change.state == ChangeState.HELD)
    return lambda session: session.execute(held.values(state=state, error=error))


def no_findings(session: Session) -> None:
    session.execute(sa.delete(models.Finding))


def a_run(state: RunState, **values: Any) -> Alter:
    run = models.SyncRun(trigger="manual", actor="anna", state=state, started_at=NOW, **values)
    return lambda session: session.add(run)


def event(action: str) -> Alter:
    at = NOW + dt.timedelta(minutes=1)
    row = models.AuditEvent(at=at, actor="anna", action=action, subject="something")
    return lambda session: session.add(row)


def mapped_before(session: Session) -> None:
    """The clock stood still while the sample was imported and run."""
    session.execute(sa.update(models.AuditEvent).values(at=NOW - dt.timedelta(hours=1)))


ALL_DONE = (mapped_before, states(ChangeState.APPLIED), no_findings)


def test_what_is_held_comes_first_and_its_button_leads_there(viewer: Client, app: Flask) -> None:
    found = judged(app)
    assert (found.step, found.word, found.ready) == (Step.HELD, "not yet", False)
    page = viewer.page("/")
    answer = page.one("section", aria_labelledby="verdict-title")
    assert "Invoices for 2026-11: not yet" in answer.text
    assert f"{found.count} changes are held" in answer.text
    (button,) = answer.all("a", class_="button")
    assert button["href"] == "/runs/1?state=held"
    assert "Held" in viewer.page(button["href"]).text


def test_nothing_left_to_do_says_what_it_does_not_cover(viewer: Client, app: Flask) -> None:
    change(app, *ALL_DONE)
    found = judged(app)
    assert (found.kind, found.step, found.ready) == ("good", Step.NOTHING, True)
    assert (found.customers_off, found.products_off) != (0, 0)
    answer = viewer.page("/").one("section", aria_labelledby="verdict-title")
    assert "nothing is left to do" in answer.text
    assert "Not covered, because their sync is off" in answer.text
    assert not answer.all("a", class_="button")
    for link in answer.all("a"):
        viewer.page(link["href"])


@pytest.mark.parametrize(
    ("alter", "step", "said"),
    [
        ((states(ChangeState.FAILED), no_findings), Step.FAILED, "could not be written"),
        ((states(ChangeState.UNCLEAR), no_findings), Step.SYNC, "not known whether"),
        ((states(ChangeState.PLANNED), no_findings), Step.APPLY, "planned and not written"),
        ((states(ChangeState.SKIPPED, "It moved."), no_findings), Step.SYNC, "skipped"),
        ((states(ChangeState.APPLIED),), Step.FINDINGS, "left usage out of the invoices"),
        ((*ALL_DONE, a_run(RunState.RUNNING)), Step.OPEN_RUN, "at work"),
        ((*ALL_DONE, a_run(RunState.FAILED, message="No key.")), Step.OPEN_RUN, "No key."),
        ((*ALL_DONE, a_run(RunState.INTERRUPTED)), Step.OPEN_RUN, "did not end well"),
        ((*ALL_DONE, a_run(RunState.SUCCEEDED, undo_of_id=1)), Step.SYNC, "took changes back"),
        ((*ALL_DONE, event("product.change")), Step.SYNC, "Mappings or settings were changed"),
        ((*ALL_DONE, event("settings.change")), Step.SYNC, "Mappings or settings were changed"),
    ],
)
def test_it_never_says_yes_while_something_is_open(
    app: Flask, viewer: Client, alter: tuple[Alter, ...], step: Step, said: str
) -> None:
    change(app, *alter)
    found = judged(app)
    assert (found.step, found.ready) == (step, False)
    assert said in found.why
    assert found.why in viewer.page("/").text


@pytest.mark.parametrize(
    "alter",
    [
        states(ChangeState.SKIPPED, "Dismissed by anna."),
        states(ChangeState.SKIPPED, "Not chosen."),
    ],
)
def test_what_a_person_dismissed_is_told_and_stops_nothing(
    app: Flask, viewer: Client, alter: Alter
) -> None:
    change(app, mapped_before, alter, no_findings)
    found = judged(app)
    assert found.ready
    assert found.dismissed > 0
    assert f"{found.dismissed} changes were dismissed" in viewer.page("/").text


def test_a_finding_that_leaves_no_usage_out_stops_nothing(app: Flask) -> None:
    finding = models.Finding
    only_new = sa.delete(finding).where(finding.kind != FindingKind.NEW_PRODUCT)
    change(app, *ALL_DONE[:2], lambda session: session.execute(only_new))
    assert judged(app).ready


def test_signing_in_changes_no_answer(app: Flask) -> None:
    change(app, *ALL_DONE, event("user.password"))
    assert judged(app).ready


@pytest.mark.parametrize(
    ("today", "ready"), [((2026, 12, 31), True), ((2027, 1, 1), False), ((2028, 1, 1), False)]
)
def test_a_month_long_gone_is_no_answer(
    app: Flask, today: tuple[int, int, int], *, ready: bool
) -> None:
    change(app, *ALL_DONE)
    found = judged(app, dt.date(*today))
    assert found.ready is ready
    assert ready or "No run has looked at a newer month" in found.why


def test_before_the_first_run_nothing_is_claimed(make: Callable[..., Flask]) -> None:
    found = judged(make(full=False))
    assert (found.step, found.word) == (Step.PREVIEW, "not known yet")
