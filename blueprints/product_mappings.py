"""Configure usage sync: which ConnectWise product each Sophos product is, and its sync switch."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from flask import Blueprint, Response, abort, flash, redirect, render_template, request, url_for
from flask import make_response as answer
from sqlalchemy.orm import Session

import models
from blueprints.access import requires
from blueprints.htmx import render, wants_fragment, with_events
from blueprints.support import actor, installation, reading, user_id, writing
from models import Role
from services.products import staging
from services.products.catalog_copy import copy_state, refresh_soon
from services.products.catalog_search import Found, by_identifier, search, warm, warm_soon
from services.products.product_mappings import ItemChoice
from services.products.product_page import FILTERS, View, product_page, product_row

blueprint = Blueprint("product_mappings", __name__, url_prefix="/settings/psa/products")


@blueprint.get("")
@requires(Role.VIEWER)
def index() -> Response:
    refresh_if_stale()
    context = page_context()
    return render(
        "product_mappings/index.html", fragment="product_mappings/_products.html", **context
    )


@blueprint.post("/stage")
@requires(Role.OPERATOR)
def stage() -> Response:
    """Stage what one row's form says: the switch, a chosen item, none, or a typed identifier."""
    key, form = request.form.get("product", ""), request.form
    try:
        with writing() as session, session.begin():
            unknown = _stage(session, key, form.get("version", 0, type=int))
    except staging.StagingError as error:
        return _row(key, error=str(error))
    if unknown is None:
        return _row(key)
    if not wants_fragment():
        return answer(redirect(url_for(".choose", product=key, q=unknown), 303))
    said = f"No ConnectWise product is called “{unknown}”. Nothing was changed."
    return _row(key, error=said, typed=unknown)


@blueprint.post("/undo")
@requires(Role.OPERATOR)
def undo() -> Response:
    key = request.form.get("product", "")
    with writing() as session, session.begin():
        staging.undo(session, user_id(), key)
    return _row(key)


@blueprint.post("/keep")
@requires(Role.OPERATOR)
def keep() -> Response:
    key = request.form.get("product", "")
    with writing() as session, session.begin():
        staging.keep_mine(session, user_id(), key)
    return _row(key)


@blueprint.post("/save")
@requires(Role.OPERATOR)
def save() -> Response:
    try:
        with writing() as session, session.begin():
            saved = staging.save(session, user_id(), actor=actor(), now=installation().now())
    except staging.StagingError as error:
        return _whole(error=str(error))
    return _whole(toast=f"{saved} change{'' if saved == 1 else 's'} saved.")


@blueprint.post("/discard")
@requires(Role.OPERATOR)
def discard() -> Response:
    with writing() as session, session.begin():
        count = staging.discard(session, user_id())
    return _whole(toast=f"{count} change{'' if count == 1 else 's'} discarded.")


@blueprint.get("/stage")
@blueprint.get("/save")
@requires(Role.VIEWER)
def back() -> Response:
    """Where a page that answered a refused form leads when it is loaded again."""
    return answer(redirect(url_for(".index"), 303))


@blueprint.get("/choose")
@requires(Role.OPERATOR)
def choose() -> Response:
    """The choices as a page, for those without JavaScript."""
    query = request.args.get("q", "").strip()[:200]
    with reading() as session:
        mapping = session.get(models.ProductMapping, request.args.get("product", ""))
        if mapping is None:
            abort(404)
        found = search(session, query) if query else Found((), similar=False)
        return answer(
            render_template(
                "product_mappings/choose.html", mapping=mapping, found=found, query=query
            )
        )


@blueprint.get("/catalog")
@requires(Role.VIEWER)
def catalog() -> Response:
    """How fresh the copy of the catalog is."""
    if not wants_fragment():
        return answer(redirect(url_for(".index"), 303))
    with reading() as session:
        state = copy_state(installation(), session)
    return answer(render_template("product_mappings/_catalog.html", catalog=state))


@blueprint.post("/catalog")
@requires(Role.OPERATOR)
def refresh() -> Response:
    """Look for changes in ConnectWise's catalog now, in the background."""
    refresh_soon(installation(), then=warm)
    return catalog()


# --- what the handlers share --------------------------------------------------------------------


def refresh_if_stale() -> None:
    """Look for changes in ConnectWise's catalog in the background, if it is time to."""
    with reading() as session:
        stale = copy_state(installation(), session).is_stale(installation().now())
    if stale:
        refresh_soon(installation(), then=warm)
    else:
        warm_soon(installation())


def page_context() -> dict[str, Any]:
    """All that the page shows, in the view that its address asks for."""
    view, settings = _view(), installation().settings()
    with reading() as session:
        page = product_page(session, user_id(), view, settings)
        state = copy_state(installation(), session)
    return {
        "products": page,
        "view": view,
        "filters": FILTERS,
        "catalog": state,
        "read_only": settings.read_only,
    }


def changed(toast: str) -> Response:
    """After a dialog did its work: it closes, and the table shows what is new."""
    if not wants_fragment():
        flash(toast)
        return answer(redirect(url_for("product_mappings.index"), 303))
    return with_events(answer("", 204), toast=toast, event="products:changed")


def _stage(session: Session, key: str, version: int) -> str | None:
    """Stage what was asked; returns the text that names no ConnectWise product."""
    form, now = request.form, installation().now()
    if "sync" in form:
        on = form["sync"] == "on"
        staging.stage_sync(session, user_id(), key, on=on, seen_version=version, now=now)
        return None
    text = form.get("q", "").strip()[:200]
    chosen = form.get("suggested", type=int) or form.get("item_id", type=int)
    item: ItemChoice | None = None
    if (text or chosen) and "clear" not in form:
        item = by_identifier(session, chosen or text)
        if item is None:
            return text or f"#{chosen}"
    staging.stage_item(session, user_id(), key, item, seen_version=version, now=now)
    return None


def _row(key: str, *, error: str = "", typed: str | None = None) -> Response:
    """The fresh row with the bar of unsaved changes; without htmx, back to the page."""
    if not wants_fragment():
        return _whole(error=error) if error else answer(redirect(url_for(".index"), 303))
    settings = installation().settings()
    with reading() as session:
        row = product_row(session, user_id(), key, settings)
        if row is None:
            abort(404)
        page = product_page(session, user_id(), View(text="\0"), settings)
    html = render_template(
        "product_mappings/_staged.html",
        row=row,
        products=page,
        view=_view(),
        error=error,
        typed=typed,
    )
    return answer(html, 422 if error else 200)


def _whole(*, error: str = "", toast: str = "") -> Response:
    """The whole table after saving or discarding; without htmx, the page."""
    if wants_fragment():
        html = render_template(
            "product_mappings/_products.html", **page_context(), error=error, shown=True
        )
        return with_events(answer(html, 422 if error else 200), toast=toast, close=False)
    if error:
        context = page_context()
        return answer(render_template("product_mappings/index.html", **context, error=error), 422)
    flash(toast)
    back: dict[str, Any] = dict(_view().query())
    return answer(redirect(url_for(".index", **back), 303))


def _view() -> View:
    """The view of the page: from its own address, which htmx tells with every request."""
    here = urlsplit(request.headers.get("HX-Current-URL", ""))
    if wants_fragment() and request.endpoint != "product_mappings.index" and here.query:
        return View.of(dict(parse_qsl(here.query)))
    return View.of(request.args)
