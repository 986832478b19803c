"""ConnectWise products that a person makes or edits from here: never two, never blindly."""

from __future__ import annotations

import datetime as dt
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.orm import Session

import models
from services import audit
from services.clients.connectwise import NewCatalogItem, PickItem
from services.clients.errors import Rejected, VendorError
from services.context import SyncContext
from services.products import catalog_copy, product_mappings
from services.products.catalog import choose, common_class, mapped_items
from services.products.product_mappings import ItemChoice
from services.settings import DefaultProduct
from services.sync.model import CatalogItem

CLASSES = ("Agreement", "Inventory", "NonInventory", "Service")
_REMEMBERED = 500
_made: OrderedDict[str, CatalogItem] = OrderedDict()
_making = threading.Lock()


class ReadOnlyError(Exception):
    """Nothing may be written to the vendors."""

    def __init__(self) -> None:
        super().__init__(
            "Tallybridge is read-only, so nothing is written to ConnectWise. "
            "An administrator can switch that off in the settings."
        )


class IdentifierTakenError(Exception):
    """ConnectWise has a product with this identifier; `item` is that one."""

    def __init__(self, item: CatalogItem) -> None:
        super().__init__(f"ConnectWise has a product {item.identifier} already.")
        self.item = item

    @property
    def usable(self) -> bool:
        """Whether it can be mapped as it is."""
        return not (self.item.inactive or self.item.is_bundle)


class ChangedMeanwhileError(Exception):
    """Someone changed the product in ConnectWise after it was shown; `item` is how it is now."""

    def __init__(self, item: CatalogItem, names: Iterable[str]) -> None:
        super().__init__("It was changed in ConnectWise meanwhile. Nothing was sent.")
        self.item = item
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class PickLists:
    """The active choices of ConnectWise for a product; sub-categories under their category."""

    subcategories: Mapping[str, tuple[PickItem, ...]]
    types: tuple[PickItem, ...]
    units: tuple[PickItem, ...]


@dataclass(frozen=True, slots=True)
class Details:
    """What a person may set on a ConnectWise product. None leaves it to ConnectWise."""

    identifier: str
    description: str
    customer_description: str
    subcategory_id: int | None
    type_id: int | None
    product_class: str | None
    unit_id: int | None
    price: Decimal | None
    cost: Decimal | None
    taxable: bool | None


def details_of(item: CatalogItem) -> Details:
    """The part of a ConnectWise product that can be edited from here."""
    return Details(
        identifier=item.identifier,
        description=item.description,
        customer_description=item.customer_description or "",
        subcategory_id=item.subcategory_id,
        type_id=item.type_id,
        product_class=item.product_class,
        unit_id=item.unit_id,
        price=item.price,
        cost=item.cost,
        taxable=item.taxable,
    )


# --- choices ------------------------------------------------------------------------------------


def pick_lists(context: SyncContext, keep: CatalogItem | None = None) -> PickLists:
    """What can be chosen; what `keep` has already stays a choice, although inactive."""
    connectwise = context.connectwise
    names = {category.id: category.name for category in connectwise.categories()}
    under: dict[str, list[PickItem]] = {}
    for entry in _active(connectwise.subcategories(), keep.subcategory_id if keep else None):
        under.setdefault(names.get(entry.category_id or 0, "Other"), []).append(entry)
    return PickLists(
        subcategories={name: tuple(under[name]) for name in sorted(under, key=str.casefold)},
        types=_active(connectwise.types(), keep.type_id if keep else None),
        units=_active(connectwise.units(), keep.unit_id if keep else None),
    )


def _active(entries: Iterable[PickItem], keep: int | None) -> tuple[PickItem, ...]:
    kept = (entry for entry in entries if not entry.inactive or entry.id == keep)
    return tuple(sorted(kept, key=lambda entry: entry.name.casefold()))


def preset(context: SyncContext, lists: PickLists, wish: DefaultProduct) -> Details:
    """What a new product gets: chosen exactly as for the default products of the sync."""
    siblings = mapped_items(context)
    subcategories = [
        entry
        for name, entries in lists.subcategories.items()
        if wish.category in (None, name)
        for entry in entries
    ]
    return Details(
        identifier="",
        description="",
        customer_description="",
        subcategory_id=choose(
            subcategories, wish.subcategory, siblings, lambda i: i.subcategory_id
        ),
        type_id=choose(lists.types, wish.type, siblings, lambda i: i.type_id),
        product_class=wish.product_class or common_class(siblings),
        unit_id=choose(lists.units, wish.unit, siblings, lambda i: i.unit_id),
        price=None,
        cost=None,
        taxable=wish.taxable,
    )


# --- making -------------------------------------------------------------------------------------


def make(context: SyncContext, wanted: Details, *, token: str) -> CatalogItem:
    """Make a ConnectWise product once, however often the form with this token is sent.

    Raises IdentifierTakenError for one that was there before, Rejected with ConnectWise's reasons,
    ReadOnlyError, or any other VendorError; then it was not made, or the message says that it is
    not known. Trying again is always safe, because identifiers are unique.
    """
    if context.settings().read_only:
        raise ReadOnlyError
    key = f"{token}\n{wanted.identifier}"
    with _making:
        item = _made.get(key)
        if item is None:
            item = _made[key] = _make(context, wanted)
            if len(_made) > _REMEMBERED:
                _made.popitem(last=False)
    return item


