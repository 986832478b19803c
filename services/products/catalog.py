"""Catalog items of ConnectWise: making the default product of a Sophos product."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import sqlalchemy as sa

import models
from models import ChangeState
from services.clients.connectwise import NewCatalogItem, PickItem
from services.clients.errors import Rejected, VendorError
from services.context import SyncContext
from services.journal import Outcome
from services.products import catalog_copy
from services.settings import AppSettings
from services.sync.desired import default_description
from services.sync.model import CatalogItem


class NoChoiceError(Exception):
    """A value that ConnectWise requires cannot be chosen; the message says which, and the fix."""


def make_default_product(
    context: SyncContext, row: models.Change, settings: AppSettings
) -> Outcome:
    """Make the default product of a Sophos product, or take the item that exists already.

    Identifiers are unique in ConnectWise, so a doubtful answer is settled by looking for it, and
    a second try can never make a second product. Raises VendorError.
    """
    if row.catalog_item_id is not None:
        return Outcome(ChangeState.APPLIED, catalog_item_id=row.catalog_item_id)
    identifier = row.new_identifier or ""
    try:
        wanted = _default_item(context, identifier, row.product_name or identifier, settings)
    except NoChoiceError as error:
        return Outcome(ChangeState.FAILED, str(error))
    try:
        item = context.connectwise.create_catalog_item(wanted)
    except VendorError as error:
        exists = isinstance(error, Rejected) and error.already_exists
        if not (error.unclear or exists):
            raise
        return _existing(context, identifier, error)
    _remember(context, item)
    return Outcome(ChangeState.APPLIED, catalog_item_id=item.id)


def _remember(context: SyncContext, item: CatalogItem) -> None:
    """Put it into the local copy of the catalog, so that the product page knows it at once."""
    with context.session() as session, session.begin():
        catalog_copy.remember(session, item)


def _existing(context: SyncContext, identifier: str, doubt: VendorError) -> Outcome:
    try:
        found = context.connectwise.catalog_items(identifiers=[identifier])
    except VendorError as error:
        return Outcome(
            ChangeState.UNCLEAR,
            f"{doubt} Whether {identifier} was made is not known: {error} The next run looks.",
            doubt=error,
        )
    usable = [item for item in found if not item.inactive and not item.is_bundle]
    if usable:
        _remember(context, usable[0])
        return Outcome(ChangeState.APPLIED, catalog_item_id=usable[0].id, doubt=doubt)
    return Outcome(ChangeState.FAILED, f"{identifier} was not made: {doubt}", doubt=doubt)


def _default_item(
    context: SyncContext, identifier: str, name: str, settings: AppSettings
) -> NewCatalogItem:
    """Fill in what ConnectWise requires.

    The settings come first, then what our mapped items have in common, then ConnectWise's own
    default, then its first active entry.
    """
    connectwise, wish = context.connectwise, settings.default_product
    siblings = mapped_items(context)
    categories = {c.id for c in connectwise.categories() if wish.category in (None, c.name)}
    subcategories = [
        s
        for s in connectwise.subcategories()
        if wish.category is None or s.category_id in categories
    ]
    return NewCatalogItem(
        identifier=identifier,
        description=default_description(name),
        customer_description=name,
        subcategory_id=_required(
            "sub-category",
            choose(subcategories, wish.subcategory, siblings, lambda i: i.subcategory_id),
        ),
        type_id=_required(
            "type", choose(connectwise.types(), wish.type, siblings, lambda i: i.type_id)
        ),
        product_class=wish.product_class or common_class(siblings),
        unit_id=choose(connectwise.units(), wish.unit, siblings, lambda i: i.unit_id),
        price=None,
        cost=None,
        taxable=wish.taxable,
    )


def mapped_items(context: SyncContext) -> list[CatalogItem]:
    """The ConnectWise products of our mappings: new ones are made like them."""
    with context.session() as session:
        ids = set(
            session.scalars(
                sa.select(models.ProductMapping.catalog_item_id).where(
                    models.ProductMapping.catalog_item_id.is_not(None)
                )
            )
        )
    return context.connectwise.catalog_items(ids={i for i in ids if i is not None}) if ids else []


def choose(
    entries: Iterable[PickItem],
    name: str | None,
    siblings: Sequence[CatalogItem],
    value_of: Callable[[CatalogItem], int | None],
) -> int | None:
    """An active entry: the one named, else what the siblings have, else ConnectWise's default."""
    active = {e.id: e for e in entries if not e.inactive}
    if name is not None:
        return next((e.id for e in active.values() if e.name.casefold() == name.casefold()), None)
    used = Counter(v for i in siblings if (v := value_of(i)) in active)
    if used:
        return min(used, key=lambda v: (-used[v], v or 0))
    preset = sorted(e.id for e in active.values() if e.default)
    return preset[0] if preset else min(active, default=None)


def common_class(siblings: Iterable[CatalogItem]) -> str:
    """The class that most siblings have."""
    used = Counter(i.product_class for i in siblings if i.product_class and not i.is_bundle)
    return min(used, key=lambda c: (-used[c], c)) if used else "Agreement"


def _required(what: str, chosen: int | None) -> int:
    if chosen is None:
        raise NoChoiceError(
            f"No default product was made: ConnectWise has no active {what} to choose for it. "
            f"Name one that exists in the Default product settings."
        )
    return chosen
