"""Customers: where each one is billed, whether its sync is on, and how the last run went."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, abort, make_response, render_template, request, url_for
from sqlalchemy.orm import Session

from blueprints.access import requires
from blueprints.fixes import run_url
from blueprints.htmx import done, render, render_dialog, with_events
from blueprints.support import actor, installation, reading, writing
from blueprints.tenant_mappings_forms import (
    MappingForm,
    ProductAgreementsForm,
    number_or_none,
    wanted_of,
)
from models import Role
from services.tenants import company_directory, tenant_list, tenant_mappings, tenant_products
from services.tenants.company_directory import AgreementChoice
from services.tenants.tenant_mappings import Author, MappingError, StaleMappingError
from services.tenants.tenant_status import last_planned_run
from services.tenants.tenant_suggestions import candidates

blueprint = Blueprint("tenant_mappings", __name__)

_KEPT = ("show", "q", "sort", "dir")


# --- the list -----------------------------------------------------------------------------------


@blueprint.get("/customers")
@requires(Role.VIEWER)
def index() -> Response:
    return render(
        "tenant_mappings/index.html", fragment="tenant_mappings/_table.html", **_list(_view())
    )


@blueprint.post("/customers/<tenant_id>/sync")
@requires(Role.OPERATOR)
def switch_sync(tenant_id: str) -> Response:
    on = request.form.get("sync") == "on"
    with writing() as session, session.begin():
        _customer(session, tenant_id)
        tenant_mappings.switch_sync(session, tenant_id, _author(), on=on)
    return done(_back(), fragment="tenant_mappings/_row.html", **_row(tenant_id))


@blueprint.post("/customers/<tenant_id>/accept")
@requires(Role.OPERATOR)
def accept(tenant_id: str) -> Response:
    """Take the suggestion that the row showed, and only that one."""
    with writing() as session, session.begin():
        _customer(session, tenant_id)
        wanted = wanted_of(request.form.get("accept", ""), tenant_id=tenant_id)
        _, left = tenant_mappings.accept_all(session, _author(), [wanted])
    context = _row(tenant_id) | {"refused": bool(left)}
    return done(_back(), fragment="tenant_mappings/_row.html", **context)


@blueprint.get("/customers/<tenant_id>/status")
@requires(Role.VIEWER)
def status(tenant_id: str) -> Response:
    context = _row(tenant_id)
    title = f"Sync status of {context['row'].mapping.tenant_name}"
    return render_dialog("tenant_mappings/_status.html", title=title, **context)


# --- company and agreement ----------------------------------------------------------------------


@blueprint.get("/customers/<tenant_id>/mapping")
@requires(Role.VIEWER)
def edit(tenant_id: str) -> Response:
    context = _mapping(tenant_id, request.args.get("company_id"), request.args.get("q"))
    # The version that the person saw first: walking through the dialog must not hide a conflict.
    context["version"] = number_or_none(request.args.get("version")) or context["version"]
    return render_dialog("tenant_mappings/_mapping.html", title=_mapping_title(context), **context)


@blueprint.post("/customers/<tenant_id>/mapping")
@requires(Role.OPERATOR)
def save(tenant_id: str) -> Response:
    form = MappingForm.of(request.form)
    return _save(tenant_id, form, tenant_mappings.map_customer, again=_mapping_again)


@blueprint.get("/lookups/companies")
@requires(Role.VIEWER)
def companies() -> Response:
    """The options of the company type-ahead; too short a text has none."""
    text = request.args.get("q", "")[:200]
    with reading() as session:
        found = company_directory.search_companies(session, text)
    options = "tenant_mappings/_companies.html"
    return make_response(render_template(options, found=found, text=text.strip()))


# --- single products on other agreements --------------------------------------------------------


@blueprint.get("/customers/<tenant_id>/products")
@requires(Role.VIEWER)
def products(tenant_id: str) -> Response:
    context = _products(tenant_id)
    title = f"Agreements by product for {context['row'].tenant_name}"
    return render_dialog("tenant_mappings/_products.html", title=title, **context)


@blueprint.post("/customers/<tenant_id>/products")
@requires(Role.OPERATOR)
def save_products(tenant_id: str) -> Response:
    form = ProductAgreementsForm.of(request.form)
    return _save(tenant_id, form, tenant_mappings.set_product_agreements, again=_products_again)


# --- suggestions --------------------------------------------------------------------------------


@blueprint.get("/customers/exact-matches")
@requires(Role.OPERATOR)
def exact_matches() -> Response:
    with reading() as session:
        rows = tenant_list.exact_matches(session, today=installation().today())
    return render_dialog("tenant_mappings/_exact.html", title="Accept exact matches", rows=rows)


@blueprint.post("/customers/exact-matches")
@requires(Role.OPERATOR)
def accept_exact() -> Response:
    """Accept what the preview showed; a customer that changed meanwhile is left out, and named."""
    wanted = [wanted_of(each) for each in request.form.getlist("accept")]
    with writing() as session, session.begin():
        accepted, left = tenant_mappings.accept_all(session, _author(), wanted)
    if left:
        with reading() as session:
            rows = tenant_list.exact_matches(session, today=installation().today())
        return _form_again(
            "tenant_mappings/_exact.html", "Accept exact matches", rows=rows, left=left
        )
    return _saved(f"{accepted} customer{'' if accepted == 1 else 's'} mapped.")


# --- refresh ------------------------------------------------------------------------------------


@blueprint.post("/customers/refresh")
@requires(Role.OPERATOR)
def refresh() -> Response:
    company_directory.start_refresh(installation(), actor=actor())
    return _refresh_answer()


@blueprint.get("/customers/refresh")
@requires(Role.VIEWER)
def refresh_state() -> Response:
    """How far the refresh is; when it has just ended, the table is asked to show what is new."""
    return _refresh_answer()


# --- what the templates are given ---------------------------------------------------------------


def _view() -> tenant_list.View:
    args = request.args
    return tenant_list.View(
        show=args.get("show", "all"),
        text=args.get("q", "")[:200],
        sort=args.get("sort", "name"),
        descending=args.get("dir") == "desc",
    )


def _list(view: tenant_list.View) -> dict[str, Any]:
    with reading() as session:
        found = tenant_list.customer_list(session, view, today=installation().today())
    return {
        "found": found,
        "view": view,
        "filters": tenant_list.FILTERS,
        "kept": _kept(),
    } | _refresh()


def _row(tenant_id: str) -> dict[str, Any]:
    with reading() as session:
        mapping = _customer(session, tenant_id)
        row = tenant_list.one_customer(session, mapping, today=installation().today())
        run = last_planned_run(session)
    return {"row": row, "run": run, "run_url": run_url(run), "kept": _kept()}


def _refresh_answer() -> Response:
    context = _refresh()
    response = done(_back(), fragment="tenant_mappings/_refresh.html", **context)
    ended = "" if context["running"] else "customers:changed"
    return with_events(response, event=ended, close=False)


def _refresh() -> dict[str, Any]:
    with reading() as session:
        latest = company_directory.latest_refresh(session)
    running = company_directory.is_running(latest, installation().now())
    return {"refresh": latest, "running": running}


def _mapping(tenant_id: str, company: str | None, text: str | None) -> dict[str, Any]:
    """All that the mapping form shows: of the company asked for, else of the present one."""
    today = installation().today()
    with reading() as session:
        row = _customer(session, tenant_id)
        present = row.company_id if text is None else None
        chosen = tenant_mappings.known_company(session, number_or_none(company) or present)
        return {
            "row": row,
            "version": row.version,
            "company": chosen,
            "agreements": _agreements(session, chosen.id if chosen else None, today),
            "managed": tenant_mappings.managed_additions(session, tenant_id),
            "sharing": tenant_mappings.sharing_customers(session, row),
            "text": (text or "")[:200],
            "found": company_directory.search_companies(session, (text or "")[:200]),
            "candidates": candidates(session, row.tenant_name),
            "known": company_directory.latest_refresh(session) is not None,
        }


def _mapping_title(context: dict[str, Any]) -> str:
    return f"Company and agreement of {context['row'].tenant_name}"


def _mapping_again(tenant_id: str, form: MappingForm, **what: Any) -> Response:
    wanted = str(form.company_id) if form.company_id else None
    context = _mapping(tenant_id, wanted, None if wanted else "")
    context |= {"chosen": form.agreement_id, **what}
    return _form_again("tenant_mappings/_mapping.html", _mapping_title(context), **context)


def _products(tenant_id: str) -> dict[str, Any]:
    today = installation().today()
    with reading() as session:
        row = _customer(session, tenant_id)
        return {
            "row": row,
            "products": tenant_products.products_of(session, row),
            "agreements": _agreements(session, row.company_id, today),
        }


def _agreements(session: Session, company_id: int | None, today: dt.date) -> list[AgreementChoice]:
    if company_id is None:
        return []
    return company_directory.agreements_of(session, company_id, today=today)


def _products_again(tenant_id: str, form: ProductAgreementsForm, **what: Any) -> Response:
    context = _products(tenant_id) | {"chosen": form.wanted, **what}
    title = f"Agreements by product for {context['row'].tenant_name}"
    return _form_again("tenant_mappings/_products.html", title, **context)


def _save(
    tenant_id: str,
    form: MappingForm | ProductAgreementsForm,
    change: Callable[..., None],
    *,
    again: Callable[..., Response],
) -> Response:
    """Do what a dialog asks; else the dialog again, with the problem or what others saved."""
    try:
        with writing() as session, session.begin():
            _customer(session, tenant_id)
            change(session, tenant_id, _author(), **asdict(form))
    except MappingError as error:
        return again(tenant_id, form, problem=str(error))
    except StaleMappingError:
        return again(tenant_id, form, stale=True)
    return _saved("Saved. The next run uses it.")


def _form_again(content: str, title: str, **context: Any) -> Response:
    """A form of a dialog with what is wrong with it: 422, in place of the form that was sent."""
    return render(
        "components/dialog_page.html",
        fragment=content,
        status=422,
        content=content,
        title=title,
        **context,
    )


def _saved(text: str) -> Response:
    return with_events(done(_back()), toast=text, event="customers:changed")


def _customer(session: Session, tenant_id: str) -> Any:
    try:
        return tenant_mappings.customer(session, tenant_id)
    except tenant_mappings.NoSuchCustomerError:
        abort(404)


def _author() -> Author:
    return Author(actor(), installation().now())


def _back() -> str:
    """The list as it was filtered, for those without JavaScript."""
    return url_for("tenant_mappings.index", **_kept())


def _kept() -> dict[str, Any]:
    """What the list was asked for; the addresses of its forms carry it along."""
    return {name: request.args[name] for name in _KEPT if name in request.args}
