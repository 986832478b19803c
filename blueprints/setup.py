"""The first run: a way through everything that has to be set up, to be left and taken up again."""

from __future__ import annotations

import secrets
from typing import Any

from flask import (
    Blueprint,
    Response,
    flash,
    make_response,
    redirect,
    render_template,
    request,
    url_for,
)
from flask import session as cookie
from flask_wtf import FlaskForm

from blueprints import connections, settings, sync_runs
from blueprints.access import requires
from blueprints.settings_forms import DefaultProductForm, SettingsForm
from blueprints.setup_forms import wanted_products, wants_sync
from blueprints.support import actor, installation, reading, user_id, writing
from blueprints.tenant_mappings_forms import wanted_of
from models import Role, RunState
from services.first_run import setup, setup_mappings
from services.first_run.setup import Progress
from services.monitoring import overview
from services.products.catalog_copy import copy_state, refresh_soon
from services.products.catalog_search import warm
from services.runs.jobs import mark_dead_runs
from services.runs.run_pages import run_line, sums_by_state
from services.runs.sync_runs import OnStart, RunRefusedError, RunResult
from services.runs.sync_runs import preview as make_preview
from services.scheduling.schedule import in_words
from services.tenants import company_directory, tenant_list
from services.tenants.tenant_mappings import Author, NoSuchCustomerError

blueprint = Blueprint("setup", __name__, url_prefix="/set-up")

SIDES = {"sophos": "sophos", "connectwise": "psa"}
"""The steps that connect a vendor, and what its settings page is called."""
WAY_BACK = "set_up"


# --- connections --------------------------------------------------------------------------------


@blueprint.get("/sophos")
@requires(Role.ADMIN)
def sophos() -> Response:
    return _connection("sophos", connections.form_of("sophos"))


@blueprint.post("/sophos")
@requires(Role.ADMIN)
def save_sophos() -> Response:
    return _save_connection("sophos")


@blueprint.get("/connectwise")
@requires(Role.ADMIN)
def connectwise() -> Response:
    return _connection("connectwise", connections.form_of("psa"))


@blueprint.post("/connectwise")
@requires(Role.ADMIN)
def save_connectwise() -> Response:
    return _save_connection("connectwise")


def _save_connection(step: str) -> Response:
    """Keep what was typed and test it at once: wrong keys are seen where they were entered."""
    side = SIDES[step]
    form = connections.form_of(side)
    if not connections.kept(side, form):
        return _connection(step, form, status=422)
    connections.begin_test(side)
    flash("Saved. The connection is tested now.")
    return _to(f".{step}")


def _connection(step: str, form: FlaskForm, *, status: int = 200) -> Response:
    context = connections.page_context(SIDES[step], form)
    return _page(step, status=status, action=url_for(f".{step}"), **context)


# --- the default product ------------------------------------------------------------------------


@blueprint.get("/default-product")
@requires(Role.ADMIN)
def default_product() -> Response:
    return _default_product(settings.shown(DefaultProductForm))


@blueprint.post("/default-product")
@requires(Role.ADMIN)
def save_default_product() -> Response:
    """Keep it, and go on: what the next steps are about is read meanwhile."""
    form = DefaultProductForm()
    said = settings.saved(form, settings.check_names)
    if said is None:
        return _default_product(form, status=422)
    with writing() as session, session.begin():
        setup.accept_default_product(session, now=installation().now())
    flash(said)
    _read_if_new()
    return _to(".products")


def _default_product(form: SettingsForm, *, status: int = 200) -> Response:
    action = url_for(".default_product")
    return _page("default_product", status=status, action=action, **settings.page_context(form))


# --- products and customers ---------------------------------------------------------------------


@blueprint.get("/products")
@requires(Role.ADMIN)
def products() -> Response:
    return _products()


@blueprint.post("/products")
@requires(Role.ADMIN)
def accept_products() -> Response:
    """Map what was ticked of the suggestions."""
    with writing() as session, session.begin():
        accepted, left = setup_mappings.accept_products(
            session, _author(), wanted_products(), sync=wants_sync()
        )
    return _accepted("products", accepted, left)


@blueprint.get("/customers")
@requires(Role.ADMIN)
def customers() -> Response:
    return _customers()


@blueprint.post("/customers")
@requires(Role.ADMIN)
def accept_customers() -> Response:
    """Map what was left ticked of the exact suggestions."""
    wanted = [wanted_of(each) for each in request.form.getlist("accept")]
    try:
        with writing() as session, session.begin():
            accepted, left = setup_mappings.accept_customers(
                session, _author(), wanted, sync=wants_sync()
            )
    except NoSuchCustomerError:
        return _customers(problem="There is no such customer. Nothing was changed.", status=422)
    return _accepted("customers", accepted, left)


@blueprint.get("/read")
@requires(Role.ADMIN)
def was_read() -> Response:
    """Where a reload after a refused reading leads."""
    return _to(".products")


@blueprint.post("/read")
@requires(Role.ADMIN)
def read() -> Response:
    """Read what there is to map: Sophos' usage, both lists of customers, ConnectWise's catalog."""
    step = "customers" if request.form.get("step") == "customers" else "products"
    try:
        _begin_reading()
    except RunRefusedError as error:
        shows = {"products": _products, "customers": _customers}[step]
        return shows(problem=str(error), status=409)
    return _to(f".{step}")


