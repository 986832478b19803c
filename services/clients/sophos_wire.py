"""The shapes of Sophos' answers, and how they become values of ours."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, Field

from services.clients.errors import (
    AnswerOf,
    AuthenticationFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    Rejected,
    Unavailable,
    UnexpectedResponse,
    VendorError,
    clean_text,
)
from services.clients.http import Reply, Transport
from services.clients.payload import LenientDay, Money, Text, Wire, parse_number, read_as
from services.sync.model import (
    PRODUCT_KEY_LENGTH,
    TENANT_ID_LENGTH,
    Firewall,
    Tenant,
    UsageLine,
)

VENDOR = "Sophos"


@dataclass(frozen=True, slots=True)
class Licence:
    """A licence of one tenant. `used` is Sophos' live count of seats or devices, where it counts.

    `type` is `usage` for monthly customers, else `term`, `trial` and others.
    """

    id: str
    product_code: str
    product_name: str
    type: str | None = None
    quantity: Decimal | None = None
    unlimited: bool = False
    used: Decimal | None = None
    used_on: dt.date | None = None


def _page_count(value: object) -> int | None:
    usable = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if isinstance(value, int) and usable else None


def _billable(value: object) -> Decimal:
    """A quantity that we can keep as it is: rounding one would change an invoice."""
    number = parse_number(value)
    if number != round(number, 6):
        raise ValueError("has more than six decimal places")
    return number


def _flag(value: object) -> bool:
    return value is True


def _mapping(value: object) -> object:
    return value if isinstance(value, Mapping) else {}


Billable = Annotated[Decimal, BeforeValidator(_billable)]
Count = Annotated[int | None, BeforeValidator(_page_count)]


class Pages(Wire):
    """`pages` of both kinds of paging; `items` and `total` come with `pageTotal=true`."""

    next_key: Text = Field(default=None, alias="nextKey")
    total: Count = None
    items: Count = None
    max_size: Count = Field(default=None, alias="maxSize")


class Page(Wire):
    """One page of any list; without `items` or `pages` it is refused."""

    items: list[object]
    pages: Pages


class WhoAmI(Wire):
    """Whom the credentials belong to."""

    id: Text = None
    id_type: Text = Field(default=None, alias="idType")


class _Ref(Wire):
    id: Text = None


_MaybeRef = Annotated[_Ref, BeforeValidator(_mapping)]


class _Tenant(Wire):
    id: Text = None
    name: Text = None
    show_as: Text = Field(default=None, alias="showAs")
    billing_type: Text = Field(default=None, alias="billingType")
    status: Text = None


class _Line(Wire):
    account_id: Text = Field(default=None, alias="accountId")
    product_code: Text = Field(default=None, alias="productCode")
    sku: Text = None
    description: Text = Field(default=None, alias="productDescription")
    group: Text = Field(default=None, alias="productGroup")
    quantity: Billable = Field(alias="billableQuantity")
    actual: Money = Field(default=None, alias="actualQuantity")
    serial: Text = Field(default=None, alias="accountNumberOrSerialNumber")
    account_name: Text = Field(default=None, alias="assignedAccountIdentifier")
    order_number: Text = Field(default=None, alias="orderNumber")
    order_line: Text = Field(default=None, alias="orderLineItemNumber")
    unit_price: Money = Field(default=None, alias="unitPrice")
    currency: Text = Field(default=None, alias="unitPriceCurrency")
    start: LenientDay = Field(default=None, alias="billingStartDate")
    end: LenientDay = Field(default=None, alias="billingEndDate")

    @property
    def order(self) -> str | None:
        return "/".join(part for part in (self.order_number, self.order_line) if part) or None


class _Firewall(Wire):
    serial: Text = Field(default=None, alias="serialNumber")
    tenant: _MaybeRef = _Ref()
    billing_tenant: _MaybeRef = Field(default=_Ref(), alias="billingTenant")
    model: Text = None


class _Product(Wire):
    code: Text = None
    name: Text = None
    generic_code: Text = Field(default=None, alias="genericCode")


class _Current(Wire):
    count: Money = None
    date: LenientDay = None


class _Usage(Wire):
    current: Annotated[_Current, BeforeValidator(_mapping)] = _Current()


class _Licence(Wire):
    id: Text = None
    product: Annotated[_Product, BeforeValidator(_mapping)] = _Product()
    type: Text = None
    quantity: Money = None
    unlimited: Annotated[bool, BeforeValidator(_flag)] = False
    usage: Annotated[_Usage, BeforeValidator(_mapping)] = _Usage()


class LicenceList(Wire):
    """The licences of a tenant."""

    licenses: list[object]


def to_tenant(raw: object) -> Tenant:
    """A customer. Raises UnexpectedResponse for one without an id, or with an endless one."""
    wire = read_as(_Tenant, raw, vendor=VENDOR, what="a customer")
    if wire.id is None:
        raise _untrusted("a customer without an id")
    _refuse_long(wire.id, TENANT_ID_LENGTH, "a customer", "id")
    name = wire.name or wire.show_as or wire.id
    return Tenant(wire.id, name, billing_type=wire.billing_type, status=wire.status)


def to_usage_line(raw: object) -> UsageLine:
    """One line of the billing report. Raises UnexpectedResponse naming the order.

    Refused are a line without a product, a quantity that is not a number, and keys too long to be
    kept. Impossible dates stand in Sophos' own examples, so they are read as None.
    """
    what = f"a usage line ({_order_of(raw)})"
    wire = read_as(_Line, raw, vendor=VENDOR, what=what)
    key = wire.product_code or wire.sku
    if key is None:
        raise _untrusted(f"{what} with neither productCode nor sku")
    _refuse_long(key, PRODUCT_KEY_LENGTH, what, "productCode or sku")
    _refuse_long(wire.account_id or "", TENANT_ID_LENGTH, what, "accountId")
    return UsageLine(
        tenant_id=wire.account_id,
        product_key=key,
        product_name=wire.description or key,
        quantity=wire.quantity,
        serial=wire.serial,
        product_group=wire.group,
        account_name=wire.account_name,
        order=wire.order,
        unit_price=wire.unit_price,
        currency=wire.currency,
        actual_quantity=wire.actual,
        start=wire.start,
        end=wire.end,
    )


def to_firewall(raw: object) -> Firewall | None:
    """A firewall; None without a serial number, because nothing can be found by it."""
    wire = read_as(_Firewall, raw, vendor=VENDOR, what="a firewall")
    if wire.serial is None:
        return None
    return Firewall(wire.serial, wire.tenant.id, wire.billing_tenant.id, model=wire.model)


def to_licence(raw: object) -> Licence:
    """A licence. Raises UnexpectedResponse for one without a product code."""
    wire = read_as(_Licence, raw, vendor=VENDOR, what="a licence")
    code = wire.product.code or wire.product.generic_code
    if code is None:
        raise _untrusted("a licence without a product code")
    current = wire.usage.current
    return Licence(
        id=wire.id or "",
        product_code=code,
        product_name=wire.product.name or code,
        type=wire.type,
        quantity=wire.quantity,
        unlimited=wire.unlimited,
        used=current.count,
        used_on=current.date,
    )


def is_own_error(reply: Reply) -> bool:
    """Whether an error comes from Sophos' API itself and not from something on the way to it."""
    body = reply.json_object()
    known = ("message", "correlationId", "requestId", "code", "createdAt", "docUrl")
    return bool(clean_text(body.get("error"))) and any(key in body for key in known)


