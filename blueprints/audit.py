"""The audit: who did what, when, with the values before and after."""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from blueprints.access import requires
from blueprints.downloads import csv_download, xlsx_download
from blueprints.htmx import render
from blueprints.support import installation, reading
from blueprints.sync_runs_forms import page_number
from models import Role
from services import audit_pages
from services.audit_pages import AuditFilters
from services.runs import exports

blueprint = Blueprint("audit", __name__)


@blueprint.get("/audit")
@requires(Role.VIEWER)
def index() -> Response:
    filters, wrong = _filters()
    timezone = installation().settings().timezone
    with reading() as session:
        people, actions = audit_pages.people_and_actions(session)
        return render(
            "audit/index.html",
            fragment="audit/_table.html",
            shown=audit_pages.audit_page(session, filters, timezone=timezone, page=page_number()),
            filters=filters,
            people=people,
            actions=actions,
            words=audit_pages.ACTIONS,
            timezone=timezone,
            wrong=wrong,
        )


@blueprint.get("/audit.csv")
@requires(Role.VIEWER)
def as_csv() -> Response:
    return csv_download("audit", exports.AUDIT_COLUMNS, _rows())


@blueprint.get("/audit.xlsx")
@requires(Role.VIEWER)
def as_xlsx() -> Response:
    return xlsx_download("audit", exports.AUDIT_COLUMNS, _rows())


def _rows() -> partial[Any]:
    filters, _ = _filters()
    query = audit_pages.filtered_events(filters, timezone=installation().settings().timezone)
    return partial(exports.audit_rows, query=query)


def _filters() -> tuple[AuditFilters, list[str]]:
    """What the address asks for, and which of its days are none."""
    given = request.args
    days: dict[str, dt.date] = {}
    wrong = []
    for name in ("since", "until"):
        try:
            if given.get(name):
                days[name] = dt.date.fromisoformat(given[name])
        except ValueError:
            wrong.append(given[name][:40])
    run = given.get("run", "")
    filters = AuditFilters(
        actor=given.get("actor", ""),
        action=given.get("action", ""),
        subject=given.get("subject", "").strip()[:200],
        run_id=int(run) if run.isdecimal() and len(run) < 10 else None,
        **days,
    )
    return filters, wrong
