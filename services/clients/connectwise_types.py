"""What we hand to ConnectWise and get from it beyond the core's own values."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class ConnectWiseAccess:
    """Where and as whom we call ConnectWise PSA: the keys of an *API member* and a client id.

    `site` is the host of the web page (`na.myconnectwise.net`, or an own server's), with or
    without https://; own servers and loopback origins must stand in `allowed_hosts`;
    `own_ca` are certificates (PEM) of authorities that vouch for them beside the public ones.
    """

    site: str
    company_id: str
    public_key: str = field(repr=False)
    private_key: str = field(repr=False)
    client_id: str
    allowed_hosts: frozenset[str] = frozenset()
    own_ca: str = ""


@dataclass(frozen=True, slots=True)
class Company:
    """A ConnectWise company. `deleted` ones lie in its recycle bin, often with a double name."""

    id: int
    identifier: str
    name: str
    deleted: bool
    status: str | None


@dataclass(frozen=True, slots=True)
class PickItem:
    """A choice of a set-up table. `category_id` is filled for sub-categories only."""

    id: int
    name: str
    default: bool
    inactive: bool
    category_id: int | None = None


@dataclass(frozen=True, slots=True)
class NewCatalogItem:
    """A catalog item to be made; what is None is not sent, so ConnectWise's default applies.

    ConnectWise takes at most 75 characters for `identifier` (60 on older servers), 60 for
    `description` and 6,000 for `customer_description`.
    """

    identifier: str
    description: str
    customer_description: str
    subcategory_id: int
    type_id: int
    product_class: str | None = None
    unit_id: int | None = None
    price: Decimal | None = None
    cost: Decimal | None = None
    taxable: bool | None = None
