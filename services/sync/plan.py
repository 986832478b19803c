"""Desired compared with actual: the changes to make, each explained.

`compute_plan` decides what would have to be written. Whether a person must approve it first is
decided here where ownership is in question, and in `guard` where the size of the change is.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import Enum

from services.sync.dates import first_billed_day, last_billed_day
from services.sync.desired import DesiredState
from services.sync.explain import explain_quantity, list_sources
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
from services.sync.words import number


class IncompleteSituationError(ValueError):
    """An agreement that the plan needs was not read. Nothing may be planned from a part."""


class Fate(Enum):
    """What became of the usage that an addition of ours stood for."""

    HERE = "still billed here"
    MOVED = "moved to a place that cannot be billed now"
    ENDED = "no longer in Sophos' report"
    OFF = "switched off"
    UNMAPPED = "no longer mapped"
    BLOCKED = "not to be written for now"


def compute_plan(situation: Situation, state: DesiredState) -> Plan:
    """Compare the desired additions with the actual ones.

    Deterministic, and independent of the order of its inputs. Raises IncompleteSituationError
    when the additions of an agreement that is asked for were not read.
    """
    return _Comparison(situation, state).plan()


_STUCK = frozenset({Fate.OFF, Fate.UNMAPPED, Fate.BLOCKED})


def _describe(fates: Iterable[Fate]) -> str:
    return " or ".join(sorted({fate.value for fate in fates}))


def _open_additions(situation: Situation) -> dict[Target, list[Addition]]:
    """The open additions at each target, without those that we cancelled ourselves."""
    ended = {o.addition_id for o in situation.owned if o.ended_by_us}
    found: defaultdict[Target, list[Addition]] = defaultdict(list)
    for additions in situation.additions.values():
        for a in additions:
            if a.cancelled_date is None or (a.is_open(situation.today) and a.id not in ended):
                found[Target(a.agreement_id, a.catalog_item_id)].append(a)
    return found


class _Comparison:
    """One comparison: look-ups made once, then every target and every addition of ours in turn."""

    def __init__(self, situation: Situation, state: DesiredState) -> None:
        self.situation = situation
        self.state = state
        self.owned = {o.addition_id: o for o in situation.owned if not o.ended_by_us}
        self.owned_at: defaultdict[Target, list[OwnedAddition]] = defaultdict(list)
        for owned in self.owned.values():
            self.owned_at[Target(owned.agreement_id, owned.catalog_item_id)].append(owned)
        self.target_of = {
            source: target for target, d in state.desired.items() for source in d.sources
        }
        self.open_at = _open_additions(situation)
        self.groups = Groups()
        self.changes: dict[Target, Change] = {}
        self.settled: set[Target] = set()
        self.confirmed: list[OwnedAddition] = []
        self.findings: list[Finding] = list(state.findings)

    def plan(self) -> Plan:
        for target in sorted(self.state.desired, key=target_order):
            self._compare(self.state.desired[target])
        for owned in sorted(self.owned.values(), key=lambda o: o.addition_id):
            target = Target(owned.agreement_id, owned.catalog_item_id)
            if target in self.state.desired:
                self._reconsider(target, owned)
            else:
                self._no_longer_desired(target, owned)
        changes = [*self.state.products, *self._grouped_changes()]
        return Plan(tuple(changes), tuple(sorted(set(self.findings))), tuple(self.confirmed))

    # --- a target that usage asks for -----------------------------------------------------------

    def _compare(self, desired: Desired) -> None:
        target = desired.target
        if target.agreement_id not in self.situation.additions:
            raise IncompleteSituationError(
                f"the additions of agreement {target.agreement_id} were not read"
            )
        standing = self.open_at.get(target, [])
        if len(standing) > 1:
            self.findings.append(self._ambiguous(desired, standing))
        elif not standing:
            self._compare_with_nothing(desired)
        elif standing[0].id in self.owned:
            self._compare_with_ours(desired, standing[0], self.owned[standing[0].id])
        elif desired.quantity > 0:
            self.changes[target] = self._adopt(desired, standing[0])

    def _compare_with_nothing(self, desired: Desired) -> None:
        item = self._item(desired.target)
        if desired.quantity == 0:
            self.settled.add(desired.target)
        elif item is None or not item.inactive:
            self.changes[desired.target] = self._create(desired)

    def _compare_with_ours(
        self, desired: Desired, addition: Addition, owned: OwnedAddition
    ) -> None:
        if addition.quantity == desired.quantity:
            self.settled.add(desired.target)
            if (owned.quantity, owned.sources) != (addition.quantity, desired.sources):
                owned = dataclasses.replace(
                    owned, quantity=addition.quantity, sources=desired.sources
                )
            self.confirmed.append(owned)
            return
        edited = addition.quantity != owned.quantity
        held = (
            f"edited in ConnectWise: we wrote {number(owned.quantity)}, it now says "
            f"{number(addition.quantity)}, usage asks for {number(desired.quantity)}"
        )
        self.changes[desired.target] = self._change(
            ChangeKind.UPDATE, desired, addition, held=held if edited else None
        )

    def _create(self, desired: Desired) -> Change:
        agreement = self.situation.agreements[desired.target.agreement_id]
        day, remark = first_billed_day(agreement, self.situation)
        reason = f"{explain_quantity(desired.records, self._name_of)}; billed from {day}"
        gone = self.owned_at.get(desired.target)
        return Change(
            kind=ChangeKind.CREATE,
            tenant_id=desired.records[0].tenant_id,
            agreement_id=desired.target.agreement_id,
            item=desired.target.item,
            before=None,
            after=desired.quantity,
            reason=f"{reason} ({remark})" if remark else reason,
            effective_date=day,
            held="it was removed in ConnectWise: make it again?" if gone else None,
            sources=desired.sources,
            records=desired.records,
            unit_price=self._price(desired.target, None),
        )

    def _adopt(self, desired: Desired, addition: Addition) -> Change:
        return self._change(
            ChangeKind.ADOPT,
            desired,
            addition,
            held="not made by us; approve once to let us keep it right",
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

    def _ambiguous(self, desired: Desired, standing: Sequence[Addition]) -> Finding:
        item = self._item(desired.target)
        ids = ", ".join(str(a.id) for a in sorted(standing, key=lambda a: a.id))
        return Finding(
            FindingKind.AMBIGUOUS_ADDITION,
            desired.records[0].tenant_id,
            f"{self._name_of(desired.records[0].tenant_id)}: agreement "
            f"{desired.target.agreement_id} has {len(standing)} open additions of "
            f"{item.identifier if item else desired.target.item} ({ids}); usage asks for "
            f"{number(desired.quantity)}, and none of them was touched.",
            "Cancel all but one of them in ConnectWise; the next run then goes on.",
        )

    # --- an addition of ours --------------------------------------------------------------------

    def _reconsider(self, target: Target, owned: OwnedAddition) -> None:
        """Usage still asks for its place; but does it for all the usage that it stood for?"""
        change = self.changes.get(target)
        if change is None or change.kind is not ChangeKind.UPDATE:
            return
        fates = self._fates(target, owned)
        stuck = sorted(s for s, f in fates.items() if f in _STUCK or self._moved_nowhere(s, f))
        if stuck:
            self._hold(target, f"it also stands for {list_sources(stuck, self._name_of)}, which "
                       f"is {_describe(fates[s] for s in stuck)}")  # fmt: skip
        elif Fate.ENDED in fates.values() and self.situation.rules.usage_ended is UsageEnded.HOLD:
            ended = sorted(s for s, f in fates.items() if f is Fate.ENDED)
            self._hold(target, f"usage ended: {list_sources(ended, self._name_of)} is no longer in "
                       "Sophos' report")  # fmt: skip
        self._join_moved(target, fates)

    def _no_longer_desired(self, target: Target, owned: OwnedAddition) -> None:
        addition = self._standing(owned)
        if addition is None:
            return
        fates = self._fates(target, owned)
        if any(f in _STUCK or self._moved_nowhere(s, f) for s, f in fates.items()):
            self.findings.append(self._left_alone(owned, addition, fates))
            return
        agreement = self.situation.agreements.get(owned.agreement_id)
        why = agreement.why_not_writable(self.situation.today) if agreement else "it is gone"
        if why:
            self.findings.append(self._unwritable(owned, addition, why))
        elif Fate.MOVED in fates.values():
            self.changes[target] = self._cancel(
                owned, addition, self._day_of_move(fates), held=None
            )
            self._join_moved(target, fates)
        else:
            self._usage_ended(target, owned, addition)

    def _usage_ended(self, target: Target, owned: OwnedAddition, addition: Addition) -> None:
        rule = self.situation.rules.usage_ended
        if rule is UsageEnded.CANCEL:
            self.changes[target] = self._cancel(
                owned, addition, self.situation.month.first_day, held=None
            )
        elif addition.quantity != 0:
            held = "usage ended: it is no longer in Sophos' report. Bill 0 from now on?"
            self.changes[target] = self._ended_change(
                ChangeKind.UPDATE,
                owned,
                addition,
                held=held if rule is UsageEnded.HOLD else None,
            )

    def _cancel(
        self, owned: OwnedAddition, addition: Addition, successor: dt.date, *, held: str | None
    ) -> Change:
        """End it on the day before `successor` is billed."""
        cancelled_date, no_period = last_billed_day(addition, successor)
        return dataclasses.replace(
            self._ended_change(ChangeKind.CANCEL, owned, addition, held=held),
            cancelled_date=cancelled_date,
            sets_quantity=no_period,
        )

    def _ended_change(
        self, kind: ChangeKind, owned: OwnedAddition, addition: Addition, *, held: str | None
    ) -> Change:
        target = Target(owned.agreement_id, owned.catalog_item_id)
        edited = addition.quantity != owned.quantity
        moved = [s for s in sorted(owned.sources) if s in self.target_of]
        what = list_sources(sorted(owned.sources), self._name_of)
        reason = (
            f"{list_sources(moved, self._name_of)} is now billed elsewhere; this addition ends"
            if moved
            else f"Sophos' report for {self.situation.month} has no usage of {what}"
        )
        return Change(
            kind=kind,
            tenant_id=min(owned.sources).tenant_id if owned.sources else None,
            agreement_id=owned.agreement_id,
            item=owned.catalog_item_id,
            before=addition.quantity,
            after=Decimal(0),
            reason=reason,
            addition_id=addition.id,
            held=f"edited in ConnectWise: we wrote {number(owned.quantity)}, it now says "
            f"{number(addition.quantity)}"
            if edited
            else held,
            sources=frozenset(),
            unit_price=self._price(target, addition),
        )

    def _day_of_move(self, fates: Mapping[Source, Fate]) -> dt.date:
        """The first day that the new place bills the moved usage."""
        days = [
            change.effective_date
            for source, fate in fates.items()
            if fate is Fate.MOVED and (change := self.changes.get(self.target_of[source]))
            if change.effective_date
        ]
        return min(days, default=self.situation.month.first_day)

    # --- what became of usage -------------------------------------------------------------------

    def _fates(self, target: Target, owned: OwnedAddition) -> dict[Source, Fate]:
        return {source: self._fate(target, source) for source in owned.sources}

    def _fate(self, target: Target, source: Source) -> Fate:
        if source in self.target_of:
            return Fate.HERE if self.target_of[source] == target else Fate.MOVED
        tenant = self.situation.tenants.get(source.tenant_id)
        product = self.situation.products.get(source.product_key)
        if tenant is None or tenant.agreement_for(source.product_key) is None:
            return Fate.UNMAPPED
        if product is None or not product.sync or not tenant.sync:
            return Fate.OFF
        if source in self.state.blocked:
            return Fate.BLOCKED
        return Fate.ENDED if product.catalog_item_id is not None else Fate.UNMAPPED

    def _moved_nowhere(self, source: Source, fate: Fate) -> bool:
        """Moved to a place that cannot be billed now: taking it away here would bill it nowhere."""
        if fate is not Fate.MOVED:
            return False
        target = self.target_of[source]
        return target not in self.changes and target not in self.settled

    def _standing(self, owned: OwnedAddition) -> Addition | None:
        target = Target(owned.agreement_id, owned.catalog_item_id)
        return next((a for a in self.open_at.get(target, []) if a.id == owned.addition_id), None)

    def _left_alone(
        self, owned: OwnedAddition, addition: Addition, fates: Mapping[Source, Fate]
    ) -> Finding:
        stuck = sorted(s for s, f in fates.items() if f in _STUCK or self._moved_nowhere(s, f))
        off = all(fates[s] is Fate.OFF for s in stuck)
        return Finding(
            FindingKind.SYNC_OFF if off else FindingKind.LEFT_ALONE,
            f"addition {addition.id}",
            f"Addition {addition.id} on agreement {owned.agreement_id} stays at "
            f"{number(addition.quantity)}: {list_sources(stuck, self._name_of)} is "
            f"{_describe(fates[s] for s in stuck)}.",
            "Switch the sync on or map it again to go on, or end the addition in ConnectWise.",
        )

    def _unwritable(self, owned: OwnedAddition, addition: Addition, why: str) -> Finding:
        return Finding(
            FindingKind.AGREEMENT_UNUSABLE,
            f"addition {addition.id}",
            f"Addition {addition.id} on agreement {owned.agreement_id} stays at "
            f"{number(addition.quantity)}: {why}.",
            "End the addition in ConnectWise if it should not be billed any more.",
        )

    # --- groups ---------------------------------------------------------------------------------

    def _join_moved(self, target: Target, fates: Mapping[Source, Fate]) -> None:
        for source, fate in fates.items():
            if fate is Fate.MOVED:
                self.groups.join(target, self.target_of[source])

    def _hold(self, target: Target, why: str) -> None:
        change = self.changes[target]
        held = f"{change.held}; {why}" if change.held else why
        self.changes[target] = dataclasses.replace(change, held=held)

    def _grouped_changes(self) -> Iterator[Change]:
        for target in sorted(self.changes, key=target_order):
            change = self.changes[target]
            root = self.groups.root(target)
            if root is None:
                yield change
            else:
                yield dataclasses.replace(change, group=f"{root.agreement_id}/{root.item}")

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
