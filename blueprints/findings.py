"""Everything that a person must look at, each with its fix one click away."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from flask import Blueprint, Response, request, url_for

import models
from blueprints.access import requires
from blueprints.fixes import fix_of, run_url
from blueprints.htmx import done, render
from blueprints.support import actor, installation, reading, writing
from models import Role
from services.monitoring import findings
from services.tenants.tenant_mappings import Author, MappingError

blueprint = Blueprint("findings", __name__)


@blueprint.get("/findings")
@requires(Role.VIEWER)
def index() -> Response:
    return _page()


@blueprint.post("/findings")
@requires(Role.OPERATOR)
def assign() -> Response:
    serial = request.form.get("serial", "")
    try:
        with writing() as session, session.begin():
            findings.assign(session, serial, request.form.get("tenant_id", ""), _author())
    except MappingError as error:
        return _page(status=422, problem=str(error), problem_at=serial)
    return _done(f"{serial} is assigned. The next run bills it.")


@blueprint.post("/findings/remove")
@requires(Role.OPERATOR)
def unassign() -> Response:
    serial = request.form.get("serial", "")
    with writing() as session, session.begin():
        findings.unassign(session, serial, _author())
    return _done(f"{serial} belongs to no customer again.")


def _done(text: str) -> Response:
    fragment = "findings/_list.html"
    return done(url_for("findings.index"), fragment=fragment, toast=text, **_everything())


def _page(status: int = 200, **what: Any) -> Response:
    context = _everything() | what
    serials = {finding.serial for group in context["found"].groups for finding in group.findings}
    context["beside_row"] = what.get("problem_at") in serials
    return render("findings/index.html", fragment="findings/_list.html", status=status, **context)


def _everything() -> dict[str, Any]:
    show = request.args.get("show", "")
    with reading() as session:
        found = findings.open_findings(session)
        assignments = findings.assignments(session)
        tenants = sa.select(models.TenantMapping).order_by(models.TenantMapping.tenant_name)
        return {
            "found": found,
            "show": show if any(group.key == show for group in found.groups) else "",
            "run_url": run_url(found.run),
            "assignments": assignments,
            "tenants": list(session.scalars(tenants)),
            "fix_of": fix_of,
        }


def _author() -> Author:
    return Author(actor(), installation().now())
