"""The shapes of ConnectWise's records, and how they become values of ours and back."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, NoReturn

from pydantic import BeforeValidator, Field

from services.clients.connectwise_types import Company, NewCatalogItem, PickItem
from services.clients.errors import UnexpectedResponse
from services.clients.payload import (
    LenientDay,
    Money,
    RecordId,
    Text,
    Wire,
    parse_day,
    parse_number,
    read_as,
)
from services.sync.model import Addition, Agreement, CatalogItem

VENDOR = "ConnectWise"

COMPANY_FIELDS = "id,identifier,name,deletedFlag,status"
AGREEMENT_FIELDS = (
    "id,name,company,type,agreementStatus,cancelledFlag,endDate,noEndingDateFlag,billStartDate,"
    "nextInvoiceDate,prorateFlag"
)
ADDITION_FIELDS = (
    "id,agreementId,product,quantity,unitPrice,effectiveDate,cancelledDate,description,_info"
)
CATALOG_FIELDS = (
    "id,identifier,description,customerDescription,inactiveFlag,category,subcategory,type,"
    "productClass,unitOfMeasure,price,cost,taxableFlag,_info"
)
PICK_FIELDS = "id,name,defaultFlag,inactiveFlag"


def _day(value: object) -> dt.date | None:
    """A date that decides what is billed: one that cannot be read is not taken for "none"."""
    if value is None:
        return None
    day = parse_day(value)
    if day is None:
        raise ValueError("not a date")
    return day


def _quantity(value: object) -> Decimal:
    """ConnectWise allows null, which bills nothing; a missing field is something else."""
    return Decimal(0) if value is None else parse_number(value)


def _mapping(value: object) -> object:
    return {} if value is None else value


Day = Annotated[dt.date | None, BeforeValidator(_day)]
Quantity = Annotated[Decimal, BeforeValidator(_quantity)]


class Row(Wire):
    """Any record of a list: what paging needs to know of it."""

    id: RecordId


class _Ref(Wire):
    id: RecordId | None = None
    name: Text = None


class _RequiredRef(Wire):
    id: RecordId
    name: Text = None


class _Info(Wire):
    last_updated: Text = Field(default=None, alias="lastUpdated")


_MaybeRef = Annotated[_Ref, BeforeValidator(_mapping)]
_MaybeInfo = Annotated[_Info, BeforeValidator(_mapping)]


class _Company(Row):
    identifier: Text = None
    name: Text = None
    deleted: bool | None = Field(default=None, alias="deletedFlag")
    status: _MaybeRef = _Ref()


class _Agreement(Row):
    name: Text = None
    company: _RequiredRef
    type: _MaybeRef = _Ref()
    status: Text = Field(default=None, alias="agreementStatus")
    cancelled: bool | None = Field(default=None, alias="cancelledFlag")
    end_date: Day = Field(default=None, alias="endDate")
    no_ending_date: bool | None = Field(default=None, alias="noEndingDateFlag")
    bill_start: Day = Field(default=None, alias="billStartDate")
    next_invoice: LenientDay = Field(default=None, alias="nextInvoiceDate")
    prorate: bool | None = Field(default=None, alias="prorateFlag")


class _Addition(Row):
    agreement_id: RecordId | None = Field(default=None, alias="agreementId")
    product: _RequiredRef
    quantity: Quantity
    unit_price: Money = Field(default=None, alias="unitPrice")
    effective: Day = Field(default=None, alias="effectiveDate")
    cancelled: Day = Field(default=None, alias="cancelledDate")
    bill_customer: Text = Field(default=None, alias="billCustomer")
    description: Text = None
    info: _MaybeInfo = Field(default=_Info(), alias="_info")


class _CatalogItem(Row):
    identifier: Text = None
    description: Text = None
    customer_description: Text = Field(default=None, alias="customerDescription")
    inactive: bool | None = Field(default=None, alias="inactiveFlag")
    category: _MaybeRef = _Ref()
    subcategory: _MaybeRef = _Ref()
    type: _MaybeRef = _Ref()
    product_class: Text = Field(default=None, alias="productClass")
    unit: _MaybeRef = Field(default=_Ref(), alias="unitOfMeasure")
    price: Money = None
    cost: Money = None
    taxable: bool | None = Field(default=None, alias="taxableFlag")
    info: _MaybeInfo = Field(default=_Info(), alias="_info")


class _PickItem(Row):
    name: Text = None
    default: bool | None = Field(default=None, alias="defaultFlag")
    inactive: bool | None = Field(default=None, alias="inactiveFlag")
    category: _MaybeRef = _Ref()


def to_company(raw: object) -> Company:
    """A company; without a name it goes by its identifier."""
    wire = read_as(_Company, raw, vendor=VENDOR, what=f"a company ({_record(raw)})")
    identifier = wire.identifier or ""
    return Company(
        id=wire.id,
        identifier=identifier,
        name=wire.name or identifier,
        deleted=bool(wire.deleted),
        status=wire.status.name,
    )


def to_agreement(raw: object) -> Agreement:
    """Raises UnexpectedResponse for a company or an end date that cannot be read."""
    wire = read_as(_Agreement, raw, vendor=VENDOR, what=f"an agreement ({_record(raw)})")
    no_end = wire.end_date is None if wire.no_ending_date is None else wire.no_ending_date
    return Agreement(
        id=wire.id,
        name=wire.name or f"Agreement {wire.id}",
        company_id=wire.company.id,
        company_name=wire.company.name,
        status=wire.status,
        cancelled=bool(wire.cancelled),
        end_date=wire.end_date,
        no_ending_date=no_end,
        bill_start_date=wire.bill_start,
        next_invoice_date=wire.next_invoice,
        prorate=bool(wire.prorate),
        type_name=wire.type.name,
    )


def to_addition(raw: object, agreement_id: int) -> Addition:
    """An addition of that agreement, or UnexpectedResponse.

    Refused are one without product or quantity, one with a date that cannot be read (it must not
    count as open-ended), and one that says it belongs to another agreement.
    """
    what = f"an addition of agreement {agreement_id} ({_record(raw)})"
    wire = read_as(_Addition, raw, vendor=VENDOR, what=what)
    if wire.agreement_id not in {None, agreement_id}:
        _differs(what, "agreementId", agreement_id, wire.agreement_id)
    return Addition(
        id=wire.id,
        agreement_id=agreement_id,
        catalog_item_id=wire.product.id,
        quantity=wire.quantity,
        effective_date=wire.effective,
        cancelled_date=wire.cancelled,
        description=wire.description,
        unit_price=wire.unit_price,
        updated_at=wire.info.last_updated,
    )


def to_catalog_item(raw: object) -> CatalogItem:
    """A catalog item. Raises UnexpectedResponse for one without an identifier."""
    what = f"a catalog item ({_record(raw)})"
    wire = read_as(_CatalogItem, raw, vendor=VENDOR, what=what)
    if wire.identifier is None:
        raise UnexpectedResponse(f"ConnectWise sent {what} without an identifier.", vendor=VENDOR)
    return CatalogItem(
        id=wire.id,
        identifier=wire.identifier,
        description=wire.description or "",
        product_class=wire.product_class,
        inactive=bool(wire.inactive),
        price=wire.price,
        cost=wire.cost,
        customer_description=wire.customer_description,
        category_id=wire.category.id,
        subcategory_id=wire.subcategory.id,
        type_id=wire.type.id,
        unit_id=wire.unit.id,
        taxable=wire.taxable,
        updated_at=wire.info.last_updated,
    )


def to_pick_item(raw: object) -> PickItem:
    """A choice of any of the set-up tables."""
    wire = read_as(_PickItem, raw, vendor=VENDOR, what=f"a choice ({_record(raw)})")
    return PickItem(
        id=wire.id,
        name=wire.name or f"#{wire.id}",
        default=bool(wire.default),
        inactive=bool(wire.inactive),
        category_id=wire.category.id,
    )


# --- what we send ---------------------------------------------------------------------------------


def number(value: Decimal) -> int | float:
    """A quantity or an amount as a JSON number; raises ValueError when it would not be exact."""
    if not value.is_finite():
        raise ValueError(f"{value} is not a number that can be billed")
    if value == value.to_integral_value():
        return int(parse_number(value))
    exact = float(value)
    if Decimal(repr(exact)) != value:
        raise ValueError(f"{value} has more digits than ConnectWise can keep")
    return exact


def moment(day: dt.date) -> str:
    """A day as ConnectWise writes it in bodies; fractions of a second are refused there."""
    return f"{day:%Y-%m-%d}T00:00:00Z"


def addition_body(item_id: int, quantity: Decimal, effective: dt.date) -> dict[str, object]:
    """A new addition: what ConnectWise requires, how many, and from when on."""
    return {
        "product": {"id": item_id},
        "billCustomer": "Billable",
        "quantity": number(quantity),
        "effectiveDate": moment(effective),
    }


def catalog_body(item: NewCatalogItem) -> dict[str, object]:
    """A new catalog item; what is None is left to ConnectWise."""
    fields: dict[str, object] = {
        "identifier": item.identifier,
        "description": item.description,
        "customerDescription": item.customer_description,
        "subcategory": item.subcategory_id,
        "type": item.type_id,
        "productClass": item.product_class,
        "unitOfMeasure": item.unit_id,
        "price": item.price,
        "cost": item.cost,
        "taxableFlag": item.taxable,
    }
    return {name: catalog_value(name, v) for name, v in fields.items() if v is not None}


# ConnectWise's name and ours for every catalog field that may be changed.
_CATALOG_NAMES = {
    "identifier": "identifier",
    "description": "description",
    "customer_description": "customerDescription",
    "product_class": "productClass",
    "subcategory_id": "subcategory",
    "type_id": "type",
    "unit_id": "unitOfMeasure",
    "price": "price",
    "cost": "cost",
    "taxable": "taxableFlag",
    "inactive": "inactiveFlag",
}
_REFERENCES = frozenset({"subcategory", "type", "unitOfMeasure"})


def catalog_changes(fields: Mapping[str, object]) -> dict[str, object]:
    """Changes of a catalog item under ConnectWise's names; both namings are accepted.

    Raises ValueError for a field that we never change.
    """
    changes = {}
    for name, value in fields.items():
        theirs = _CATALOG_NAMES.get(name, name)
        if theirs not in _CATALOG_NAMES.values():
            raise ValueError(f"{name!r} is not a field of a catalog item that can be changed")
        changes[theirs] = catalog_value(theirs, value)
    return changes


def catalog_value(name: str, value: object) -> object:
    """A value as JSON; a reference is always a whole object, for ConnectWise ignores parts."""
    if isinstance(value, Decimal):
        return number(value)
    if name in _REFERENCES and isinstance(value, int):
        return {"id": value}
    return value


def patch_body(changes: Mapping[str, object]) -> list[dict[str, object]]:
    """Operations that replace whole fields; their paths are case-sensitive, without a slash."""
    return [{"op": "replace", "path": path, "value": value} for path, value in changes.items()]


# --- comparing an answer with what was asked ------------------------------------------------------


def check_same(raw: object, asked: Mapping[str, object], what: str) -> None:
    """Raise UnexpectedResponse unless the returned record holds all that was asked.

    ConnectWise documents that it can answer 200 without having changed anything.
    """
    record = raw if isinstance(raw, Mapping) else {}
    for name, wanted in asked.items():
        if not _same(wanted, record.get(name)):
            _differs(what, name, wanted, record.get(name))


def _same(wanted: object, got: object) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(got, Mapping) and got.get("id") == wanted.get("id")
    if isinstance(wanted, bool) or wanted is None:
        return got is wanted
    if isinstance(wanted, int | float):
        is_number = isinstance(got, int | Decimal) and not isinstance(got, bool)
        return is_number and got == Decimal(repr(wanted))
    if isinstance(wanted, str) and isinstance(got, str):
        day = parse_day(wanted)
        return day == parse_day(got) if day else _plain(wanted) == _plain(got)
    return False


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _differs(what: str, name: str, wanted: object, got: object) -> NoReturn:
    said = f"its {name} is {_shown(got)}"
    if not isinstance(wanted, str) or parse_day(wanted):
        said += f", asked was {_shown(wanted)}"
    raise UnexpectedResponse(
        f"ConnectWise answered with {what}, but {said}. It has to be read again.", vendor=VENDOR
    )


def _shown(value: object) -> str:
    """Numbers and days; no text of the vendor's choice."""
    if isinstance(value, Mapping):
        value = value.get("id")
    if value is None:
        return "missing"
    day = parse_day(value)
    if day:
        return day.isoformat()
    return str(value) if isinstance(value, int | float | Decimal) else "not what was asked"


def _record(raw: object) -> str:
    number = raw.get("id") if isinstance(raw, Mapping) else None
    return f"id {number}" if isinstance(number, int) else "without an id"
