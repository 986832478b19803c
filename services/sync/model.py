"""The words of the product as immutable values.

Every value here is plain data read from Sophos, ConnectWise or our own settings. Quantities are
seats (or devices) as `Decimal`, money is in the currency of the ConnectWise system, dates are
calendar days of the billing time zone.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from services.sync.rules import Rules

_MONTH_PATTERN = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")
TENANT_ID_LENGTH, PRODUCT_KEY_LENGTH = 64, 120
"""The most characters of a key. A longer one is refused: cut short, it could be another's."""


class Month(NamedTuple):
    """A billing month, ordered by time."""

    year: int
    number: int

    @classmethod
    def parse(cls, text: str) -> Month:
        """Read `YYYY-MM`; raises ValueError for anything else."""
        match = _MONTH_PATTERN.fullmatch(text.strip())
        if not match:
            raise ValueError(f"{text!r} is not a month: write it as YYYY-MM, for example 2026-10")
        month = cls(int(match[1]), int(match[2]))
        if month.year < 1:
            raise ValueError(f"{text!r} is not a month: there is no year 0")
        return month

    @classmethod
    def of(cls, day: dt.date) -> Month:
        """The month that a day lies in."""
        return cls(day.year, day.month)

    @property
    def first_day(self) -> dt.date:
        """The first calendar day of the month."""
        return dt.date(self.year, self.number, 1)

    @property
    def previous(self) -> Month:
        """The month before."""
        return Month.of(self.first_day - dt.timedelta(days=1))

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.number:02d}"


# --- what Sophos says ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tenant:
    """A Sophos customer account."""

    id: str
    name: str
    billing_type: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class UsageLine:
    """One line of Sophos' billing report.

    `tenant_id` is None on lines of stand-alone devices, which carry only a serial number.
    `product_key` is Sophos' `productCode`, or its `sku` where the code is missing: names change.
    """

    tenant_id: str | None
    product_key: str
    product_name: str
    quantity: Decimal
    serial: str | None = None
    product_group: str | None = None
    account_name: str | None = None
    order: str | None = None
    unit_price: Decimal | None = None
    currency: str | None = None
    actual_quantity: Decimal | None = None
    start: dt.date | None = None
    end: dt.date | None = None


@dataclass(frozen=True, slots=True)
class Firewall:
    """A firewall of Sophos' firewall licence list, with the tenants it may belong to."""

    serial: str
    tenant_id: str | None
    billing_tenant_id: str | None
    model: str | None = None

    @property
    def owner_id(self) -> str | None:
        """The tenant it certainly belongs to; None when Sophos names none, or two that differ."""
        if self.tenant_id and self.billing_tenant_id and self.tenant_id != self.billing_tenant_id:
            return None
        return self.billing_tenant_id or self.tenant_id


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """The sum of the usage lines of one tenant and one Sophos product."""

    tenant_id: str
    product_key: str
    quantity: Decimal
    lines: tuple[UsageLine, ...]


# --- what ConnectWise says ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """What the PSA sells, by its ConnectWise record id. `price` is per unit and billing cycle."""

    id: int
    identifier: str
    description: str
    product_class: str | None = None
    inactive: bool = False
    price: Decimal | None = None
    cost: Decimal | None = None
    customer_description: str | None = None
    category_id: int | None = None
    subcategory_id: int | None = None
    type_id: int | None = None
    unit_id: int | None = None
    taxable: bool | None = None
    updated_at: str | None = None

    @property
    def is_bundle(self) -> bool:
        """Bundles cannot be agreement additions (ConnectWise)."""
        return self.product_class == "Bundle"


@dataclass(frozen=True, slots=True)
class Agreement:
    """A ConnectWise agreement; we only ever read it."""

    id: int
    name: str
    company_id: int
    company_name: str | None = None
    status: str | None = None
    cancelled: bool = False
    end_date: dt.date | None = None
    no_ending_date: bool = True
    bill_start_date: dt.date | None = None
    next_invoice_date: dt.date | None = None
    prorate: bool = False
    type_name: str | None = None

    def why_not_writable(self, today: dt.date) -> str | None:
        """A sentence why nothing may be written to this agreement, or None when it is in order."""
        if self.cancelled or (self.status is not None and self.status != "Active"):
            return f"the agreement is {(self.status or 'cancelled').lower()}"
        if self.end_date is not None and not self.no_ending_date and self.end_date < today:
            return f"the agreement ended on {self.end_date.isoformat()}"
        return None


@dataclass(frozen=True, slots=True)
class Addition:
    """A line of an agreement. Open-ended while `cancelled_date` (its last billed day) is None."""

    id: int
    agreement_id: int
    catalog_item_id: int
    quantity: Decimal
    effective_date: dt.date | None = None
    cancelled_date: dt.date | None = None
    description: str | None = None
    unit_price: Decimal | None = None
    updated_at: str | None = None

    def is_open(self, today: dt.date) -> bool:
        """Whether it is billed after today."""
        return self.cancelled_date is None or self.cancelled_date > today

    @property
    def is_exact(self) -> bool:
        """Whether we can keep its quantity as it is: to six places."""
        return self.quantity == round(self.quantity, 6)


# --- what the provider decided ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ProductMapping:
    """Our link from a Sophos product to a catalog item, and whether it takes part in the sync."""

    product_key: str
    product_name: str
    sync: bool
    catalog_item_id: int | None = None


