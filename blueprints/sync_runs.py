"""Sync runs: start one, watch it, look at its plan, decide about what is held, take it back."""

from __future__ import annotations

import secrets
from collections.abc import Collection
from functools import partial
from typing import Any

from flask import Blueprint, Response, abort, current_app, redirect, request, url_for
from sqlalchemy.orm import Session

import models
from blueprints.access import requires
from blueprints.downloads import csv_download, xlsx_download
from blueprints.htmx import done, render, render_dialog, wants_fragment, with_events
from blueprints.support import actor, installation, reading, writing
from blueprints.sync_runs_forms import Decision, StartForm, change_filters, page_number
from models import ChangeState, Role, RunState
from services.monitoring.findings import KINDS
from services.runs import approvals, exports, run_changes, run_pages, sync_runs
from services.runs.jobs import Jobs, NotConnectedError, Work, mark_dead_runs
from services.runs.reversal import why_no_way_back
from services.runs.sync_runs import RunRefusedError
from services.runs.undo_outlook import undo_outlook
from services.scheduling.schedule_state import state as scheduler_state

blueprint = Blueprint("sync_runs", __name__)

_DECIDABLE = (ChangeState.PLANNED, ChangeState.HELD)


# --- the list -----------------------------------------------------------------------------------


@blueprint.get("/runs")
@requires(Role.VIEWER)
def index() -> Response:
    return _index(StartForm(formdata=None))


@blueprint.post("/runs")
@requires(Role.OPERATOR)
def start() -> Response:
    """Plan only, or plan and write; the page of the run appears at once."""
    form = StartForm()
    if not form.validate():
        return _index(form, status=422)
    verb, trigger = (
        (sync_runs.preview, "preview") if form.preview_only else (sync_runs.run, "sync now")
    )
    try:
        run_id = _begin(lambda c, told: verb(c, form.chosen_month, on_start=told), trigger)
    except RunRefusedError as error:
        return _index(form, error=error, status=409)
    return redirect(url_for(".show", run_id=run_id), 303)  # type: ignore[return-value]


def _index(form: StartForm, *, error: RunRefusedError | None = None, status: int = 200) -> Response:
    mark_dead_runs(installation())
    settings = installation().settings()
    with reading() as session:
        return render(
            "sync_runs/index.html",
            fragment="sync_runs/_list.html",
            status=status,
            runs=run_pages.list_runs(session, page=page_number(), now=installation().now()),
            running=run_pages.running_run(session),
            months=run_pages.months_offered(installation().today()),
            settings=settings,
            scheduler=scheduler_state(session, settings, installation().now()),
            form=form,
            error=error,
            unconnected=isinstance(error, NotConnectedError),
            views=current_app.view_functions,
            key=secrets.token_urlsafe(12),
        )


# --- one run ------------------------------------------------------------------------------------


@blueprint.get("/runs/<int:run_id>")
@requires(Role.VIEWER)
def show(run_id: int) -> Response:
    return _show(run_id)


@blueprint.get("/runs/<int:run_id>/progress")
@requires(Role.VIEWER)
def progress(run_id: int) -> Response:
    """How far it is; the whole run once it has ended, which also ends the asking."""
    if not wants_fragment():
        return redirect(url_for(".show", run_id=run_id))  # type: ignore[return-value]
    mark_dead_runs(installation())
    with reading() as session:
        line = _line(session, run_id)
        if line.running:
            return render("", fragment="sync_runs/_progress.html", line=line)
    response = with_events(_show(run_id), toast=f"Run {run_id}: {line.state[1]}", close=False)
    response.headers["HX-Retarget"] = "#run"
    response.headers["HX-Reswap"] = "outerHTML"
    return response


def _show(run_id: int, *, error: str | None = None, status: int = 200) -> Response:
    mark_dead_runs(installation())
    filters = change_filters()
    with reading() as session:
        line = _line(session, run_id)
        shown, groups = run_changes.changes_page(session, line.run, filters, page=page_number())
        return render(
            "sync_runs/show.html",
            fragment="sync_runs/_run.html",
            status=status,
            line=line,
            shown=shown,
            groups=groups,
            filters=filters,
            sums=run_pages.sums_by_state(session, run_id),
            undone_by=run_pages.undone_by(session, run_id),
            read_only=installation().settings().read_only,
            error=error,
            key=secrets.token_urlsafe(12),
            kinds=run_changes.KINDS,
            states=run_changes.STATES,
            finding_kinds=KINDS,
        )


# --- deciding -----------------------------------------------------------------------------------


@blueprint.get("/runs/<int:run_id>/approve")
@requires(Role.OPERATOR)
def review(run_id: int) -> Response:
    """What approving everything, or all that is not held, would write."""
    held_too = request.args.get("which") == "everything"
    states = _DECIDABLE if held_too else (ChangeState.PLANNED,)
    with reading() as session:
        line = _line(session, run_id)
        total = run_pages.sum_of(session, run_id, states)
    return render_dialog(
        "sync_runs/_approve.html",
        title=f"Apply {total.count} {'change' if total.count == 1 else 'changes'}?",
        line=line,
        total=total,
        which="everything" if held_too else "planned",
        key=secrets.token_urlsafe(12),
    )


