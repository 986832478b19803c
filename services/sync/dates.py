"""When an addition is billed first, and last."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from services.sync.model import Addition, Agreement, OwnedAddition, Situation
from services.sync.rules import EffectiveDate
from services.sync.standing import bills

_ONE_DAY = dt.timedelta(days=1)


def first_billed_day(
    agreement: Agreement,
    situation: Situation,
    *,
    before_it: Iterable[Addition | OwnedAddition] = (),
    left: Iterable[Agreement] = (),
) -> tuple[dt.date, str | None]:
    """The effective date of a new addition, and a remark when it is not the wished one.

    Never before the agreement's billing start (ConnectWise refuses that), and from the next
    invoice on when the period is invoiced already and not prorated (likewise refused). No day is
    billed twice: it begins after what stood `before_it` has ended, and not within a period that
    an agreement which its usage `left` has invoiced already.
    """
    wish_today = situation.rules.effective_date is EffectiveDate.TODAY
    wished = situation.today if wish_today else situation.month.first_day
    later: list[tuple[dt.date | None, str]] = [
        (agreement.bill_start_date, "the agreement is billed from then on"),
        (
            None if agreement.prorate else agreement.next_invoice_date,
            "the period before is invoiced already and the agreement does not prorate",
        ),
        *((_day_after(each), "until then an older line bills it") for each in before_it),
        *((a.next_invoice_date, "until then it is invoiced already") for a in left),
        *((_day_after_end(a, situation), "until then another agreement bills it") for a in left),
    ]
    day, remark = max(
        ((d, why) for d, why in later if d is not None), default=(wished, ""), key=lambda x: x[0]
    )
    return (day, remark) if day > wished else (wished, None)


def last_billed_day(addition: Addition, successor: dt.date) -> tuple[dt.date, bool]:
    """The cancelled date of an addition that ends before `successor` is billed.

    The second value says that it began no earlier and so has no period of its own: its last
    billed day cannot lie before its first, so its quantity must be set to 0 as well.
    """
    last_day = successor - _ONE_DAY
    begins = addition.effective_date
    if begins is not None and begins > last_day:
        return begins, True
    return last_day, False


def why_not_join(
    addition: Addition, situation: Situation, before_it: Iterable[Addition | OwnedAddition]
) -> str | None:
    """Why seats should not simply be added to a line: its number has no first day, nor a last.

    What stood `before_it` must not bill them in this month, and the line must go on.
    """
    if addition.cancelled_date is not None:
        return f"this line ends on {addition.cancelled_date}, and seats come to it"
    free = max((day for line in before_it if (day := _day_after(line))), default=None)
    if free is None or free <= situation.month.first_day:
        return None
    return f"until {free} an older line bills a part of it"


def _day_after(line: Addition | OwnedAddition) -> dt.date | None:
    """The first day that a line which ended does not bill; None if it bills nothing."""
    if isinstance(line, OwnedAddition):
        return line.last_billed_day and line.last_billed_day + _ONE_DAY
    if line.cancelled_date is None or not bills(line):
        return None
    return line.cancelled_date + _ONE_DAY


def _day_after_end(agreement: Agreement, situation: Situation) -> dt.date | None:
    """The first day after an agreement that is over."""
    ends = None if agreement.no_ending_date else agreement.end_date
    return ends + _ONE_DAY if ends is not None and ends < situation.today else None