def _products(*, problem: str = "", status: int = 200) -> Response:
    with reading() as session:
        offers = setup_mappings.suggested_products(session, user_id(), installation().settings())
        count = setup.count_products(session)
    return _page(
        "products", status=status, problem=problem, offers=offers, count=count, **_being_read()
    )


def _customers(*, problem: str = "", status: int = 200) -> Response:
    with reading() as session:
        exact = tenant_list.exact_matches(session, today=installation().today())
        count = setup.count_customers(session)
    return _page(
        "customers", status=status, problem=problem, rows=exact, count=count, **_being_read()
    )


def _accepted(step: str, accepted: int, left: list[str]) -> Response:
    flash(f"{accepted} mapped." if accepted else "Nothing was mapped.")
    if left:
        flash(f"Left as they are, because they changed meanwhile: {', '.join(left)}.", "warn")
    return _to(f".{step}")


def _being_read() -> dict[str, Any]:
    """What is read in the background just now, and what came of it last."""
    mark_dead_runs(installation())
    with reading() as session:
        run = setup.newest_run(session, reading=True)
        refresh = company_directory.latest_refresh(session)
        catalog = copy_state(installation(), session)
    refreshing = company_directory.is_running(refresh, installation().now())
    return {
        "run": run,
        "refresh": refresh,
        "catalog": catalog,
        "busy": bool(run and run.state is RunState.RUNNING) or refreshing or catalog.refreshing,
        "key": secrets.token_urlsafe(12),
    }


def _read_if_new() -> None:
    """Begin to read when nothing was read yet; the step says so if it cannot be."""
    with reading() as session:
        known = setup.count_products(session).known
    connected = all(step.done for step in progress_now().steps if step.key in SIDES)
    if known or not connected:
        return
    try:
        _begin_reading()
    except RunRefusedError as error:
        flash(str(error), "warn")


def _begin_reading() -> None:
    here, who = installation(), actor()

    def work(context: Any, told: OnStart) -> RunResult:
        try:
            return make_preview(context, on_start=told)
        finally:
            company_directory.start_refresh(here, actor=who)

    key = request.form.get("key", "")
    sync_runs.jobs().start(work, actor=who, trigger=setup.READING, key=key)
    refresh_soon(here, then=warm)


# --- preview, and the end -----------------------------------------------------------------------


@blueprint.get("/preview")
@requires(Role.ADMIN)
def preview() -> Response:
    return _preview()


@blueprint.post("/preview")
@requires(Role.ADMIN)
def start_preview() -> Response:
    mark_dead_runs(installation())
    key = request.form.get("key", "")
    try:
        sync_runs.jobs().start(
            lambda context, told: make_preview(context, on_start=told),
            actor=actor(), trigger="preview", key=key,
        )  # fmt: skip
    except RunRefusedError as error:
        return _preview(problem=str(error), status=409)
    return _to(".preview")


def _preview(*, problem: str = "", status: int = 200) -> Response:
    mark_dead_runs(installation())
    here = installation()
    with reading() as session:
        run = setup.newest_run(session, reading=False)
        line = run_line(session, run.id, now=here.now()) if run else None
        return _page(
            "preview",
            status=status,
            problem=problem,
            line=line,
            sums=sums_by_state(session, run.id) if run else {},
            counts=(setup.count_products(session), setup.count_customers(session)),
            key=secrets.token_urlsafe(12),
        )


@blueprint.post("/finish")
@requires(Role.ADMIN)
def finish() -> Response:
    """The end, or enough of it: the overview does not ask any more."""
    with writing() as session, session.begin():
        setup.finish(session, actor=actor(), now=installation().now())
    forget_way_back()
    return _to("overview.index")


# --- what the handlers share --------------------------------------------------------------------


def progress_now() -> Progress:
    """How far setting up is, as far as is known without asking a vendor."""
    here = installation()
    tests = connections.connection_tests().found()
    with reading() as session:
        return setup.progress(
            session,
            overview.connections(here, session),
            here.settings(),
            locked=here.locked_connection_values(),
            untested=[vendor for vendor, test in tests.items() if not test.ok],
        )


def forget_way_back() -> None:
    """Other pages do not lead back to the set-up any more."""
    cookie.pop(WAY_BACK, None)


def _page(step: str, *, status: int = 200, **context: Any) -> Response:
    """One step in its frame. From now on other pages show the way back here."""
    cookie[WAY_BACK] = True
    progress, schedule = progress_now(), installation().settings().schedule
    keys = [each.key for each in progress.steps]
    at = keys.index(step)
    around = {
        "progress": progress,
        "step": step,
        "here": progress.steps[at],
        "address": url_for(f".{step}"),
        "schedule": in_words(schedule),
        "by_itself": schedule.when != "by_hand",
        "back": url_for(f".{keys[at - 1]}") if at > 1 else None,  # the account is made only once
        "ahead": url_for(f".{keys[at + 1]}") if at + 1 < len(keys) else None,
    }
    return make_response(render_template(f"setup/{step}.html", **around, **context), status)


def _author() -> Author:
    return Author(actor(), installation().now())


def _to(endpoint: str) -> Response:
    return make_response(redirect(url_for(endpoint), 303))