def _make(context: SyncContext, wanted: Details) -> CatalogItem:
    taken = _named(context, wanted.identifier)
    if taken is not None:
        raise IdentifierTakenError(taken)
    try:
        item = context.connectwise.create_catalog_item(_new(wanted))
    except VendorError as error:
        item = _settle(context, wanted.identifier, error)
    with context.session() as session, session.begin():
        catalog_copy.remember(session, item)
        _record(session, context, "catalog_item.create", item, None, _told(details_of(item)))
    return item


def _settle(context: SyncContext, identifier: str, doubt: VendorError) -> CatalogItem:
    """After a doubtful answer look for the product, more than once: the server may be slow."""
    exists = isinstance(doubt, Rejected) and doubt.already_exists
    if not (doubt.unclear or exists):
        raise doubt
    for seconds in context.settle_seconds:
        context.sleep(seconds)
        found = _named(context, identifier)
        if found is not None and exists:
            raise IdentifierTakenError(found)
        if found is not None:
            return found
    raise doubt


def _named(context: SyncContext, identifier: str) -> CatalogItem | None:
    found = context.connectwise.catalog_items(identifiers=[identifier])
    return found[0] if found else None


def _new(wanted: Details) -> NewCatalogItem:
    return NewCatalogItem(
        identifier=wanted.identifier,
        description=wanted.description,
        customer_description=wanted.customer_description or wanted.description,
        subcategory_id=wanted.subcategory_id or 0,
        type_id=wanted.type_id or 0,
        product_class=wanted.product_class,
        unit_id=wanted.unit_id,
        price=wanted.price,
        cost=wanted.cost,
        taxable=wanted.taxable,
    )


def use_existing(context: SyncContext, item_id: int) -> CatalogItem | None:
    """Read a product that is to be used as it is, and keep it in the copy; None if it cannot be."""
    item = context.connectwise.catalog_item(item_id)
    with context.session() as session, session.begin():
        catalog_copy.remember(session, item)
    return None if item.inactive or item.is_bundle else item


def names_of(context: SyncContext, item: CatalogItem) -> dict[str, str]:
    """The names of what a product refers to, for a person to read."""
    connectwise = context.connectwise
    category = _name(connectwise.categories(), item.category_id)
    subcategory = _name(connectwise.subcategories(), item.subcategory_id)
    return {
        "category": f"{category} > {subcategory}",
        "type": _name(connectwise.types(), item.type_id),
        "unit": _name(connectwise.units(), item.unit_id),
    }


def _name(entries: Iterable[PickItem], number: int | None) -> str:
    return next((entry.name for entry in entries if entry.id == number), "–")


# --- editing ------------------------------------------------------------------------------------


def edit(context: SyncContext, item_id: int, seen: Details, wanted: Details) -> tuple[str, ...]:
    """Send what the person changed of what they saw, and nothing else; returns the names sent.

    Raises ChangedMeanwhileError when ConnectWise no longer has what the person saw, Rejected,
    NotFound, ReadOnlyError or another VendorError.
    """
    if context.settings().read_only:
        raise ReadOnlyError
    changed = {name: getattr(wanted, name) for name in _differences(seen, wanted)}
    now = context.connectwise.catalog_item(item_id)
    moved = _differences(seen, details_of(now))
    if moved:
        raise ChangedMeanwhileError(now, moved)
    if not changed:
        return ()
    try:
        item = context.connectwise.update_catalog_item(item_id, changed)
    except VendorError as error:
        item = _edited(context, item_id, changed, error)
    with context.session() as session, session.begin():
        _keep(session, context, item)
        before = {name: getattr(seen, name) for name in changed}
        _record(session, context, "catalog_item.change", item, _plain(before), _plain(changed))
    return tuple(changed)


def _edited(
    context: SyncContext, item_id: int, changed: Mapping[str, object], doubt: VendorError
) -> CatalogItem:
    """After a doubtful answer read the product: it may well be as it was asked for."""
    if not doubt.unclear:
        raise doubt
    found = context.connectwise.catalog_item(item_id)
    if any(getattr(details_of(found), name) != value for name, value in changed.items()):
        raise doubt
    return found


def _keep(session: Session, context: SyncContext, item: CatalogItem) -> None:
    """Let the copy and the mappings show what was just read."""
    catalog_copy.remember(session, item)
    choice = ItemChoice(item.id, item.identifier)
    stale = sa.select(models.ProductMapping).where(
        models.ProductMapping.catalog_item_id == item.id,
        models.ProductMapping.catalog_item_identifier != item.identifier,
    )
    for row in session.scalars(stale).all():
        product_mappings.change(
            session, row, item=choice, sync=row.sync, actor=context.actor, at=context.now()
        )
    session.execute(
        sa.update(models.StagedEdit)
        .where(models.StagedEdit.catalog_item_id == item.id)
        .values(catalog_item_identifier=item.identifier)
    )


def _differences(one: Details, other: Details) -> list[str]:
    names = [field.name for field in fields(Details)]
    return [name for name in names if getattr(one, name) != getattr(other, name)]


def _record(
    session: Session,
    context: SyncContext,
    action: str,
    item: CatalogItem,
    before: Mapping[str, object] | None,
    after: Mapping[str, object],
) -> None:
    audit.record(
        session,
        at=context.now(),
        actor=context.actor,
        action=action,
        subject=f"ConnectWise product {item.identifier}",
        before=before,
        after=after,
    )


def _told(details: Details) -> dict[str, object]:
    return _plain({field.name: getattr(details, field.name) for field in fields(Details)})


def _plain(values: Mapping[str, object]) -> dict[str, object]:
    """Values as JSON keeps them."""
    return {k: str(v) if isinstance(v, Decimal | dt.date) else v for k, v in values.items()}
