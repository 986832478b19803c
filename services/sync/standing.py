"""What stands in ConnectWise, arranged for comparing: open additions by place, ours by usage."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from decimal import Decimal

from services.sync.model import Addition, OwnedAddition, Situation, Source, Target


class IncompleteSituationError(ValueError):
    """An agreement that the plan needs was not read. Nothing may be planned from a part."""


class Standing:
    """Look-ups over the additions that were read, and over those that are ours."""

    def __init__(self, situation: Situation) -> None:
        self._situation = situation
        self._ended = {o.addition_id: o for o in situation.owned if o.ended_by_us}
        self.ours = {o.addition_id: o for o in situation.owned if not o.ended_by_us}
        self._open: defaultdict[Target, list[Addition]] = defaultdict(list)
        self._closed: defaultdict[Target, list[Addition]] = defaultdict(list)
        self._by_id: dict[int, Addition] = {}
        for addition in sorted(
            (a for additions in situation.additions.values() for a in additions),
            key=lambda a: a.id,
        ):
            place = Target(addition.agreement_id, addition.catalog_item_id)
            (self._open if self._counts_as_open(addition) else self._closed)[place].append(addition)
            self._by_id[addition.id] = addition
        self._owned_by_source: defaultdict[Source, list[OwnedAddition]] = defaultdict(list)
        for owned in situation.owned:
            for source in owned.sources:
                self._owned_by_source[source].append(owned)

    def at(self, place: Target) -> list[Addition]:
        """The open additions at a place, by id. Raises IncompleteSituationError."""
        if place.agreement_id not in self._situation.additions:
            raise IncompleteSituationError(
                f"the additions of agreement {place.agreement_id} were not read"
            )
        return self._open.get(place, [])

    def closed_at(self, place: Target) -> list[Addition]:
        """The additions at a place that ended, or that we ended."""
        return self._closed.get(place, [])

    def closed_for(self, sources: Iterable[Source]) -> Iterator[Addition | OwnedAddition]:
        """What stood for this usage and ended: as it stands now, or as we left it if not read."""
        for owned in (each for source in sources for each in self._owned_by_source[source]):
            addition = self._by_id.get(owned.addition_id)
            if addition is None and owned.agreement_id not in self._situation.additions:
                yield owned
            elif addition is not None and not self._counts_as_open(addition):
                yield addition

    def of(self, owned: OwnedAddition) -> Addition | None:
        """Our addition as it stands open now, whatever its product; None when it is gone.

        Raises IncompleteSituationError when its agreement exists, but was not read.
        """
        known = owned.agreement_id in self._situation.agreements
        if known and owned.agreement_id not in self._situation.additions:
            raise IncompleteSituationError(
                f"the additions of agreement {owned.agreement_id} were not read"
            )
        found = self._by_id.get(owned.addition_id)
        return found if found is not None and self._counts_as_open(found) else None

    def _counts_as_open(self, addition: Addition) -> bool:
        """One that we ended no longer counts, though its last billed day is still to come."""
        if addition.cancelled_date is None:
            return True
        return addition.is_open(self._situation.today) and addition.id not in self._ended


def bills(addition: Addition) -> bool:
    """Whether an addition costs anything while it runs."""
    return addition.quantity != Decimal(0)
