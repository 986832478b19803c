"""The JSON API: what the command line gives with `--json`, for other programs, by token."""

from __future__ import annotations

import re

from flask import Blueprint, Response, abort, current_app, request, url_for
from sqlalchemy.orm import Session

import models
from blueprints.access import requires
from blueprints.api_access import BLUEPRINT, caller
from blueprints.api_document import document_of
from blueprints.api_operations import LARGE, Operations, answer
from blueprints.api_problems import fault, invalid, problem
from blueprints.support import installation, reading
from blueprints.sync_runs import jobs
from models import Role, RunState
from services.context import SyncContext
from services.formats import json_documents, json_shapes, reconciliation_shapes
from services.formats.config_import import import_config
from services.formats.config_json import config_of, pointer_of
from services.formats.lined_yaml import ConfigFileError
from services.request_keys import KeyReusedError, RequestKeys
from services.runs import sync_runs
from services.runs.documents import load_run, run_document
from services.runs.jobs import Work, mark_dead_runs
from services.runs.sync_runs import RunRefusedError
from services.sync.model import Month

blueprint = Blueprint(BLUEPRINT, __name__, url_prefix="/api/v1")
operations = Operations(blueprint)

_KEY = re.compile(r"[!-~]{1,100}")


# --- looking ------------------------------------------------------------------------------------


@operations.get("/status", "Is it healthy, at a glance", answer=json_shapes.Status)
@requires(Role.VIEWER)
def status() -> Response:
    """No vendor is called to answer this."""
    mark_dead_runs(installation())
    with reading() as session:
        return answer(json_documents.status(installation(), session))


@operations.get(
    "/runs", "List runs and plans", answer=json_shapes.RunList, query=json_shapes.RunsQuery
)
@requires(Role.VIEWER)
def runs(query: json_shapes.RunsQuery) -> Response:
    """The newest first."""
    return _runs(query, query.state)


@operations.get("/plans", "List plans", answer=json_shapes.RunList, query=json_shapes.PlansQuery)
@requires(Role.VIEWER)
def plans(query: json_shapes.PlansQuery) -> Response:
    """The runs that only planned, the newest first; each is a run by its id."""
    return _runs(query, RunState.PLANNED)


@operations.get("/runs/<int:run_id>", "Look at a run", answer=json_shapes.Run, problems=(404,))
@requires(Role.VIEWER)
def run(run_id: int) -> Response:
    """Its changes and findings. While it is under way, ask again until it is not `running`."""
    mark_dead_runs(installation())
    with reading() as session:
        return answer(run_document(_run(session, run_id)))


@operations.get("/findings", "List what is open", answer=json_shapes.OpenFindings)
@requires(Role.VIEWER)
def findings() -> Response:
    """Everything that a person must look at, as the page Findings has it."""
    with reading() as session:
        return answer(json_documents.open_findings(session))


@operations.get(
    "/reconciliation", "Compare usage with what is billed",
    answer=reconciliation_shapes.Reconciliation, query=reconciliation_shapes.ReconciliationQuery,
)  # fmt: skip
@requires(Role.VIEWER)
def reconciliation(query: reconciliation_shapes.ReconciliationQuery) -> Response:
    """As it was read last, with what we wrote since. A plan reads it anew."""
    with reading() as session:
        found = json_documents.reconciliation(
            session, month=query.month, show=query.show, page=query.page, size=query.size
        )
    return answer(found)


# --- doing --------------------------------------------------------------------------------------


@operations.post(
    "/runs", "Begin a plan or a run", status=202, answer=json_shapes.Run,
    body=json_shapes.StartRun, problems=(409,), keyed=True,
)  # fmt: skip
@requires(Role.OPERATOR)
def start_run(body: json_shapes.StartRun) -> Response:
    """It goes on in the background; look at it under its Location.

    One run at a time: while another one is under way this is refused.
    """
    month = Month.parse(body.month) if body.month else None
    verb = sync_runs.preview if body.kind == "plan" else sync_runs.run
    trigger = "preview" if body.kind == "plan" else "API"
    return _begin(lambda context, told: verb(context, month, on_start=told), trigger)


@operations.post(
    "/runs/<int:run_id>/approve", "Approve changes and apply them", status=202,
    answer=json_shapes.Run, body=json_shapes.Approval, problems=(404, 409), keyed=True,
)  # fmt: skip
@requires(Role.OPERATOR)
def approve_run(run_id: int, body: json_shapes.Approval) -> Response:
    """Changes that belong together go together. It goes on in the background."""
    with reading() as session:
        _run(session, run_id)
    chosen = None if body.changes is None else frozenset(body.changes)

    def work(context: SyncContext, told: sync_runs.OnStart) -> sync_runs.RunResult:
        return sync_runs.approve(context, run_id, chosen, on_start=told)

    return _begin(work, "approval")