def error_for(reply: Reply, http: Transport, *, doing: str) -> VendorError:
    """The error for an answer that is not good. `doing` completes "while ..."."""
    body = reply.json_object()
    words = http.clean(body.get("message")) or http.clean(body.get("error"))
    said = f"Sophos says: {words.rstrip('.')}." if words else f"Sophos answered {reply.status}."
    known: AnswerOf = {
        "vendor": VENDOR,
        "status": reply.status,
        "request_id": reply.request_id,
    }
    return _typed_error(reply, said, f"while {doing}", known)


def _typed_error(reply: Reply, said: str, when: str, known: AnswerOf) -> VendorError:
    kind: type[VendorError]
    kind, text = UnexpectedResponse, f"Sophos sent something unexpected {when}. {said}"
    if reply.status == 401:
        kind = AuthenticationFailed
        text = f"Sophos did not accept our credentials {when}. {said} Check client id and secret."
    elif reply.status == 403:
        kind = PermissionDenied
        text = (
            f"Sophos refused access {when}. {said} Check the role of the API credentials in "
            "Sophos Central Partner."
        )
    elif reply.status == 429:
        kind = RateLimited
        text = f"Sophos asks for fewer requests {when}. {said} Try again later."
    elif reply.status >= 500:
        kind, text = Unavailable, f"Sophos could not answer {when}. {said} Try again later."
    elif reply.is_html:
        text = (
            f"A web page came instead of an answer of Sophos {when} (status {reply.status}). "
            "Check the address, and proxies on the way."
        )
    elif reply.status == 404:
        kind, text = NotFound, f"Sophos does not know what was asked for {when}. {said}"
    elif reply.status >= 400:
        kind, text = Rejected, f"Sophos refused the request {when}. {said}"
    return kind(text, **known)


def _order_of(raw: object) -> str:
    fields = raw if isinstance(raw, Mapping) else {}
    parts = (fields.get("orderNumber"), fields.get("orderLineItemNumber"))
    order = "/".join(clean_text(str(part), limit=60) for part in parts if part is not None)
    return f"order {order}" if order else "without an order number"


def _refuse_long(key: str, most: int, what: str, field: str) -> None:
    if len(key) > most:
        raise _untrusted(f"{what} with {len(key)} characters as its {field}, of at most {most}")


def _untrusted(what: str) -> UnexpectedResponse:
    text = f"Sophos sent {what}, so the whole answer is not used. Try again; report it if it stays."
    return UnexpectedResponse(text, vendor=VENDOR)
