"""How an addition of ours ends when no usage asks for its place any more."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from services.sync.dates import last_billed_day
from services.sync.explain import NameOf, list_sources
from services.sync.fates import Fate
from services.sync.model import Addition, Change, ChangeKind, OwnedAddition, Situation, Source
from services.sync.rules import UsageEnded
from services.sync.words import number


@dataclass(frozen=True, slots=True)
class Departure:
    """An addition of ours that nothing asks for, as it stands, with what became of its usage."""

    owned: OwnedAddition
    addition: Addition
    fates: Mapping[Source, Fate]

    @property
    def edited(self) -> str | None:
        """The sentence that a person edited it since we wrote it, or None."""
        if self.addition.quantity == self.owned.quantity:
            return None
        return (
            f"edited in ConnectWise: we wrote {number(self.owned.quantity)}, it now says "
            f"{number(self.addition.quantity)}"
        )


def ending(
    departure: Departure,
    situation: Situation,
    *,
    starts: Collection[dt.date],
    moved: Decimal,
    price: Decimal | None,
    name_of: NameOf,
) -> Change | None:
    """The change that ends it; None when nothing is to be written.

    Usage that moved is billed elsewhere from one of the days in `starts`: then it is cancelled on
    the day before. Otherwise the rule for ended usage decides.
    """
    reason = _reason(departure, situation, name_of)
    rule = situation.rules.usage_ended
    if starts:
        ended = any(fate is Fate.ENDED for fate in departure.fates.values())
        held = _why_asked(
            "its usage begins elsewhere on different days" if len(starts) > 1 else None,
            "a part of its usage ended" if ended and rule is UsageEnded.HOLD else None,
        )
        return _cancel(departure, min(starts), reason, held=held, moved=moved, price=price)
    if rule is UsageEnded.CANCEL:
        first_day = situation.month.first_day
        return _cancel(departure, first_day, reason, held=None, moved=moved, price=price)
    if departure.addition.quantity == 0:
        return None
    asked = "usage ended: it is no longer in Sophos' report. Bill 0 from now on?"
    held = departure.edited or (asked if rule is UsageEnded.HOLD else None)
    return _change(ChangeKind.UPDATE, departure, reason, held=held, moved=moved, price=price)


def _cancel(
    departure: Departure,
    successor: dt.date,
    reason: str,
    *,
    held: str | None,
    moved: Decimal,
    price: Decimal | None,
) -> Change | None:
    """End it before `successor`; an end that a person set before is not put off."""
    last_day, no_period = last_billed_day(departure.addition, successor)
    ends = departure.addition.cancelled_date
    if ends is not None and ends <= last_day and not no_period:
        return None
    why = _why_asked(departure.edited, held)
    change = _change(ChangeKind.CANCEL, departure, reason, held=why, moved=moved, price=price)
    return dataclasses.replace(change, cancelled_date=last_day, sets_quantity=no_period)


def _change(
    kind: ChangeKind,
    departure: Departure,
    reason: str,
    *,
    held: str | None,
    moved: Decimal,
    price: Decimal | None,
) -> Change:
    owned, addition = departure.owned, departure.addition
    return Change(
        kind=kind,
        tenant_id=min(owned.sources).tenant_id if owned.sources else None,
        agreement_id=owned.agreement_id,
        item=owned.catalog_item_id,
        before=addition.quantity,
        after=Decimal(0),
        reason=reason,
        addition_id=addition.id,
        held=held,
        moved=moved,
        unit_price=price,
    )


def _reason(departure: Departure, situation: Situation, name_of: NameOf) -> str:
    moved = [s for s, fate in departure.fates.items() if fate is Fate.MOVED]
    if moved:
        return f"{list_sources(moved, name_of)} is now billed elsewhere; this addition ends"
    what = list_sources(departure.fates, name_of)
    return f"Sophos' report for {situation.month} has no usage of {what}"


def _why_asked(*reasons: str | None) -> str | None:
    return "; ".join(reason for reason in reasons if reason) or None
