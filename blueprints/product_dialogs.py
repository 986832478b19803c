"""ConnectWise products from here: look at one, make one or several, edit one."""

from __future__ import annotations

import dataclasses
import json
import secrets
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from flask import Blueprint, Response, abort, request

import models
from blueprints.access import requires
from blueprints.htmx import render_dialog
from blueprints.product_mappings import changed
from blueprints.product_mappings_forms import ManyForm, ProductForm, SharedForm, values_of
from blueprints.support import actor, installation, reading, user_id, writing
from models import Role
from services.clients.errors import Rejected, VendorError
from services.context import SyncContext
from services.products import catalog_products, staging
from services.products.catalog_products import (
    ChangedMeanwhileError,
    Details,
    IdentifierTakenError,
    ReadOnlyError,
    details_of,
)
from services.products.product_mappings import ItemChoice
from services.products.product_page import unmapped_products
from services.sync.desired import default_description, default_identifier

blueprint = Blueprint("product_dialogs", __name__, url_prefix="/settings/psa/products")
MOST_AT_ONCE = 25


# --- one new product ----------------------------------------------------------------------------


@blueprint.get("/new/several")
@blueprint.get("/new")
@requires(Role.OPERATOR)
def new() -> Response:
    """The form for one product, prefilled; without a Sophos product, the list to choose from."""
    key = request.args.get("product")
    if key is None:
        return _show_many(ManyForm(formdata=None, **_preset(_context())))
    mapping, wanted = _mapping(key), request.args.get("identifier", "").strip()[:60]
    template = installation().settings().default_product.identifier
    values = _preset(context := _context()) | {
        "identifier": wanted or default_identifier(template, key),
        "description": default_description(mapping.product_name),
        "customer_description": mapping.product_name,
    }
    return _show_new(ProductForm(formdata=None, **values), mapping, context)


@blueprint.post("/new")
@requires(Role.OPERATOR)
def make() -> Response:
    mapping, context, form = _mapping(request.form.get("product", "")), _context(), ProductForm()
    _offer(form, context)
    if not form.validate():
        return _show_new(form, mapping, context, status=422)
    try:
        item = catalog_products.make(context, form.whole(), token=form.token.data or "")
    except IdentifierTakenError as error:
        return _show_new(form, mapping, context, status=422, taken=error)
    except (VendorError, ReadOnlyError) as error:
        return _show_new(form, mapping, context, status=422, problems=_problems(form, error))
    _stage(mapping.product_key, ItemChoice(item.id, item.identifier))
    return changed(f"{item.identifier} was made in ConnectWise. Save to use it.")


@blueprint.post("/use")
@requires(Role.OPERATOR)
def use() -> Response:
    """Stage a product that ConnectWise had already."""
    item = catalog_products.use_existing(_context(), request.form.get("id", 0, type=int))
    if item is None:
        abort(409)
    _stage(request.form.get("product", ""), ItemChoice(item.id, item.identifier))
    return changed(f"{item.identifier} stands in its row. Save to use it.")


# --- several new products -----------------------------------------------------------------------


@blueprint.post("/new/several")
@requires(Role.OPERATOR)
def make_several() -> Response:
    """Make one product for each that is ticked; what could not be made stays in the form."""
    context, form, keys = _context(), ManyForm(), request.form.getlist("product")
    _offer(form, context)
    if not form.validate() or not keys or len(keys) > MOST_AT_ONCE:
        said = [] if form.errors else [f"Tick one to {MOST_AT_ONCE} Sophos products."]
        return _show_many(form, status=422, chosen=keys, problems=said)
    outcomes = {key: _make_one(context, form, _mapping(key)) for key in keys}
    failed = {key: said for key, said in outcomes.items() if said}
    made = len(outcomes) - len(failed)
    if not failed:
        return changed(f"{made} products stand in their rows. Save to use them.")
    said = [f"{made} of {len(keys)} stand in their rows, unsaved."] if made else []
    return _show_many(form, status=422, chosen=list(failed), failed=failed, problems=said)


def _make_one(context: SyncContext, form: ManyForm, mapping: models.ProductMapping) -> str:
    """Make and stage one; returns why not, or nothing."""
    template = installation().settings().default_product.identifier
    wanted = form.details(
        default_identifier(template, mapping.product_key),
        default_description(mapping.product_name),
        mapping.product_name,
    )
    try:
        item = catalog_products.make(context, wanted, token=form.token.data or "")
    except IdentifierTakenError as error:
        if not (form.use_existing.data and error.usable):
            return str(error)
        item = catalog_products.use_existing(context, error.item.id) or error.item
    except (VendorError, ReadOnlyError) as error:
        return str(error)
    _stage(mapping.product_key, ItemChoice(item.id, item.identifier))
    return ""


# --- a product that exists ----------------------------------------------------------------------


@blueprint.get("/item")
@requires(Role.VIEWER)
def view() -> Response:
    """A ConnectWise product as it is there now."""
    context = _context()
    item = context.connectwise.catalog_item(request.args.get("id", 0, type=int))
    names = catalog_products.names_of(context, item)
    return render_dialog(
        "product_mappings/_view.html", title="ConnectWise product", item=item, names=names
    )


