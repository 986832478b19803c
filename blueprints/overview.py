"""Is it healthy, at a glance?"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, make_response, render_template

from blueprints.access import requires
from blueprints.chart import bars
from blueprints.fixes import run_url, url_if
from blueprints.setup import forget_way_back, progress_now
from blueprints.support import installation, reading
from models import Role
from services.monitoring import findings, overview
from services.monitoring.notifications import undelivered
from services.monitoring.verdict import Step, Verdict, verdict
from services.scheduling.schedule_state import state as scheduler_state
from services.upkeep.housekeeping import backup_state

blueprint = Blueprint("overview", __name__)


@blueprint.get("/")
@requires(Role.VIEWER)
def index() -> Response:
    with reading() as session:
        found = findings.open_findings(session)
        context: dict[str, Any] = {
            "vendors": overview.connections(installation(), session),
            "found": found,
            "verdict": verdict(session, found, installation().today()),
            "last": overview.last_run(session),
            "usage": overview.usage_by_month(session),
            "undelivered": undelivered(session, installation().now()),
            "backup": backup_state(session),
            "scheduler": scheduler_state(session, installation().settings(), installation().now()),
        }
    context["chart"] = bars([(each.month, each.quantity) for each in context["usage"]])
    return make_response(render_template("overview/index.html", **context, **_around(context)))


def _around(context: dict[str, Any]) -> dict[str, Any]:
    """The settings that matter here, and the addresses of what can be done."""
    settings, progress = installation().settings(), progress_now()
    if progress.over:
        forget_way_back()
    return {
        "progress": progress,
        "settings": settings,
        "last_url": run_url(context["last"]),
        "run_url": run_url,
        "step": _step(context["verdict"]),
        "urls": {
            "sophos": url_if("connections.sophos") or _settings(),
            "connectwise": url_if("connections.psa") or _settings(),
            "run": url_if("sync_runs.index"),
            "settings": _settings(),
        },
    }


def _step(judged: Verdict) -> tuple[str, str | None] | None:
    """What the one button of the answer says, and where it leads."""
    run, count = judged.run, f"{judged.count:,}"
    runs = url_if("sync_runs.index")
    ways: dict[Step, tuple[str, str | None]] = {
        Step.PREVIEW: ("Make a preview", runs),
        Step.SYNC: ("Sync again", runs),
        Step.OPEN_RUN: (f"Open run {run.id}" if run else "Open sync runs", run_url(run)),
        Step.APPLY: ("Look through the plan", run_url(run)),
        Step.FAILED: ("See what failed", url_if("findings.index", show=findings.FAILED)),
        Step.HELD: (f"Decide about {count} held", run_url(run, state="held")),
        Step.FINDINGS: ("Open the findings", url_if("findings.index")),
    }
    return ways.get(judged.step)


def _settings() -> str | None:
    return url_if("settings.index")