@blueprint.post("/runs/<int:run_id>/approve")
@requires(Role.OPERATOR)
def approve(run_id: int) -> Response:
    """Release what was chosen and apply it in the background."""
    decision = Decision.of(request.form)
    with reading() as session:
        chosen = _chosen(session, _line(session, run_id).run, decision)
    if chosen is not None and not chosen:
        return _show(run_id, error=decision.nothing_chosen, status=422)
    try:
        _begin(partial(_approve, run_id, chosen), "approval")
    except RunRefusedError as error:
        return _show(run_id, error=str(error), status=409)
    return redirect(url_for(".show", run_id=run_id), 303)  # type: ignore[return-value]


@blueprint.get("/runs/<int:run_id>/dismiss")
@requires(Role.OPERATOR)
def dismissed(run_id: int) -> Response:
    """Where a reload after a refused dismissal leads."""
    return redirect(url_for(".show", run_id=run_id))  # type: ignore[return-value]


@blueprint.post("/runs/<int:run_id>/dismiss")
@requires(Role.OPERATOR)
def dismiss(run_id: int) -> Response:
    """Decide that held changes are not applied. No vendor is asked."""
    chosen = Decision.of(request.form).ids
    now = installation().now()
    if not chosen:
        return _show(run_id, error=Decision.NOTHING_TICKED, status=422)
    try:
        with writing() as session, session.begin():
            _line(session, run_id)
            count = approvals.dismiss(session, run_id, chosen, actor=actor(), now=now)
    except approvals.NotApprovableError as error:
        return _show(run_id, error=str(error), status=409)
    said = f"Dismissed {count} {'change' if count == 1 else 'changes'}; nothing was written."
    return done(url_for(".show", run_id=run_id), toast=said)


def _approve(
    run_id: int, chosen: Collection[int] | None, context: Any, told: sync_runs.OnStart
) -> sync_runs.RunResult:
    return sync_runs.approve(context, run_id, chosen, on_start=told)


def _chosen(session: Session, run: models.SyncRun, decision: Decision) -> Collection[int] | None:
    """The ids that were decided about; None stands for everything."""
    if decision.which == "everything":
        return None
    if decision.which == "planned" and run.state is RunState.PLANNED:
        return run_changes.planned_ids(session, run.id)
    return decision.ids


# --- taking back --------------------------------------------------------------------------------


@blueprint.get("/runs/<int:run_id>/undo")
@requires(Role.OPERATOR)
def undo(run_id: int) -> Response:
    """What undoing would do and what it cannot, before anything is begun."""
    return _undo(run_id)


@blueprint.post("/runs/<int:run_id>/undo")
@requires(Role.OPERATOR)
def plan_undo(run_id: int) -> Response:
    """Plan the way back; a person reviews and applies it like any plan."""
    with reading() as session:
        _line(session, run_id)
    try:
        undo_id = _begin(
            lambda c, told: sync_runs.undo(c, run_id, plan_only=True, on_start=told), "undo"
        )
    except RunRefusedError as error:
        return _undo(run_id, error=str(error), status=409)
    return redirect(url_for(".show", run_id=undo_id), 303)  # type: ignore[return-value]


def _undo(run_id: int, *, error: str | None = None, status: int = 200) -> Response:
    with reading() as session:
        return render_dialog(
            "sync_runs/_undo.html",
            title=f"Undo run {run_id}?",
            status=status,
            line=_line(session, run_id),
            outlook=undo_outlook(session, run_id),
            no_way_back=why_no_way_back(session, run_id),
            undone_by=run_pages.undone_by(session, run_id),
            error=error,
            key=secrets.token_urlsafe(12),
        )


# --- files --------------------------------------------------------------------------------------


@blueprint.get("/runs/<int:run_id>/changes.csv")
@requires(Role.VIEWER)
def changes_csv(run_id: int) -> Response:
    return csv_download(f"run-{run_id}-changes", exports.CHANGE_COLUMNS, _rows_of(run_id))


@blueprint.get("/runs/<int:run_id>/changes.xlsx")
@requires(Role.VIEWER)
def changes_xlsx(run_id: int) -> Response:
    return xlsx_download(f"run-{run_id}-changes", exports.CHANGE_COLUMNS, _rows_of(run_id))


def _rows_of(run_id: int) -> partial[Any]:
    with reading() as session:
        run = _line(session, run_id).run
    return partial(exports.change_rows, run=run, filters=change_filters())


# --- helpers ------------------------------------------------------------------------------------


def _line(session: Session, run_id: int) -> run_pages.RunLine:
    line = run_pages.run_line(session, run_id, now=installation().now())
    return line or abort(404)


def _begin(work: Work, trigger: str) -> int:
    """Start it in the background; the form's key makes pressing twice one run."""
    mark_dead_runs(installation())
    return jobs().start(work, actor=actor(), trigger=trigger, key=request.form.get("key", ""))


def jobs() -> Jobs:
    """The background runs of this app."""
    found: Jobs = current_app.extensions.setdefault("tallybridge_jobs", Jobs(installation()))
    return found