@blueprint.get("/item/edit")
@requires(Role.OPERATOR)
def edit() -> Response:
    context = _context()
    item = context.connectwise.catalog_item(request.args.get("id", 0, type=int))
    form = ProductForm(formdata=None, **values_of(details_of(item)))
    return _show_edit(form, context, item, details_of(item))


@blueprint.post("/item/edit")
@requires(Role.OPERATOR)
def change() -> Response:
    """Send what was changed of what the person saw."""
    context, form, item_id = _context(), ProductForm(), request.form.get("id", 0, type=int)
    seen = _unpacked(request.form.get("seen", ""))
    item = context.connectwise.catalog_item(item_id)
    _offer(form, context, item)
    if not form.validate():
        return _show_edit(form, context, item, seen, status=422)
    try:
        sent = catalog_products.edit(context, item_id, seen, _wanted(form, seen))
    except ChangedMeanwhileError as error:
        return _show_edit(form, context, error.item, seen, status=422, moved=error)
    except (VendorError, ReadOnlyError) as error:
        problems = _problems(form, error)
        return _show_edit(form, context, item, seen, status=422, problems=problems)
    return changed(f"{item.identifier} was changed." if sent else "Nothing was changed.")


def _wanted(form: ProductForm, seen: Details) -> Details:
    """What the form says; a field that was not touched stays exactly as it was seen."""
    wanted, shown = form.whole(), values_of(seen)
    same = {
        field.name: getattr(seen, field.name)
        for field in dataclasses.fields(Details)
        if (form[field.name].data or None) == (shown[field.name] or None)
    }
    return dataclasses.replace(wanted, **same)


# --- showing ------------------------------------------------------------------------------------


def _show_new(
    form: ProductForm,
    mapping: models.ProductMapping,
    context: SyncContext,
    *,
    status: int = 200,
    taken: IdentifierTakenError | None = None,
    problems: list[str] | None = None,
) -> Response:
    if form.subcategory_id.choices is None:
        _offer(form, context)
    form.token.data = form.token.data or secrets.token_urlsafe(12)
    return render_dialog(
        "product_mappings/_new.html",
        title="Add product to PSA",
        status=status,
        form=form,
        mapping=mapping,
        taken=taken,
        problems=problems or [],
    )


def _show_many(
    form: ManyForm,
    *,
    status: int = 200,
    chosen: list[str] | None = None,
    failed: Mapping[str, str] | None = None,
    problems: list[str] | None = None,
) -> Response:
    if form.subcategory_id.choices is None:
        _offer(form, _context())
    form.token.data = form.token.data or secrets.token_urlsafe(12)
    template = installation().settings().default_product.identifier
    with reading() as session:
        open_ones = unmapped_products(session, user_id())
    return render_dialog(
        "product_mappings/_many.html",
        title="Add products to PSA",
        status=status,
        form=form,
        products=[(p.key, p.name, default_identifier(template, p.key), p.usage) for p in open_ones],
        chosen=chosen or [],
        failed=failed or {},
        problems=problems or [],
        most=MOST_AT_ONCE,
    )


def _show_edit(
    form: ProductForm,
    context: SyncContext,
    item: Any,
    seen: Details,
    *,
    status: int = 200,
    moved: ChangedMeanwhileError | None = None,
    problems: list[str] | None = None,
) -> Response:
    if form.subcategory_id.choices is None:
        _offer(form, context, item)
    now = details_of(item) if moved else seen
    return render_dialog(
        "product_mappings/_edit.html",
        title="Edit product details in PSA",
        status=status,
        form=form,
        item=item,
        seen=_packed(now),
        moved={name: getattr(now, name) for name in moved.names} if moved else {},
        problems=problems or [],
    )


# --- small helps --------------------------------------------------------------------------------


def _context() -> SyncContext:
    return installation().context(actor=actor(), trigger="web")


def _mapping(key: str) -> models.ProductMapping:
    with reading() as session:
        mapping = session.get(models.ProductMapping, key)
        session.expunge_all()
    if mapping is None:
        abort(404)
    return mapping


def _preset(context: SyncContext) -> dict[str, Any]:
    lists = catalog_products.pick_lists(context)
    wish = installation().settings().default_product
    return values_of(catalog_products.preset(context, lists, wish))


def _offer(form: SharedForm, context: SyncContext, keep: Any = None) -> None:
    form.offer(catalog_products.pick_lists(context, keep), details_of(keep) if keep else _NOTHING)


_NOTHING = Details("", "", "", None, None, None, None, None, None, None)


def _problems(form: SharedForm, error: Exception) -> list[str]:
    return form.refuse(error) if isinstance(error, Rejected) else [str(error)]


def _stage(key: str, item: ItemChoice) -> None:
    with writing() as session, session.begin():
        version = session.get_one(models.ProductMapping, key).version
        now = installation().now()
        staging.stage_item(session, user_id(), key, item, seen_version=version, now=now)


def _packed(details: Details) -> str:
    """What the person saw, to be compared with ConnectWise when they apply."""
    values = dataclasses.asdict(details)
    return json.dumps({k: str(v) if isinstance(v, Decimal) else v for k, v in values.items()})


def _unpacked(text: str) -> Details:
    try:
        values = json.loads(text)
        for name in ("price", "cost"):
            values[name] = None if values[name] is None else Decimal(values[name])
        return Details(**values)
    except (ValueError, TypeError, KeyError, ArithmeticError):
        abort(400)