@operations.post(
    "/runs/<int:run_id>/undo", "Plan the way back", status=202, answer=json_shapes.Run,
    problems=(404, 409), keyed=True,
)  # fmt: skip
@requires(Role.OPERATOR)
def undo_run(run_id: int) -> Response:
    """A new plan that puts back what stood before a run.

    Nothing is written until it is approved; findings say what cannot be undone.
    """
    with reading() as session:
        _run(session, run_id)
    return _begin(
        lambda context, told: sync_runs.undo(context, run_id, plan_only=True, on_start=told),
        "undo",
    )


# --- mappings -----------------------------------------------------------------------------------


@operations.get(
    "/mappings/products", "List Sophos products", answer=json_shapes.ProductList,
    query=json_shapes.PageQuery,
)  # fmt: skip
@requires(Role.VIEWER)
def products(query: json_shapes.PageQuery) -> Response:
    """Each with the ConnectWise product that it goes to, by code."""
    with reading() as session:
        return answer(json_documents.product_list(session, page=query.page, size=query.size))


@operations.get(
    "/mappings/tenants", "List customers", answer=json_shapes.TenantList,
    query=json_shapes.PageQuery,
)  # fmt: skip
@requires(Role.VIEWER)
def tenants(query: json_shapes.PageQuery) -> Response:
    """Each with the company and agreement that it is billed on, by name."""
    with reading() as session:
        return answer(json_documents.tenant_list(session, page=query.page, size=query.size))


@operations.get("/mappings", "Export all mappings", answer=json_shapes.Mappings)
@requires(Role.VIEWER)
def export_mappings() -> Response:
    """As the configuration file has them, without the settings."""
    with reading() as session:
        return answer(json_documents.mappings(session))


@operations.patch(
    "/mappings", "Import mappings", answer=json_shapes.ImportResult, body=json_shapes.Mappings,
    query=json_shapes.ImportQuery, limit=LARGE, problems=(502, 503),
)  # fmt: skip
@requires(Role.OPERATOR)
def import_mappings(query: json_shapes.ImportQuery, body: json_shapes.Mappings) -> Response:
    """All of it, or nothing when anything in it is wrong.

    Every name is looked up at the vendors. What is not mentioned stays as it is, and so does
    every field that an entry leaves out.
    """
    try:
        context = installation().context(actor=caller().actor, trigger="import")
        changes = import_config(context, config_of(body), dry_run=query.dry_run)
    except ConfigFileError as error:
        problems = [(pointer_of(body, each.line), each.message) for each in error.problems]
        return invalid([fault(said, pointer=where) for where, said in problems])
    return answer({"dry_run": query.dry_run, "changes": changes})


# --- this API -----------------------------------------------------------------------------------


@operations.get("/openapi.json", "This API as a document (OpenAPI 3.1)")
@requires(Role.VIEWER)
def openapi() -> Response:
    """What you are reading, for other programs."""
    return answer(document_of(operations, blueprint.url_prefix or ""))


# --- helpers ------------------------------------------------------------------------------------


def _runs(query: json_shapes.PlansQuery, state: RunState | None) -> Response:
    mark_dead_runs(installation())
    with reading() as session:
        found = json_documents.run_list(
            session, state=state, month=query.month, page=query.page, size=query.size,
            now=installation().now(),
        )  # fmt: skip
    return answer(found)


def _run(session: Session, run_id: int) -> models.SyncRun:
    """The run with what belongs to it; ends the request with 404 when there is none."""
    if session.get(models.SyncRun, run_id) is None:
        abort(problem(404, f"There is no run {run_id}. Nothing was changed."))
    return load_run(session, run_id)


def _begin(work: Work, trigger: str) -> Response:
    """Begin it in the background; the same Idempotency-Key again is the same run."""
    key = _claimed_key()
    mark_dead_runs(installation())
    try:
        run_id = jobs().start(work, actor=caller().actor, trigger=trigger, key=key)
    except RunRefusedError as error:
        return problem(409, str(error))
    with reading() as session:
        response = answer(run_document(load_run(session, run_id)), 202)
    response.headers["Location"] = url_for(".run", run_id=run_id)
    return response


def _claimed_key() -> str:
    """The key under which a run begins: one of its own for every token; empty without one."""
    given = request.headers.get("Idempotency-Key")
    if given is None:
        return ""
    if not _KEY.fullmatch(given):
        abort(_wrong_key("1 to 100 visible ASCII characters"))
    # The person counts as well: the number of a token that was revoked may be given anew.
    key = f"api {caller().user_id}.{caller().token_id} {given}"
    try:
        keys: RequestKeys = current_app.extensions.setdefault("tallybridge_keys", RequestKeys())
        keys.claim(key, f"{request.path}\n".encode() + request.get_data())
    except KeyReusedError:
        abort(_wrong_key("it came with another request before; choose another one"))
    return key


def _wrong_key(detail: str) -> Response:
    return invalid([fault(detail, parameter="Idempotency-Key")])
