"""Usage compared with what agreements bill, whether or not anything is synced.

A plan says what would be written. This says what is not billed and what is billed too much, for
everything that Sophos reports and everything that stands in ConnectWise for a Sophos product:
mapped or not, switched on or off, ours or not. Nothing is decided here and nothing is written.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from services.sync.desired import place_lines, sum_usage
from services.sync.model import (
    Addition,
    CatalogItem,
    ProductMapping,
    Situation,
    Target,
    TenantMapping,
    UsageRecord,
)
from services.sync.standing import Standing, bills

NOBODY = ""
"""The tenant id of usage for which Sophos names no customer."""


class Obstacle(StrEnum):
    """What stands between usage and its line on an invoice, in the order in which to mend it."""

    NO_CUSTOMER = "no_customer"
    CUSTOMER_UNMAPPED = "customer_unmapped"
    AGREEMENT_UNUSABLE = "agreement_unusable"
    PRODUCT_UNMAPPED = "product_unmapped"
    ITEM_UNUSABLE = "item_unusable"
    NEGATIVE_USAGE = "negative_usage"
    SEVERAL_ADDITIONS = "several_additions"
    CUSTOMER_SYNC_OFF = "customer_sync_off"
    PRODUCT_SYNC_OFF = "product_sync_off"
    MAPPED_ELSEWHERE = "mapped_elsewhere"
    NOT_OURS = "not_ours"


class Verdict(StrEnum):
    """How a comparison came out, as money sees it."""

    AGREES = "agrees"
    NOT_BILLED = "not_billed"
    UNDERBILLED = "underbilled"
    OVERBILLED = "overbilled"


@dataclass(frozen=True, slots=True)
class Compared:
    """Usage beside what is billed for it, at one place or at none.

    `connectwise` counts the open `additions` that make invoices: on an agreement that makes none
    it is 0, whatever stands there. `records` are the usage, each down to its lines; without any,
    additions stand for a Sophos product that was not used. `unit_price` is None where no price is
    known, or where the additions have different ones.
    """

    tenant_ids: tuple[str, ...]
    product_keys: tuple[str, ...]
    agreement_id: int | None
    item_id: int | None
    sophos: Decimal
    connectwise: Decimal
    unit_price: Decimal | None
    obstacles: tuple[Obstacle, ...]
    records: tuple[UsageRecord, ...] = ()
    additions: tuple[Addition, ...] = ()
    ours: frozenset[int] = frozenset()


def verdict(sophos: Decimal, connectwise: Decimal) -> Verdict:
    """What a pair of quantities means for the invoice."""
    if sophos == connectwise:
        return Verdict.AGREES
    if sophos < connectwise:
        return Verdict.OVERBILLED
    return Verdict.UNDERBILLED if connectwise > 0 else Verdict.NOT_BILLED


def reconcile(situation: Situation) -> tuple[Compared, ...]:
    """Compare all usage with all that is billed for Sophos products.

    The order of the inputs is nothing. `situation` must hold every mapped agreement, those of
    customers whose sync is off included: one that is missing does not exist. Raises
    IncompleteSituationError when the additions of an agreement were not read.
    """
    return tuple(sorted(_Comparison(situation).rows(), key=_order))


@dataclass(slots=True)
class Side:
    """Differences of one direction added up. `unpriced` counts those without a known price."""

    rows: int = 0
    seats: Decimal = Decimal(0)
    money: Decimal = Decimal(0)
    unpriced: int = 0
    unpriced_seats: Decimal = Decimal(0)

    def add(self, difference: Decimal, unit_price: Decimal | None) -> None:
        """Count one difference in; its sign is that of the direction and does not matter."""
        self.rows += 1
        self.seats += abs(difference)
        if unit_price is None:
            self.unpriced += 1
            self.unpriced_seats += abs(difference)
        else:
            self.money += abs(difference) * unit_price


@dataclass(slots=True)
class Totals:
    """What is lost, what is billed too much, and how much agrees."""

    not_billed: Side
    overbilled: Side
    agree: int = 0

    @property
    def differ(self) -> int:
        """How many comparisons came out unequal."""
        return self.not_billed.rows + self.overbilled.rows


def add_up(rows: Iterable[tuple[Decimal, Decimal, Decimal | None]]) -> Totals:
    """The totals of (Sophos quantity, ConnectWise quantity, unit price)."""
    totals = Totals(Side(), Side())
    for sophos, connectwise, unit_price in rows:
        found = verdict(sophos, connectwise)
        if found is Verdict.AGREES:
            totals.agree += 1
            continue
        side = totals.overbilled if found is Verdict.OVERBILLED else totals.not_billed
        side.add(sophos - connectwise, unit_price)
    return totals


class _Comparison:
    """Look-ups made once, then each place in turn."""

    def __init__(self, situation: Situation) -> None:
        self.situation = situation
        self.standing = Standing(situation)
        self.products_of: defaultdict[int, list[ProductMapping]] = defaultdict(list)
        for product in situation.products.values():
            if product.catalog_item_id is not None:
                self.products_of[product.catalog_item_id].append(product)
        self.tenants_on: defaultdict[int, list[TenantMapping]] = defaultdict(list)
        for tenant in situation.tenants.values():
            named = {tenant.agreement_id, *tenant.agreements_by_product.values()}
            for agreement_id in named:
                if agreement_id is not None and self._bills(tenant, agreement_id):
                    self.tenants_on[agreement_id].append(tenant)

    def rows(self) -> Iterator[Compared]:
        placed, unassigned = place_lines(
            self.situation.usage, self.situation.firewalls, self.situation.serial_assignments
        )
        # Lines of several devices stay apart: each device is given to a customer of its own.
        for serial in {line.serial for line in unassigned}:
            lines = [(NOBODY, line) for line in unassigned if line.serial == serial]
            for record in sum_usage(lines):
                yield self._nowhere(record, [Obstacle.NO_CUSTOMER])
        by_place: defaultdict[Target, list[UsageRecord]] = defaultdict(list)
        for record in sum_usage(placed):
            target, obstacles = self._place(record)
            if target is None:
                yield self._nowhere(record, obstacles)
            else:
                by_place[target].append(record)
        for target, records in by_place.items():
            yield self._at(target, records)
        yield from self._without_usage(by_place)

    # --- usage that is billed nowhere -----------------------------------------------------------

    def _place(self, record: UsageRecord) -> tuple[Target | None, list[Obstacle]]:
        """Where usage is to be billed; else everything that keeps it from having a place."""
        tenant = self.situation.tenants.get(record.tenant_id)
        product = self.situation.products.get(record.product_key)
        agreement_id = tenant.agreement_for(record.product_key) if tenant else None
        item_id = product.catalog_item_id if product else None
        obstacles = []
        if tenant is None or agreement_id is None:
            obstacles.append(Obstacle.CUSTOMER_UNMAPPED)
        elif not self._bills(tenant, agreement_id):
            obstacles.append(Obstacle.AGREEMENT_UNUSABLE)
        if item_id is None:
            obstacles.append(Obstacle.PRODUCT_UNMAPPED)
        if obstacles or agreement_id is None or item_id is None:
            return None, obstacles
        return Target(agreement_id, item_id), []

    def _bills(self, tenant: TenantMapping, agreement_id: int) -> bool:
        """Whether an agreement makes invoices, and to this tenant's company."""
        agreement = self.situation.agreements.get(agreement_id)
        if agreement is None or agreement.why_not_writable(self.situation.today):
            return False
        return tenant.company_id is None or agreement.company_id == tenant.company_id

    def _nowhere(self, record: UsageRecord, obstacles: list[Obstacle]) -> Compared:
        tenant = self.situation.tenants.get(record.tenant_id)
        product = self.situation.products.get(record.product_key)
        item_id = product.catalog_item_id if product else None
        item = self.situation.items.get(item_id) if item_id is not None else None
        if record.quantity < 0:
            obstacles = [*obstacles, Obstacle.NEGATIVE_USAGE]
        return Compared(
            tenant_ids=(record.tenant_id,) if record.tenant_id else (),
            product_keys=(record.product_key,),
            agreement_id=tenant.agreement_for(record.product_key) if tenant else None,
            item_id=item_id,
            sophos=record.quantity,
            connectwise=Decimal(0),
            unit_price=item.price if item else None,
            obstacles=tuple(obstacles),  # a switch comes after a place
            records=(record,),
        )

    # --- a place ----------------------------------------------------------------------------------

    def _at(self, target: Target, records: Sequence[UsageRecord]) -> Compared:
        additions = self.standing.at(target)
        ours = frozenset(a.id for a in additions if a.id in self.standing.ours)
        item = self._item(target)
        obstacles = []
        if item is None or item.is_bundle or (item.inactive and not additions):
            obstacles.append(Obstacle.ITEM_UNUSABLE)
        if any(record.quantity < 0 for record in records):
            obstacles.append(Obstacle.NEGATIVE_USAGE)
        obstacles += self._about(additions, ours)
        return Compared(
            tenant_ids=tuple(sorted({r.tenant_id for r in records})),
            product_keys=tuple(sorted({r.product_key for r in records})),
            agreement_id=target.agreement_id,
            item_id=int(target.item),
            sophos=sum((r.quantity for r in records), Decimal(0)),
            connectwise=sum((a.quantity for a in additions), Decimal(0)),
            unit_price=_price(additions, item),
            obstacles=_in_order([*obstacles, *self._switched_off(records)]),
            records=tuple(sorted(records, key=lambda r: (r.tenant_id, r.product_key))),
            additions=tuple(additions),
            ours=ours,
        )

    def _about(self, additions: Sequence[Addition], ours: frozenset[int]) -> Iterator[Obstacle]:
        if len(additions) > 1:
            yield Obstacle.SEVERAL_ADDITIONS
        elif additions and not ours:
            yield Obstacle.NOT_OURS

    def _switched_off(self, records: Iterable[UsageRecord]) -> Iterator[Obstacle]:
        """What keeps a run from billing usage that is mapped."""
        records = list(records)
        tenants = [self.situation.tenants.get(record.tenant_id) for record in records]
        products = [self.situation.products.get(record.product_key) for record in records]
        if any(tenant is not None and not tenant.sync for tenant in tenants):
            yield Obstacle.CUSTOMER_SYNC_OFF
        if any(product is not None and not product.sync for product in products):
            yield Obstacle.PRODUCT_SYNC_OFF

    # --- additions without usage ------------------------------------------------------------------

    def _without_usage(self, used: Iterable[Target]) -> Iterator[Compared]:
        """What is billed for Sophos products, and by us, although nothing asks for it."""
        used = set(used)
        by_place: defaultdict[Target, list[Addition]] = defaultdict(list)
        for addition in self._open_additions():
            place = Target(addition.agreement_id, addition.catalog_item_id)
            if place not in used and self._concerns_us(addition):
                by_place[place].append(addition)
        for place, additions in by_place.items():
            if any(bills(addition) for addition in additions):
                yield self._unused(place, sorted(additions, key=lambda a: a.id))

    def _open_additions(self) -> Iterator[Addition]:
        """Every open addition that makes invoices, once."""
        for agreement_id, agreement in self.situation.agreements.items():
            if agreement.why_not_writable(self.situation.today):
                continue
            items = {a.catalog_item_id for a in self.situation.additions.get(agreement_id, ())}
            for item_id in items:
                yield from self.standing.at(Target(agreement_id, item_id))

    def _concerns_us(self, addition: Addition) -> bool:
        """Ours, or a mapped product on an agreement of a tenant's own company."""
        if addition.id in self.standing.ours:
            return True
        mapped = addition.catalog_item_id in self.products_of
        return mapped and addition.agreement_id in self.tenants_on

    def _unused(self, place: Target, additions: Sequence[Addition]) -> Compared:
        ours = [self.standing.ours[a.id] for a in additions if a.id in self.standing.ours]
        sources = {source for owned in ours for source in owned.sources}
        item_id = int(place.item)
        products = {product.product_key for product in self.products_of.get(item_id, ())}
        keys = products or {source.product_key for source in sources}
        there = self.tenants_on.get(place.agreement_id, ())
        billed = {t.tenant_id for t in there if place.agreement_id in map(t.agreement_for, keys)}
        tenants = {source.tenant_id for source in sources} or billed or {t.tenant_id for t in there}
        owned_ids = frozenset(owned.addition_id for owned in ours)
        obstacles = list(self._about(additions, owned_ids))
        if not products:
            obstacles.append(Obstacle.MAPPED_ELSEWHERE)
        known = [self.situation.tenants[t] for t in tenants if t in self.situation.tenants]
        mapped = [self.situation.products[k] for k in keys if k in self.situation.products]
        if any(not tenant.sync for tenant in known):
            obstacles.append(Obstacle.CUSTOMER_SYNC_OFF)
        if any(not product.sync for product in mapped):
            obstacles.append(Obstacle.PRODUCT_SYNC_OFF)
        return Compared(
            tenant_ids=tuple(sorted(tenants)),
            product_keys=tuple(sorted(keys)),
            agreement_id=place.agreement_id,
            item_id=item_id,
            sophos=Decimal(0),
            connectwise=sum((a.quantity for a in additions), Decimal(0)),
            unit_price=_price(additions, self._item(place)),
            obstacles=_in_order(obstacles),
            additions=tuple(additions),
            ours=owned_ids,
        )

    def _item(self, place: Target) -> CatalogItem | None:
        return self.situation.items.get(place.item) if isinstance(place.item, int) else None


def _price(additions: Sequence[Addition], item: CatalogItem | None) -> Decimal | None:
    """The price of one more or one less; None where that depends on which addition it is."""
    own = item.price if item else None
    prices = {own if a.unit_price is None else a.unit_price for a in additions} or {own}
    return next(iter(prices)) if len(prices) == 1 else None


def _in_order(obstacles: Iterable[Obstacle]) -> tuple[Obstacle, ...]:
    found = set(obstacles)
    return tuple(obstacle for obstacle in Obstacle if obstacle in found)


def _order(row: Compared) -> tuple[tuple[str, ...], tuple[str, ...], int, int, str]:
    """A stable order; the device is what tells apart usage without a customer."""
    serial = row.records[0].lines[0].serial if row.records else None
    place = (row.agreement_id or 0, row.item_id or 0)
    return row.tenant_ids, row.product_keys, *place, serial or ""
