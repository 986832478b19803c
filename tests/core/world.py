"""A small model of ConnectWise and of our ownership, which a plan is applied to.

It does exactly what the applier does, without a network. It also keeps a ledger of which usage
each addition bills, and from which day on, so that a law can say "never billed twice".
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from services.sync.model import (
    Addition,
    CatalogItem,
    Change,
    ChangeKind,
    OwnedAddition,
    Plan,
    Situation,
    Source,
)
from tests.core.factories import by_agreement

Approve = Callable[[Change], bool]


def everything(change: Change) -> bool:
    """A person who approves all that is held."""
    return True


def nothing(change: Change) -> bool:
    """A person who approves nothing: only what is not held is written."""
    return change.held is None


@dataclass(frozen=True, slots=True)
class Billed:
    """An addition bills the usage of one source on the days from `first` to `last`."""

    addition_id: int
    source: Source
    quantity: Decimal
    first: dt.date
    last: dt.date | None


def takes(change: Change) -> bool:
    """Whether it takes seats away; such changes come last in their group."""
    return change.kind is ChangeKind.CANCEL or (
        change.kind is ChangeKind.UPDATE and (change.after or 0) < (change.before or 0)
    )


def in_order(changes: Iterable[Change]) -> list[Change]:
    """Products first, then what gives, then what takes."""
    return sorted(changes, key=lambda c: 2 if takes(c) else c.kind is not ChangeKind.CREATE_PRODUCT)


@dataclass
class World:
    """The situation, and which usage each addition bills."""

    situation: Situation
    ledger: dict[int, dict[Source, tuple[Decimal, dt.date]]] = field(default_factory=dict)
    _created: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Additions of ours bill, from their start on, what they were said to stand for."""
        starts = {a.id: a.effective_date or dt.date.min for a in self._additions()}
        for owned in self.situation.owned:
            share = Decimal(1) if owned.quantity > 0 else Decimal(0)
            self.ledger[owned.addition_id] = {
                s: (share, starts.get(owned.addition_id, dt.date.min)) for s in owned.sources
            }

    # --- what a run does ------------------------------------------------------------------------

    def apply(self, plan: Plan, approve: Approve = everything, stop_after: int = 10**6) -> None:
        """Write the plan; `stop_after` so many writes everything stops, as in a crash."""
        due = [c for c in in_order(plan.changes) if c.held is None or approve(c)]
        for change in due[:stop_after]:
            self._apply(change)
        starts = {a.id: a.effective_date or dt.date.min for a in self._additions()}
        for owned in plan.confirmed:
            before = self.ledger.get(owned.addition_id, {})
            start = max(starts[owned.addition_id], self.situation.month.first_day)
            self.ledger[owned.addition_id] = {
                s: before.get(s, (Decimal(owned.quantity > 0), start)) for s in owned.sources
            }
            self._own(owned)

    def _apply(self, change: Change) -> None:
        match change.kind:
            case ChangeKind.CREATE_PRODUCT:
                self._create_product(change)
            case ChangeKind.CREATE:
                self._create(change)
            case ChangeKind.UPDATE | ChangeKind.ADOPT:
                self._write_quantity(change)
            case ChangeKind.CANCEL:
                self._cancel(change)

    def _create_product(self, change: Change) -> None:
        assert change.product_key is not None
        items = dict(self.situation.items)
        if isinstance(change.item, int):
            item_id = change.item
        else:
            item_id = max([1000, *items]) + 1
            items[item_id] = CatalogItem(item_id, change.item, change.item)
            self._created[change.item] = item_id
        products = dict(self.situation.products)
        products[change.product_key] = dataclasses.replace(
            products[change.product_key], catalog_item_id=item_id
        )
        self._now(items=items, products=products)

    def _create(self, change: Change) -> None:
        item_id = change.item if isinstance(change.item, int) else self._created.get(change.item)
        if item_id is None:
            return  # its product was not made
        assert change.agreement_id is not None
        assert change.after is not None
        assert change.effective_date is not None
        made = Addition(
            max([5000, *(o.addition_id for o in self.situation.owned)]) + 1,
            change.agreement_id,
            item_id,
            change.after,
            change.effective_date,
        )
        self._put(made)
        self._own(OwnedAddition(made.id, made.agreement_id, item_id, change.after, change.sources))
        self.ledger[made.id] = _shares(change, change.effective_date, {})

    def _write_quantity(self, change: Change) -> None:
        addition = self._addition(change)
        assert change.after is not None
        self._put(dataclasses.replace(addition, quantity=change.after))
        # An addition whose usage ended goes on standing for it.
        stood_for = {o.addition_id: o.sources for o in self.situation.owned}
        self._own(
            OwnedAddition(
                addition.id,
                addition.agreement_id,
                addition.catalog_item_id,
                change.after,
                change.sources or stood_for.get(addition.id, frozenset()),
            )
        )
        start = max(addition.effective_date or dt.date.min, self.situation.month.first_day)
        known = self.ledger.get(addition.id, {})
        self.ledger[addition.id] = _shares(change, start, known)

    def _cancel(self, change: Change) -> None:
        addition = self._addition(change)
        quantity = Decimal(0) if change.sets_quantity else addition.quantity
        self._put(
            dataclasses.replace(addition, quantity=quantity, cancelled_date=change.cancelled_date)
        )
        owned = next(o for o in self.situation.owned if o.addition_id == addition.id)
        last = None if change.sets_quantity else change.cancelled_date
        self._own(
            dataclasses.replace(owned, quantity=quantity, ended_by_us=True, last_billed_day=last)
        )

    # --- what a law asks ------------------------------------------------------------------------

    def billed(self) -> Iterator[Billed]:
        """Every stretch of days for which usage is billed from this month on."""
        for addition in self._additions():
            agreement = self.situation.agreements.get(addition.agreement_id)
            if agreement is None or agreement.why_not_writable(self.situation.today):
                continue
            if addition.quantity <= 0:
                continue
            for source, (quantity, first) in self.ledger.get(addition.id, {}).items():
                start = max(first, self.situation.month.first_day)
                last = addition.cancelled_date
                if quantity > 0 and (last is None or last >= start):
                    yield Billed(addition.id, source, quantity, start, last)

    def billed_twice(self) -> set[tuple[Source, int, int]]:
        """Usage that two additions bill on the same day."""
        rows = list(self.billed())
        return {
            (one.source, one.addition_id, two.addition_id)
            for one in rows
            for two in rows
            if one.source == two.source
            and one.addition_id < two.addition_id
            and (one.last is None or two.first <= one.last)
            and (two.last is None or one.first <= two.last)
        }

    def standing(self) -> list[tuple[int, int, Decimal]]:
        """Agreement, item and quantity of every addition that is not ended."""
        return sorted(
            (a.agreement_id, a.catalog_item_id, a.quantity)
            for a in self._additions()
            if a.cancelled_date is None
        )

    # --- plumbing -------------------------------------------------------------------------------

    def _additions(self) -> list[Addition]:
        return [a for rows in self.situation.additions.values() for a in rows]

    def _addition(self, change: Change) -> Addition:
        return next(a for a in self._additions() if a.id == change.addition_id)

    def _put(self, addition: Addition) -> None:
        rows = [a for a in self._additions() if a.id != addition.id]
        self._now(additions=by_agreement([*rows, addition], self.situation.additions))

    def _own(self, owned: OwnedAddition) -> None:
        rest = [o for o in self.situation.owned if o.addition_id != owned.addition_id]
        self._now(owned=(*rest, owned))

    def _now(self, **parts: object) -> None:
        self.situation = dataclasses.replace(self.situation, **parts)  # type: ignore[arg-type]


def _shares(
    change: Change, start: dt.date, known: Mapping[Source, tuple[Decimal, dt.date]]
) -> dict[Source, tuple[Decimal, dt.date]]:
    quantities = {Source(r.tenant_id, r.product_key): r.quantity for r in change.records}
    return {
        s: (quantity, known[s][1] if s in known else start) for s, quantity in quantities.items()
    }