@dataclass(frozen=True, slots=True)
class TenantMapping:
    """Our link from a tenant to a company and an agreement, and whether it takes part.

    `agreements_by_product` sends single Sophos products of the tenant to another agreement.
    """

    tenant_id: str
    tenant_name: str
    sync: bool
    company_id: int | None = None
    agreement_id: int | None = None
    agreements_by_product: Mapping[str, int] = field(default_factory=dict)

    def agreement_for(self, product_key: str) -> int | None:
        """The agreement that usage of this Sophos product is billed on."""
        return self.agreements_by_product.get(product_key, self.agreement_id)


class Source(NamedTuple):
    """Where a number comes from: the usage of one Sophos product by one tenant."""

    tenant_id: str
    product_key: str


@dataclass(frozen=True, slots=True)
class OwnedAddition:
    """An addition that we made or were allowed to adopt.

    `quantity` is what it held when we last wrote or confirmed it; `sources` is the usage that it
    stood for then. `ended_by_us` marks an addition that we cancelled ourselves, and
    `last_billed_day` is then its last day, if it has any.
    """

    addition_id: int
    agreement_id: int
    catalog_item_id: int
    quantity: Decimal
    sources: frozenset[Source]
    ended_by_us: bool = False
    last_billed_day: dt.date | None = None


# --- the result ---------------------------------------------------------------------------------


class ChangeKind(StrEnum):
    """What a change writes."""

    CREATE_PRODUCT = "create_product"
    CREATE = "create"
    ADOPT = "adopt"
    UPDATE = "update"
    CANCEL = "cancel"


class FindingKind(StrEnum):
    """Something a person must look at."""

    UNMAPPED_PRODUCT = "unmapped_product"
    NEW_PRODUCT = "new_product"
    UNMAPPED_TENANT = "unmapped_tenant"
    UNASSIGNED_LINE = "unassigned_line"
    AMBIGUOUS_ADDITION = "ambiguous_addition"
    AGREEMENT_UNUSABLE = "agreement_unusable"
    CATALOG_ITEM_UNUSABLE = "catalog_item_unusable"
    DEFAULT_PRODUCT_CONFLICT = "default_product_conflict"
    NEGATIVE_USAGE = "negative_usage"
    SYNC_OFF = "sync_off"
    LEFT_ALONE = "left_alone"
    REPORT_SHRUNK = "report_shrunk"
    PRICE_MISSING = "price_missing"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """`subject` names the thing by id or code, `message` what is wrong, `advice` what to do."""

    kind: FindingKind
    subject: str
    message: str
    advice: str


ItemRef = int | str
"""A catalog item: its ConnectWise id, or the identifier of a default product yet to be made."""


class Target(NamedTuple):
    """The place of one addition: an agreement and a catalog item."""

    agreement_id: int
    item: ItemRef


@dataclass(frozen=True, slots=True)
class Desired:
    """An addition that usage asks for, with the usage records that add up to its quantity."""

    target: Target
    quantity: Decimal
    records: tuple[UsageRecord, ...]

    @property
    def sources(self) -> frozenset[Source]:
        """The tenants and Sophos products that it stands for."""
        return frozenset(Source(r.tenant_id, r.product_key) for r in self.records)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a plan is made from: read completely, before anything is decided.

    `items` holds every mapped catalog item that exists, and those that bear the identifier of a
    default product. `additions` has an entry, perhaps empty, for every agreement that was read.
    """

    month: Month
    today: dt.date
    usage: Sequence[UsageLine]
    tenants: Mapping[str, TenantMapping]
    products: Mapping[str, ProductMapping]
    items: Mapping[int, CatalogItem]
    agreements: Mapping[int, Agreement]
    additions: Mapping[int, Sequence[Addition]]
    owned: Sequence[OwnedAddition] = ()
    firewalls: Sequence[Firewall] = ()
    serial_assignments: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing to write. Quantities are absolute, never differences.

    `before` is None where nothing stands yet. Changes that share a `group` move the same seats:
    they are held or released together, and what takes away is applied only after what gives.
    `held` is the sentence why a person must approve it first, or None. A cancel writes
    `cancelled_date`, and the quantity 0 only if `sets_quantity` (no earlier period was billed).
    `moved` is how many of the seats that it takes away are billed elsewhere from now on.
    """

    kind: ChangeKind
    tenant_id: str | None
    agreement_id: int | None
    item: ItemRef
    before: Decimal | None
    after: Decimal | None
    reason: str
    addition_id: int | None = None
    effective_date: dt.date | None = None
    cancelled_date: dt.date | None = None
    sets_quantity: bool = True
    held: str | None = None
    group: str | None = None
    moved: Decimal = Decimal(0)
    sources: frozenset[Source] = frozenset()
    records: tuple[UsageRecord, ...] = ()
    unit_price: Decimal | None = None
    product_key: str | None = None
    product_name: str | None = None
    identifier: str | None = None

    @property
    def money(self) -> Decimal | None:
        """The price effect per billing cycle, where a price is known."""
        if self.unit_price is None or self.after is None:
            return None
        return (self.after - (self.before or Decimal(0))) * self.unit_price


@dataclass(frozen=True, slots=True)
class Plan:
    """The result of comparing desired with actual.

    `confirmed` are additions of ours that already hold what usage asks for: addition id, quantity
    and the sources they now stand for. Nothing is written for them. `confirmed_groups` names the
    group of those that take part in one.
    """

    changes: tuple[Change, ...]
    findings: tuple[Finding, ...]
    confirmed: tuple[OwnedAddition, ...] = ()
    confirmed_groups: Mapping[int, str] = field(default_factory=dict)
