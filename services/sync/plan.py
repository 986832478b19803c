"""Desired compared with actual: the changes to make, each explained.

`compute_plan` decides what would have to be written. Whether a person must approve it first is
decided here where ownership is in question, and in `guard` where the size of the change is.

Places (an agreement and a catalog item) that exchange seats form a group. Within a group nothing
may be billed twice or nowhere: when one of its places must stay as it is, all its changes wait.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal

from services.sync.dates import first_billed_day, why_not_join
from services.sync.desired import DesiredState
from services.sync.endings import Departure, ending
from services.sync.explain import explain_quantity, list_sources
from services.sync.fates import STUCK, Fate, describe, fate_of
from services.sync.findings import TOO_FINE, ambiguous, too_fine, unwritable
from services.sync.groups import Groups, target_order
from services.sync.model import (
    Addition,
    CatalogItem,
    Change,
    ChangeKind,
    Desired,
    Finding,
    FindingKind,
    OwnedAddition,
    Plan,
    Situation,
    Source,
    Target,
)
from services.sync.rules import UsageEnded
from services.sync.standing import IncompleteSituationError, Standing
from services.sync.words import number

__all__ = ["IncompleteSituationError", "compute_plan"]


def compute_plan(situation: Situation, state: DesiredState) -> Plan:
    """Compare the desired additions with the actual ones.

    Deterministic, and independent of the order of its inputs. Raises IncompleteSituationError
    when the additions of an agreement that matters were not read.
    """
    return _Comparison(situation, state).plan()


class _Comparison:
    """One comparison: look-ups made once, then every target and every addition of ours in turn."""

    def __init__(self, situation: Situation, state: DesiredState) -> None:
        self.situation = situation
        self.state = state
        self.standing = Standing(situation)
        self.target_of: dict[Source, Target] = {}
        self.quantity_of: dict[Source, Decimal] = {}
        for target, desired in state.desired.items():
            for record in desired.records:
                source = Source(record.tenant_id, record.product_key)
                self.target_of[source] = target
                self.quantity_of[source] = record.quantity
        self.ours_for: defaultdict[Source, list[OwnedAddition]] = defaultdict(list)
        for owned in self.standing.ours.values():
            for source in owned.sources:
                self.ours_for[source].append(owned)
        self.groups = Groups()
        self.changes: dict[Target, Change] = {}
        self.endings: list[tuple[Target, Change]] = []
        self.settled: dict[Target, OwnedAddition | None] = {}
        self.unbillable: set[Target] = set()
        self.stuck: dict[Target, str] = {}
        self.findings: list[Finding] = list(state.findings)

    def plan(self) -> Plan:
        for target in sorted(self.state.desired, key=target_order):
            self._compare(self.state.desired[target])
        for _, owned in sorted(self.standing.ours.items()):
            self._follow(owned)
        changes = (*self.state.products, *self._held_by_group())
        findings = tuple(sorted(set(self.findings)))
        confirmed = {owned: self.groups.name(place) for place, owned in self._confirmed()}
        groups = {owned.addition_id: group for owned, group in confirmed.items() if group}
        return Plan(changes, findings, tuple(confirmed), groups)

    # --- a target that usage asks for -----------------------------------------------------------

    def _compare(self, desired: Desired) -> None:
        target = desired.target
        there = self.standing.at(target)
        if len(there) > 1 or not all(addition.is_exact for addition in there):
            self.unbillable.add(target)
            several = len(there) > 1
            self.stuck[target] = "it has several open additions" if several else TOO_FINE
            told = ambiguous if several else too_fine
            name = self._name_of(desired.records[0].tenant_id)
            self.findings.append(told(desired, there, self._item(target), name))
        elif not there:
            self._compare_with_nothing(desired)
        elif there[0].id in self.standing.ours:
            self._compare_with_ours(desired, there[0], self.standing.ours[there[0].id])
        elif desired.quantity > 0:
            self.changes[target] = self._change(
                ChangeKind.ADOPT,
                desired,
                there[0],
                held="not made by us; approve once to let us keep it right",
            )
        else:
            self.settled[target] = None

    def _compare_with_nothing(self, desired: Desired) -> None:
        item = self._item(desired.target)
        if desired.quantity == 0:
            self.settled[desired.target] = None
        elif item is not None and item.inactive:
            self.unbillable.add(desired.target)
            self.stuck[desired.target] = f"{item.identifier} is inactive"
        else:
            self.changes[desired.target] = self._create(desired)

    def _compare_with_ours(
        self, desired: Desired, addition: Addition, owned: OwnedAddition
    ) -> None:
        arriving = desired.sources - owned.sources
        before_it = self.standing.closed_for(arriving)
        held = why_not_join(addition, self.situation, before_it) if arriving else None
        if owned.catalog_item_id != addition.catalog_item_id:
            held = "edited in ConnectWise: a person changed its product"
        elif addition.quantity == desired.quantity:
            self.settled[desired.target] = owned
            if held:
                self.stuck[desired.target] = held
            return
        elif addition.quantity != owned.quantity:
            held = (
                f"edited in ConnectWise: we wrote {number(owned.quantity)}, it now says "
                f"{number(addition.quantity)}, usage asks for {number(desired.quantity)}"
            )
        change = self._change(ChangeKind.UPDATE, desired, addition, held=held)
        self.changes[desired.target] = change

    def _create(self, desired: Desired) -> Change:
        agreement = self.situation.agreements[desired.target.agreement_id]
        day, remark = first_billed_day(
            agreement,
            self.situation,
            before_it=[
                *self.standing.closed_at(desired.target),
                *self.standing.closed_for(desired.sources),
            ],
            left=[
                left
                for source in desired.sources
                for owned in self.ours_for.get(source, ())
                if (left := self.situation.agreements.get(owned.agreement_id))
            ],
        )
        reason = f"{explain_quantity(desired.records, self._name_of)}; billed from {day}"
        return Change(
            kind=ChangeKind.CREATE,
            tenant_id=desired.records[0].tenant_id,
            agreement_id=desired.target.agreement_id,
            item=desired.target.item,
            before=None,
            after=desired.quantity,
            reason=f"{reason} ({remark})" if remark else reason,
            effective_date=day,
            sources=desired.sources,
            records=desired.records,
            unit_price=self._price(desired.target, None),
        )

    def _change(
        self, kind: ChangeKind, desired: Desired, addition: Addition, *, held: str | None
    ) -> Change:
        return Change(
            kind=kind,
            tenant_id=desired.records[0].tenant_id,
            agreement_id=desired.target.agreement_id,
            item=desired.target.item,
            before=addition.quantity,
            after=desired.quantity,
            reason=explain_quantity(desired.records, self._name_of),
            addition_id=addition.id,
            held=held,
            sources=desired.sources,
            records=desired.records,
            unit_price=self._price(desired.target, addition),
        )

    # --- an addition of ours --------------------------------------------------------------------

    def _follow(self, owned: OwnedAddition) -> None:
        """What became of the usage that it stood for, and so of the addition itself."""
        place = Target(owned.agreement_id, owned.catalog_item_id)
        addition = self.standing.of(owned)
        if addition is None:
            self._removed(owned)
            return
        fates = {source: self._fate(place, source) for source in sorted(owned.sources)}
        agreement = self.situation.agreements.get(owned.agreement_id)
        why = agreement.why_not_writable(self.situation.today) if agreement else "it is gone"
        if why:
            # Such an agreement makes no invoices: usage may move away without an ending here.
            self.findings.append(unwritable(addition, why))
            return
        for source, fate in fates.items():
            if fate is Fate.MOVED:
                self.groups.join(place, self.target_of[source])
        stuck = [s for s, f in fates.items() if f in STUCK]
        if addition.catalog_item_id != owned.catalog_item_id:
            self._stays(place, owned, addition, "its product was changed in ConnectWise", fates)
        elif not addition.is_exact:
            self._stays(place, owned, addition, TOO_FINE, fates)
        elif stuck:
            what = list_sources(stuck, self._name_of)
            why = f"{what} is {describe(fates[s] for s in stuck)}"
            self._stays(place, owned, addition, why, fates)
        elif place in self.state.desired:
            self._falls_with_ended_usage(place, fates)
        else:
            self._leave(place, Departure(owned, addition, fates))

    def _removed(self, owned: OwnedAddition) -> None:
        """A person ended it: what it stood for is never silently billed again."""
        for source in sorted(owned.sources):
            target = self.target_of.get(source)
            replaced = any(
                other is not owned and self.standing.of(other) is not None
                for other in self.ours_for[source]
            )
            if target is not None and not replaced:
                self._hold(target, "it was removed in ConnectWise: make it again?")

    def _stays(
        self,
        place: Target,
        owned: OwnedAddition,
        addition: Addition,
        why: str,
        fates: dict[Source, Fate],
    ) -> None:
        self.stuck[place] = why
        self._hold(place, f"a part of its usage must stay: {why}")
        if place in self.state.desired:
            return
        off = {f for f in fates.values() if f in STUCK} == {Fate.OFF}
        self.findings.append(
            Finding(
                FindingKind.SYNC_OFF if off else FindingKind.LEFT_ALONE,
                f"addition {addition.id}",
                f"Addition {addition.id} on agreement {owned.agreement_id} stays at "
                f"{number(addition.quantity)}: {why}.",
                "Switch the sync on or map it again to go on, or end the addition in ConnectWise.",
            )
        )

    def _falls_with_ended_usage(self, place: Target, fates: dict[Source, Fate]) -> None:
        """Usage still asks for this place, but not for all that it stood for."""
        change = self.changes.get(place)
        if change is None or change.kind is not ChangeKind.UPDATE:
            return
        ended = [s for s, f in fates.items() if f is Fate.ENDED]
        if ended and self.situation.rules.usage_ended is UsageEnded.HOLD:
            what = list_sources(ended, self._name_of)
            self._hold(place, f"usage ended: {what} is no longer in Sophos' report")
        if (later := self._gap(place, fates)) is not None:
            self._hold(place, f"its seats are billed elsewhere only from {later} on")
        moved = self._moved(fates)
        self.changes[place] = dataclasses.replace(self.changes[place], moved=moved)

    def _gap(self, place: Target, fates: Mapping[Source, Fate]) -> dt.date | None:
        """The day from which moved seats are billed, if that is after they are taken from here.

        A quantity has no date: it counts from the next invoice on.
        """
        invoice = self.situation.agreements[place.agreement_id].next_invoice_date
        taken = max(self.situation.today, invoice or self.situation.today)
        moved = (s for s, f in fates.items() if f is Fate.MOVED)
        latest = max((self._starts(self.target_of[s]) for s in moved), default=taken)
        return latest if latest > taken else None

    def _leave(self, place: Target, departure: Departure) -> None:
        """Nothing asks for this place any more."""
        starts = {
            self._starts(self.target_of[source])
            for source, fate in departure.fates.items()
            if fate is Fate.MOVED
        }
        change = ending(
            departure,
            self.situation,
            starts=starts,
            moved=self._moved(departure.fates),
            price=self._price(place, departure.addition),
            name_of=self._name_of,
        )
        if change is not None:
            self.endings.append((place, change))

    def _moved(self, fates: Mapping[Source, Fate]) -> Decimal:
        return sum((self.quantity_of[s] for s, f in fates.items() if f is Fate.MOVED), Decimal(0))

    def _starts(self, target: Target) -> dt.date:
        """The first day in question that a target bills its usage."""
        first = self.situation.month.first_day
        change = self.changes.get(target)
        if change is not None and change.effective_date is not None:
            return change.effective_date
        there = self.standing.at(target)
        return max([first, *(a.effective_date for a in there if a.effective_date)])

    def _fate(self, place: Target, source: Source) -> Fate:
        return fate_of(
            source,
            place,
            situation=self.situation,
            state=self.state,
            billed_at=self.target_of.get(source),
            unbillable=self.unbillable,
        )

    # --- groups ---------------------------------------------------------------------------------

    def _hold(self, target: Target, why: str) -> None:
        change = self.changes.get(target)
        if change is not None and why not in (change.held or ""):
            held = f"{change.held}; {why}" if change.held else why
            self.changes[target] = dataclasses.replace(change, held=held)

    def _held_by_group(self) -> Iterator[Change]:
        """All changes in a stable order; those of a group with a place that must stay are held."""
        stays: dict[Target, str] = {}
        for place, why in sorted(self.stuck.items(), key=lambda item: target_order(item[0])):
            if (root := self.groups.root(place)) is not None:
                stays.setdefault(root, f"seats would be billed twice: {why}")
        everything = [*self.changes.items(), *self.endings]
        for place, change in sorted(everything, key=_change_order):
            root = self.groups.root(place)
            held = change.held or (stays.get(root) if root else None)
            yield dataclasses.replace(change, group=self.groups.name(place), held=held)

    def _confirmed(self) -> Iterator[tuple[Target, OwnedAddition]]:
        """Ours that are right. What waits in their group keeps what they stood for, too."""
        waiting = {self.groups.root(place) for place in self.stuck}
        waiting |= {self.groups.root(p) for p, c in self.changes.items() if c.held}
        waiting |= {self.groups.root(p) for p, c in self.endings if c.held}
        waiting.discard(None)
        for target in sorted(self.settled, key=target_order):
            owned = self.settled[target]
            if owned is None or self.groups.root(target) in waiting:
                continue
            desired = self.state.desired[target]
            kept = {s for s in owned.sources if self._fate(target, s) in STUCK}
            confirmed = desired.sources | kept
            yield (
                target,
                dataclasses.replace(owned, quantity=desired.quantity, sources=confirmed),
            )

    # --- look-ups -------------------------------------------------------------------------------

    def _item(self, target: Target) -> CatalogItem | None:
        return self.situation.items.get(target.item) if isinstance(target.item, int) else None

    def _price(self, target: Target, addition: Addition | None) -> Decimal | None:
        if addition is not None and addition.unit_price is not None:
            return addition.unit_price
        item = self._item(target)
        return item.price if item else None

    def _name_of(self, tenant_id: str) -> str:
        tenant = self.situation.tenants.get(tenant_id)
        return tenant.tenant_name if tenant else tenant_id


def _change_order(item: tuple[Target, Change]) -> tuple[tuple[int, int, str], int]:
    place, change = item
    return target_order(place), change.addition_id or 0
