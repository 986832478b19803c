"""Reconciliation: what Sophos reports beside what ConnectWise bills, each difference with a fix."""

from __future__ import annotations

import secrets
from functools import partial
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for

from blueprints.access import requires
from blueprints.downloads import csv_download, xlsx_download
from blueprints.htmx import render, wants_fragment, with_events
from blueprints.reconciliation_fixes import fixes_of
from blueprints.support import actor, installation, reading
from blueprints.sync_runs import jobs
from blueprints.sync_runs_forms import StartForm, page_number
from models import Role
from services.runs import reconciliation, reconciliation_pages, run_pages, sync_runs
from services.runs.jobs import NotConnectedError, mark_dead_runs
from services.runs.reconciliation_pages import COMPARING, FILTERS, SORTS, View
from services.runs.sync_runs import RunRefusedError

blueprint = Blueprint("reconciliation", __name__)

_PAGE, _FRAGMENT = "reconciliation/index.html", "reconciliation/_comparison.html"


@blueprint.get("/reconciliation")
@requires(Role.VIEWER)
def index() -> Response:
    return _show()


@blueprint.post("/reconciliation")
@requires(Role.OPERATOR)
def compare() -> Response:
    """Read both vendors in the background, as a preview does; nothing is written to either."""
    form = StartForm()
    if not form.validate():
        return _show(" ".join(form.month.errors), status=422)
    month = form.chosen_month
    try:
        mark_dead_runs(installation())
        jobs().start(
            lambda context, told: sync_runs.preview(context, month, whole=True, on_start=told),
            actor=actor(),
            trigger=COMPARING,
            key=request.form.get("key", ""),
        )
    except RunRefusedError as error:
        unconnected = isinstance(error, NotConnectedError)
        return _show(str(error), status=409, unconnected=unconnected)
    return redirect(url_for(".index"), 303)  # type: ignore[return-value]


@blueprint.get("/reconciliation/progress")
@requires(Role.VIEWER)
def progress() -> Response:
    """How far the run is that is under way; the whole comparison once it has ended."""
    if not wants_fragment():
        return redirect(url_for(".index"))  # type: ignore[return-value]
    mark_dead_runs(installation())
    with reading() as session:
        running = run_pages.running_run(session)
    if running is not None:
        return render("", fragment="reconciliation/_progress.html", running=running)
    response = with_events(_show(), toast="The run has ended.", close=False)
    response.headers["HX-Retarget"] = "#reconciliation"
    response.headers["HX-Reswap"] = "outerHTML"
    return response


# --- files ----------------------------------------------------------------------------------------


@blueprint.get("/reconciliation.csv")
@requires(Role.VIEWER)
def as_csv() -> Response:
    rows = partial(reconciliation_pages.file_rows, month=_month(), view=_view())
    return csv_download(_file_name(), reconciliation_pages.COLUMNS, rows)


@blueprint.get("/reconciliation.xlsx")
@requires(Role.VIEWER)
def as_xlsx() -> Response:
    rows = partial(reconciliation_pages.file_rows, month=_month(), view=_view())
    return xlsx_download(_file_name(), reconciliation_pages.COLUMNS, rows)


def _file_name() -> str:
    with reading() as session:
        found = reconciliation.newest(session, _month())
    return f"reconciliation-{found.month}" if found else "reconciliation"


# --- what the templates are given -----------------------------------------------------------------


def _show(error: str | None = None, *, status: int = 200, unconnected: bool = False) -> Response:
    mark_dead_runs(installation())
    return render(
        _PAGE,
        fragment=_FRAGMENT,
        status=status,
        error=error,
        unconnected=unconnected,
        months_offered=run_pages.months_offered(installation().today()),
        filters=FILTERS,
        reasons=reconciliation_pages.REASONS,
        fixes_of=fixes_of,
        key=secrets.token_urlsafe(12),
        **_found(_view()),
    )


def _found(view: View) -> dict[str, Any]:
    with reading() as session:
        newest = reconciliation.newest(session)
        comparison = reconciliation.newest(session, _month())
        return {
            "older": comparison is not None and comparison is not newest,
            "view": view,
            "found": comparison
            and reconciliation_pages.show(session, comparison, view, page=page_number()),
            "months": reconciliation.months(session),
            "running": run_pages.running_run(session),
            "failed": reconciliation_pages.failed_since(session, comparison),
        }


def _month() -> str | None:
    """The month asked for, if it was compared; else whichever was read last."""
    asked = request.args.get("month", "")
    with reading() as session:
        return asked if asked in reconciliation.months(session) else None


def _view() -> View:
    args = request.args
    show, sort = args.get("show", ""), args.get("sort", "")
    return View(
        show=show if show in FILTERS else View().show,
        text=args.get("q", "")[:200],
        sort=sort if sort in SORTS else View().sort,
        flipped=args.get("dir") == "flip",
    )
