"""Sync runs: started once, watched, decided about, taken back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

import models
from models import ChangeState, RunState
from sandbox import Fault, Sandbox
from services.runs.jobs import Recorder
from tests.purging import remove_details
from tests.web.client import Client, page_of
from tests.web.world import installation_of

Make = Callable[..., Flask]


@pytest.fixture(autouse=True)
def _runs_end(app: Flask, sandbox: Sandbox) -> Iterator[None]:
    sandbox.log.clear()
    yield
    wait(app)


def wait(app: Flask) -> None:
    """Until the background runs of the app have ended."""
    found = app.extensions.get("tallybridge_jobs")
    if found is not None:
        found.join()


def run_of(response: TestResponse) -> int:
    assert response.status_code == 303, response.text
    return int(response.location.rsplit("/", 1)[1])


def held(database: Session, run_id: int = 1) -> list[models.Change]:
    query = sa.select(models.Change).where(
        models.Change.run_id == run_id, models.Change.state == ChangeState.HELD
    )
    return list(database.scalars(query))


def change(app: Flask, change_id: int) -> models.Change:
    with installation_of(app).reading() as session:
        found = session.get_one(models.Change, change_id)
        session.expunge_all()
        return found


def run(app: Flask, run_id: int) -> models.SyncRun:
    with installation_of(app).reading() as session:
        found = session.get_one(models.SyncRun, run_id)
        session.expunge_all()
        return found


def count_runs(app: Flask) -> int:
    with installation_of(app).reading() as session:
        return session.scalar(sa.select(sa.func.count()).select_from(models.SyncRun)) or 0


# --- the list and starting ----------------------------------------------------------------------


def test_the_list_shows_each_run_with_its_numbers(viewer: Client) -> None:
    page = viewer.page("/runs")
    row = page.all("tbody")[0].text
    assert "Run 1" in row
    assert "succeeded" in row
    assert "2026-11" in row
    assert "Sync now" not in page.text, "a viewer starts nothing"


def test_an_empty_list_says_what_to_do(empty_admin: Client) -> None:
    page = empty_admin.page("/runs")
    assert "No run yet" in page.text
    assert "Begin with Preview" in page.text


def test_preview_plans_and_writes_nothing(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    run_id = run_of(operator.fill("/runs", {"month": ""}, button="Preview"))
    wait(app)
    assert run(app, run_id).state is RunState.PLANNED
    assert run(app, run_id).actor == "operator"
    assert not sandbox.log.writes()
    assert "planned only" in operator.page(f"/runs/{run_id}").text


def test_sync_now_of_a_chosen_month(app: Flask, operator: Client) -> None:
    run_id = run_of(operator.fill("/runs", {"month": "2026-10"}, button="Sync now"))
    wait(app)
    assert run(app, run_id).month == "2026-10"
    assert run(app, run_id).trigger == "sync now"


def test_a_month_that_is_none_starts_nothing(app: Flask, operator: Client) -> None:
    answer = operator.post("/runs", data={"month": "soon", "what": "sync", "key": "a"})
    assert answer.status_code == 422
    assert "Nothing was started" in answer.text
    assert count_runs(app) == 1


def test_pressed_twice_it_is_one_run(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.3))
    token = operator.token()
    data = {"month": "", "what": "sync", "key": "one press", "csrf_token": token}
    first = operator.post("/runs", data=data)
    second = operator.post("/runs", data=data)
    assert run_of(first) == run_of(second) == 2
    wait(app)
    assert count_runs(app) == 2


def test_two_people_start_one_run(
    app: Flask, operator: Client, admin: Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.5))
    first = run_of(operator.post("/runs", data={"what": "sync", "key": "operator"}))
    second = admin.post("/runs", data={"what": "sync", "key": "admin"})
    assert second.status_code == 409
    assert f"Run {first}" in page_of(second).text
    assert "running already" in second.text
    assert f'href="/runs/{first}"' in second.text
    wait(app)
    assert count_runs(app) == 2


def test_without_vendors_the_reason_stands_beside_the_button(empty_admin: Client) -> None:
    answer = empty_admin.post("/runs", data={"what": "sync", "key": "a"})
    assert answer.status_code == 409
    problem = page_of(answer).all(id="start-error")[0].text
    assert "is not set" in problem
    assert "Nothing was changed" in problem
    assert "settings" in problem


def test_a_wrong_key_is_told_on_the_run(app: Flask, operator: Client, sandbox: Sandbox) -> None:
    sandbox.faults.add(Fault("unauthorized", "connectwise", times=None))
    run_id = run_of(operator.post("/runs", data={"what": "sync", "key": "a"}))
    wait(app)
    page = operator.page(f"/runs/{run_id}")
    assert run(app, run_id).state is RunState.FAILED
    assert "ConnectWise" in page.all(class_="notice")[0].text
    assert "Nothing was written" in page.text


def test_a_month_without_a_report_is_not_ready(app: Flask, operator: Client) -> None:
    run_id = run_of(operator.post("/runs", data={"month": "2027-03", "what": "sync", "key": "a"}))
    wait(app)
    assert "no billing report for 2027-03" in operator.page(f"/runs/{run_id}").text
    assert "not ready" in operator.page("/runs").text


# --- watching -----------------------------------------------------------------------------------


def test_the_page_of_a_running_run_asks_and_a_finished_one_does_not(
    app: Flask, operator: Client, sandbox: Sandbox
) -> None:
    sandbox.faults.add(Fault("slow", "sophos", seconds=0.6))
    run_id = run_of(operator.post("/runs", data={"what": "preview", "key": "a"}))
    page = operator.page(f"/runs/{run_id}")
    assert page.all(id="progress")[0]["hx-trigger"] == "every 1s"
    assert page.all("progress")
    part = operator.get(f"/runs/{run_id}/progress", htmx=True)
    assert "hx-trigger" in part.text
    assert "HX-Retarget" not in part.headers
    assert "hx-trigger" in operator.get("/runs", htmx=True).text, "the list follows too"
    wait(app)
    last = operator.get(f"/runs/{run_id}/progress", htmx=True)
    assert last.headers["HX-Retarget"] == "#run"
    assert "every 1s" not in last.text
    assert "planned only" in last.text
    assert "hx-trigger" not in operator.get("/runs", htmx=True).text


def test_progress_without_htmx_leads_to_the_run(viewer: Client) -> None:
    assert viewer.get("/runs/1/progress").location.endswith("/runs/1")


def test_progress_is_written_twice_a_second_at_most(app: Flask) -> None:
    seconds = iter([0.0, 0.1, 0.6, 0.7])
    recorder = Recorder(installation_of(app), clock=lambda: next(seconds))
    recorder.watch(1)
    seen = []
    for done in (1, 2, 3):
        recorder("Writing", done, 9)
        seen.append(run(app, 1).progress_done)
    recorder("Reading", 1, 9)
    assert seen == [1, 1, 3]
    assert run(app, 1).progress == "Reading", "a new stage is told at once"


def test_a_run_that_died_is_interrupted(app: Flask, viewer: Client) -> None:
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.SyncRun, 1).state = RunState.RUNNING
    assert "interrupted" in viewer.page("/runs").text
    assert run(app, 1).state is RunState.INTERRUPTED
    assert "Its process ended in the middle" in viewer.page("/runs/1").text


def test_there_is_no_such_run(viewer: Client) -> None:
    for path in ("/runs/99", "/runs/99/changes.csv", "/runs/99/changes.xlsx"):
        assert viewer.get(path).status_code == 404


# --- the plan -----------------------------------------------------------------------------------


def test_changes_stand_under_their_customer_and_explain_themselves(
    viewer: Client, database: Session
) -> None:
    page = viewer.page("/runs/1")
    assert "+1+1" in page.text
    assert "where it comes from" in page.text
    first = held(database)[0]
    row = page.all(id=f"change-{first.id}")[0].text
    assert "Held:" in row
    assert first.reason in row
    assert str(first.addition_id) in row
    assert "Approve" not in page.text, "a viewer decides nothing"


def test_filters_by_state_kind_and_text(viewer: Client, database: Session) -> None:
    waiting = len(held(database))
    assert len(_rows(viewer, "?state=held")) == waiting
    assert len(_rows(viewer, "?kind=adopt&state=held")) == waiting
    assert not _rows(viewer, "?kind=cancel")
    assert "No change fits" in viewer.page("/runs/1?kind=cancel").text
    assert 0 < len(_rows(viewer, "?q=HYPERLINK")) < waiting
    assert not _rows(viewer, "?q=%25"), "a percent sign is a percent sign"
    assert _rows(viewer, "?state=nonsense&page=-7"), "what does not exist is passed over"


def _rows(client: Client, query: str) -> list[str]:
    page = client.page(f"/runs/1{query}")
    return [r["id"] for r in page.all("tr") if r.get("id", "").startswith("change-")]


def test_a_big_plan_comes_in_pages(app: Flask, operator: Client) -> None:
    _add_many(app, 5_000)
    first = operator.page("/runs/1?state=held")
    assert len(_rows(operator, "?state=held")) == 150
    assert "1–150 of" in first.text
    second = operator.page("/runs/1?state=held&page=2")
    assert "(continued)" in second.text
    assert len(_rows(operator, "?state=held&page=9999")) > 0, "the last page"


def _add_many(app: Flask, count: int) -> None:
    with installation_of(app).session() as session, session.begin():
        model = held(session)[0]
        columns = [c.key for c in sa.inspect(models.Change).column_attrs if c.key != "id"]
        values = {name: getattr(model, name) for name in columns}
        session.execute(sa.insert(models.Change), [values] * count)


# --- deciding -----------------------------------------------------------------------------------


def test_one_change_is_approved_and_written(
    app: Flask, operator: Client, database: Session, sandbox: Sandbox
) -> None:
    chosen, other = [c.id for c in held(database) if c.before != c.after][:2]
    run_of(operator.post("/runs/1/approve", data={"only": str(chosen), "change": [str(other)]}))
    wait(app)
    assert change(app, chosen).state is ChangeState.APPLIED
    assert change(app, chosen).approved_by == "operator"
    assert change(app, other).state is ChangeState.HELD, "its own button counts alone"
    assert len(sandbox.log.writes()) == 1
    page = operator.page("/runs/1")
    assert "approved by operator" in page.text
    assert "Was held:" in page.all(id=f"change-{chosen}")[0].text
    assert "Was held:" not in page.all(id=f"change-{other}")[0].text


def test_several_and_then_all(app: Flask, operator: Client, database: Session) -> None:
    two = [c.id for c in held(database)][:2]
    run_of(operator.fill("/runs/1", {"change": [str(i) for i in two]}, button="Approve ticked"))
    wait(app)
    assert {change(app, i).state for i in two} == {ChangeState.APPLIED}
    dialog = operator.get("/runs/1/approve?which=everything", htmx=True)
    assert "written to ConnectWise now" in dialog.text
    rest = len(held(database)) - 2
    run_of(operator.fill("/runs/1/approve?which=everything", {}, button=f"Apply {rest}"))
    wait(app)
    with installation_of(app).reading() as session:
        assert not held(session)


def test_approving_twice_writes_once(
    app: Flask, operator: Client, admin: Client, database: Session, sandbox: Sandbox
) -> None:
    chosen = next(c.id for c in held(database) if c.before != c.after)
    run_of(operator.post("/runs/1/approve", data={"only": str(chosen), "key": "a"}))
    wait(app)
    late = admin.post("/runs/1/approve", data={"only": str(chosen), "key": "b"})
    assert late.status_code == 409
    assert f"no change {chosen} that waits" in page_of(late).text
    assert len(sandbox.log.writes()) == 1


def test_nothing_ticked_is_said(operator: Client) -> None:
    for verb in ("approve", "dismiss"):
        answer = operator.post(f"/runs/1/{verb}", data={"change": "x"})
        assert answer.status_code == 422
        assert "Tick at least one change" in answer.text


def test_enter_on_a_box_decides_nothing(app: Flask, operator: Client, database: Session) -> None:
    chosen = held(database)[0].id
    answer = operator.post("/runs/1/approve", data={"change": str(chosen), "which": "none"})
    assert answer.status_code == 422
    assert "press one of the buttons" in answer.text
    assert change(app, chosen).state is ChangeState.HELD


def test_dismissing_records_who_and_writes_nothing(
    app: Flask, operator: Client, database: Session, sandbox: Sandbox
) -> None:
    chosen = held(database)[0].id
    assert operator.post("/runs/1/dismiss", data={"only": str(chosen)}).status_code == 303
    assert change(app, chosen).state is ChangeState.SKIPPED
    assert "Dismissed by operator" in operator.page("/runs/1").text
    assert not sandbox.log.writes()
    assert "dismissed a held change" in operator.page("/audit").text
    again = operator.post("/runs/1/dismiss", data={"only": str(chosen)})
    assert again.status_code == 409


def test_those_that_move_the_same_seats_go_together(
    app: Flask, operator: Client, database: Session
) -> None:
    two = [c.id for c in held(database)][:2]
    with installation_of(app).session() as session, session.begin():
        for change_id in two:
            session.get_one(models.Change, change_id).group = "1/1"
    row = operator.page("/runs/1").all(id=f"change-{two[0]}")[0].text
    assert f"Goes together with change {two[1]}" in row
    operator.post("/runs/1/dismiss", data={"only": str(two[0])})
    assert change(app, two[1]).state is ChangeState.SKIPPED


def test_what_changed_meanwhile_is_skipped_as_stale(
    app: Flask, operator: Client, database: Session, sandbox: Sandbox
) -> None:
    chosen = next(c for c in held(database) if c.before != c.after)
    sandbox.edit({"action": "addition", "id": chosen.addition_id, "quantity": 77})
    run_of(operator.post("/runs/1/approve", data={"only": str(chosen.id)}))
    wait(app)
    assert change(app, chosen.id).state is ChangeState.SKIPPED
    assert "Skipped as stale: its quantity is 77 now" in operator.page("/runs/1").text


def test_a_time_out_while_writing_is_told_on_the_change(
    app: Flask, operator: Client, database: Session, sandbox: Sandbox
) -> None:
    chosen = next(c.id for c in held(database) if c.before != c.after)
    sandbox.faults.add(Fault("error_500", "connectwise", method="PATCH", times=None))
    run_of(operator.post("/runs/1/approve", data={"only": str(chosen)}))
    wait(app)
    page = operator.page("/runs/1?state=failed")
    assert "ConnectWise did not take the change" in page.text
    assert "1 change failed" in page.text
    assert run(app, 1).state is RunState.FAILED


def test_an_open_end_is_told(app: Flask, viewer: Client, database: Session) -> None:
    chosen = held(database)[0].id
    with installation_of(app).session() as session, session.begin():
        session.get_one(models.Change, chosen).state = ChangeState.UNCLEAR
    assert "it is not known whether ConnectWise took it" in viewer.page("/runs/1").text


def test_read_only_applies_nothing(make: Make, sign_in: Callable[[Flask, str], Client]) -> None:
    app = make(READ_ONLY="true")
    client = sign_in(app, "operator")
    page = client.page("/runs/1")
    assert "Read-only is switched on" in page.text
    offered = {button.text for button in page.all("button")}
    assert "Dismiss" in offered
    assert not [each for each in offered if each.startswith(("Approve", "Apply"))]
    answer = client.post("/runs/1/approve", data={"which": "everything"})
    assert answer.status_code == 409
    assert "Nothing was written" in answer.text
    wait(app)


def test_of_a_plan_all_that_is_not_held_is_applied(
    app: Flask, operator: Client, sandbox: Sandbox
) -> None:
    with installation_of(app).session() as session, session.begin():
        for one in held(session)[:3]:
            one.state = ChangeState.PLANNED
        session.get_one(models.SyncRun, 1).state = RunState.PLANNED
    run_of(operator.fill("/runs/1/approve?which=planned", {}, button="Apply 3"))
    wait(app)
    with installation_of(app).reading() as session:
        assert len(held(session)) == 39


# --- undo ---------------------------------------------------------------------------------------


def test_undo_says_what_it_does_and_plans_first(
    app: Flask, operator: Client, sandbox: Sandbox
) -> None:
    asked = operator.page("/runs/1/undo").text
    assert "additions made by it are cancelled" in asked
    assert "Nothing is written before that" in asked
    undo_id = run_of(operator.fill("/runs/1/undo", {}, button="Plan the way back"))
    wait(app)
    assert not sandbox.log.writes()
    assert run(app, undo_id).state is RunState.PLANNED
    page = operator.page(f"/runs/{undo_id}").text
    assert "takes back run 1" in page
    assert "Nothing has been written yet" in page
    assert f"taken back by run {undo_id}" in operator.page("/runs/1").text
    everything = operator.post(f"/runs/{undo_id}/approve", data={"which": "everything"})
    run_of(everything)
    wait(app)
    assert run(app, undo_id).state is RunState.SUCCEEDED
    assert sandbox.log.writes()


def test_what_cannot_be_undone_is_said(app: Flask, operator: Client) -> None:
    with installation_of(app).session() as session, session.begin():
        session.execute(
            sa.update(models.Change)
            .where(models.Change.state == ChangeState.APPLIED)
            .values(kind="cancel")
        )
    page = operator.page("/runs/1/undo").text
    assert "Nothing of run 1 can be undone" in page
    assert "a cancelled addition is not opened again" in page


def test_what_is_not_kept_any_more_cannot_be_undone(app: Flask, operator: Client) -> None:
    remove_details(installation_of(app).engine, 1)
    before = count_runs(app)
    page = operator.page("/runs/1")
    assert "changes and findings were removed on" in page.text
    assert not page.all("a", href="/runs/1/undo")
    assert (
        "its changes were removed as the retention settings say"
        in operator.page("/runs/1/undo").one("main").text
    )
    answer = operator.post("/runs/1/undo")
    assert answer.status_code == 409
    said = page_of(answer).one("main").text
    assert said.count("its changes were removed as the retention settings say") == 1
    assert "Nothing was changed." in said
    assert count_runs(app) == before


# --- roles --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/runs", "/runs/1/approve", "/runs/1/dismiss", "/runs/1/undo"])
def test_a_viewer_changes_nothing(viewer: Client, path: str) -> None:
    assert viewer.post(path, data={"only": "1", "what": "sync"}).status_code == 403
