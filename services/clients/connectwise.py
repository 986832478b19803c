"""ConnectWise PSA: companies, agreements and their additions, the product catalog.

https://developer.connectwise.com/Products/ConnectWise_PSA
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Protocol, TypeVar

from services.clients.connectwise_api import ConnectWiseApi
from services.clients.connectwise_query import Selection, since
from services.clients.connectwise_types import (
    Company,
    ConnectWiseAccess,
    NewCatalogItem,
    PickItem,
)
from services.clients.connectwise_wire import (
    ADDITION_FIELDS,
    AGREEMENT_FIELDS,
    CATALOG_FIELDS,
    COMPANY_FIELDS,
    PICK_FIELDS,
    VENDOR,
    addition_body,
    catalog_body,
    catalog_changes,
    check_same,
    moment,
    number,
    patch_body,
    to_addition,
    to_agreement,
    to_catalog_item,
    to_company,
    to_pick_item,
)
from services.clients.errors import UnexpectedResponse
from services.clients.http import DEFAULT_TIMEOUT
from services.sync.model import Addition, Agreement, CatalogItem

__all__ = ["Company", "ConnectWiseAccess", "ConnectWiseClient", "NewCatalogItem", "PickItem"]

_COMPANIES = "/company/companies"
_AGREEMENTS = "/finance/agreements"
_CATALOG = "/procurement/catalog"
_CATEGORIES = "/procurement/categories"
_SUBCATEGORIES = "/procurement/subcategories"
_TYPES = "/procurement/types"
_UNITS = "/procurement/unitOfMeasures"
_PROBES = {
    "catalog": _CATALOG,
    "categories": _CATEGORIES,
    "subcategories": _SUBCATEGORIES,
    "types": _TYPES,
    "units": _UNITS,
    "companies": _COMPANIES,
    "agreements": _AGREEMENTS,
}


class ConnectWiseClient:
    """Reads ConnectWise PSA and writes additions and catalog items; it never deletes.

    Every method raises VendorError. Lists are whole, or IncompleteListing is raised. After an
    error with `unclear` set, the record must be read before anything else is written.
    Safe for use by several threads.
    """

    def __init__(
        self,
        access: ConnectWiseAccess,
        *,
        timeout: tuple[float, float] = DEFAULT_TIMEOUT,
        calls_per_minute: int = 1000,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = ConnectWiseApi(
            access,
            timeout=timeout,
            calls_per_minute=calls_per_minute,
            sleep=sleep,
            monotonic=monotonic,
        )

    @property
    def calls(self) -> int:
        """How many HTTP requests went out so far."""
        return self._api.http.calls

    # --- the connection ---------------------------------------------------------------------

    def discover(self) -> str:
        """The address of the API, asked for once.

        Raises AuthenticationFailed for an unknown company id and HostNotAllowed for a site that
        is neither ConnectWise's cloud nor allowed by the operator.
        """
        return self._api.base()

    def version(self) -> str:
        """The version of the ConnectWise server, for example `v2026.4.12345`."""
        info = self._api.one("/system/info", doing="reading the system information")
        version = info.get("version") if isinstance(info, dict) else None
        if not isinstance(version, str):
            raise UnexpectedResponse("ConnectWise names no version of itself.", vendor=VENDOR)
        return self._api.http.clean(version)

    def probe(self, what: str) -> int | None:
        """Read one row of a list of the connection check, to see whether we may; returns its id.

        Raises PermissionDenied naming the right that is missing, or any other VendorError.
        """
        return self._api.probe(_PROBES[what], doing=f"reading {what}")

    # --- companies and agreements -----------------------------------------------------------

    def companies(
        self, *, ids: Collection[int] | None = None, identifiers: Collection[str] | None = None
    ) -> list[Company]:
        """Companies by id or by exact identifier, deleted ones included; else all not deleted.

        What does not exist is simply absent.
        """
        selection = Selection(ids={"id": ids}, texts={"identifier": identifiers})
        everything = selection.is_everything
        if everything:
            selection = Selection(conditions=("deletedFlag=false",))
        rows = self._rows(_COMPANIES, COMPANY_FIELDS, selection, doing="reading companies")
        return [
            company
            for company in _unique(to_company(row) for row in rows)
            if _asked(company.id, ids) and _asked(company.identifier, identifiers)
            if not (everything and company.deleted)
        ]

    def agreements(
        self, *, ids: Collection[int] | None = None, company_ids: Collection[int] | None = None
    ) -> list[Agreement]:
        """Agreements by id or by company, in any state; all of them without either."""
        selection = Selection(ids={"id": ids, "company/id": company_ids})
        rows = self._rows(_AGREEMENTS, AGREEMENT_FIELDS, selection, doing="reading agreements")
        return [
            agreement
            for agreement in _unique(to_agreement(row) for row in rows)
            if _asked(agreement.id, ids) and _asked(agreement.company_id, company_ids)
        ]

    # --- additions --------------------------------------------------------------------------

    def additions(self, agreement_id: int) -> list[Addition]:
        """The whole list of an agreement's additions, in every state.

        ConnectWise has additions only below one agreement. Raises UnexpectedResponse if a single
        one cannot be trusted: what is overlooked would be made a second time. For the same reason
        an empty list is believed only when ConnectWise counts none either.
        """
        doing = f"reading the additions of agreement {agreement_id}"
        path = _additions(agreement_id)
        rows = self._rows(path, ADDITION_FIELDS, Selection(), doing=doing)
        found = [to_addition(row, agreement_id) for row in rows]
        if not found:
            self._api.confirm_empty(path, doing=doing)
        return found

    def create_addition(
        self, agreement_id: int, *, catalog_item_id: int, quantity: Decimal, effective_date: dt.date
    ) -> Addition:
        """Make a billable addition from its first billed day on; never repeated by itself.

        ConnectWise has no key against doubles: after an `unclear` error read the agreement's
        additions first.
        """
        body = addition_body(catalog_item_id, quantity, effective_date)

        def read(raw: object) -> Addition:
            addition = to_addition(raw, agreement_id)
            check_same(raw, body | {"cancelledDate": None}, f"addition {addition.id}")
            return addition

        doing = f"making an addition of agreement {agreement_id}"
        return self._api.write("POST", _additions(agreement_id), body, doing=doing, read=read)

    def update_addition(
        self,
        agreement_id: int,
        addition_id: int,
        *,
        quantity: Decimal | None = None,
        cancelled_date: dt.date | None = None,
    ) -> Addition:
        """Set the quantity (absolute) or the last billed day of an addition, and nothing else."""
        changes: dict[str, object] = {}
        if quantity is not None:
            changes["quantity"] = number(quantity)
        if cancelled_date is not None:
            changes["cancelledDate"] = moment(cancelled_date)
        if not changes:
            raise ValueError("nothing to change")

        def read(raw: object) -> Addition:
            check_same(raw, {"id": addition_id, **changes}, f"addition {addition_id}")
            return to_addition(raw, agreement_id)

        path = f"{_additions(agreement_id)}/{int(addition_id)}"
        doing = f"changing addition {addition_id} of agreement {agreement_id}"
        return self._api.write("PATCH", path, patch_body(changes), doing=doing, read=read)

    # --- the catalog ------------------------------------------------------------------------

    def catalog_items(
        self,
        *,
        ids: Collection[int] | None = None,
        identifiers: Collection[str] | None = None,
        updated_since: dt.datetime | None = None,
    ) -> list[CatalogItem]:
        """Catalog items by id, by identifier, or changed since a moment; else all.

        Upper and lower case of an identifier are the same to ConnectWise, and so they are here.
        """
        selection = Selection(
            ids={"id": ids},
            texts={"identifier": identifiers},
            conditions=() if updated_since is None else (since(updated_since),),
        )
        rows = self._rows(_CATALOG, CATALOG_FIELDS, selection, doing="reading the product catalog")
        wanted = None if identifiers is None else {i.casefold() for i in identifiers}
        return [
            item
            for item in _unique(to_catalog_item(row) for row in rows)
            if _asked(item.id, ids) and _asked(item.identifier.casefold(), wanted)
        ]

    def catalog_item(self, item_id: int) -> CatalogItem:
        """One catalog item, read fresh. Raises NotFound when it is gone."""
        doing = f"reading catalog item {item_id}"
        raw = self._api.one(f"{_CATALOG}/{int(item_id)}", doing=doing, fields=CATALOG_FIELDS)
        check_same(raw, {"id": item_id}, f"catalog item {item_id}")
        return to_catalog_item(raw)

    def create_catalog_item(self, item: NewCatalogItem) -> CatalogItem:
        """Make a catalog item. Raises Rejected with `already_exists` for a taken identifier."""
        body = catalog_body(item)

        def read(raw: object) -> CatalogItem:
            check_same(raw, body, "the new catalog item")
            return to_catalog_item(raw)

        return self._api.write("POST", _CATALOG, body, doing="making a catalog item", read=read)

    def update_catalog_item(self, item_id: int, fields: Mapping[str, object]) -> CatalogItem:
        """Change these fields of a catalog item, and no others.

        Names are ours (`customer_description`, `subcategory_id`) or ConnectWise's
        (`customerDescription`, `subcategory`); a reference is given by its id.
        Raises ValueError for a field that is never changed.
        """
        changes = catalog_changes(fields)
        if not changes:
            raise ValueError("nothing to change")

        def read(raw: object) -> CatalogItem:
            check_same(raw, {"id": item_id, **changes}, f"catalog item {item_id}")
            return to_catalog_item(raw)

        path = f"{_CATALOG}/{int(item_id)}"
        doing = f"changing catalog item {item_id}"
        return self._api.write("PATCH", path, patch_body(changes), doing=doing, read=read)

    # --- choices for a new catalog item -----------------------------------------------------

    def categories(self) -> list[PickItem]:
        """All product categories, inactive ones included."""
        return self._pick_list(_CATEGORIES, "categories")

    def subcategories(self) -> list[PickItem]:
        """All product sub-categories with the category of each."""
        return self._pick_list(_SUBCATEGORIES, "sub-categories", fields=f"{PICK_FIELDS},category")

    def types(self) -> list[PickItem]:
        """All product types, inactive ones included."""
        return self._pick_list(_TYPES, "product types")

    def units(self) -> list[PickItem]:
        """All units of measure, inactive ones included."""
        return self._pick_list(_UNITS, "units of measure")

    def _pick_list(self, path: str, what: str, *, fields: str = PICK_FIELDS) -> list[PickItem]:
        rows = self._rows(path, fields, Selection(), doing=f"reading {what}")
        return [to_pick_item(row) for row in rows]

    def _rows(
        self, path: str, fields: str, selection: Selection, *, doing: str
    ) -> Iterator[object]:
        if selection.is_everything:
            yield from self._api.rows(path, fields, doing=doing)
        elif not selection.is_empty:
            room = self._api.room(path, fields)
            for conditions in selection.written(room):
                yield from self._api.rows(path, fields, doing=doing, conditions=conditions)


class _Record(Protocol):
    @property
    def id(self) -> int: ...


R = TypeVar("R", bound=_Record)
K = TypeVar("K", int, str)


def _unique(records: Iterable[R]) -> list[R]:
    """Each record once, by id: several conditions may find the same one."""
    by_id = {record.id: record for record in records}
    return [by_id[number] for number in sorted(by_id)]


def _asked(key: K, wanted: Collection[K] | None) -> bool:
    return wanted is None or key in wanted


def _additions(agreement_id: int) -> str:
    return f"{_AGREEMENTS}/{int(agreement_id)}/additions"
