"""When an addition is billed first, and last."""

from __future__ import annotations

import datetime as dt

from services.sync.model import Addition, Agreement, Situation
from services.sync.rules import EffectiveDate


def first_billed_day(agreement: Agreement, situation: Situation) -> tuple[dt.date, str | None]:
    """The effective date of a new addition, and a remark when it is not the wished one.

    Never before the agreement's billing start (ConnectWise refuses that), and from the next
    invoice on when the period is invoiced already and not prorated (likewise refused).
    """
    wish_today = situation.rules.effective_date is EffectiveDate.TODAY
    day = situation.today if wish_today else situation.month.first_day
    remark = None
    if agreement.bill_start_date and agreement.bill_start_date > day:
        day = agreement.bill_start_date
        remark = "the agreement is billed from then on"
    next_invoice = agreement.next_invoice_date
    if next_invoice and next_invoice > day and not agreement.prorate:
        day = next_invoice
        remark = "the period before is invoiced already and the agreement does not prorate"
    return day, remark


def last_billed_day(addition: Addition, successor: dt.date) -> tuple[dt.date, bool]:
    """The cancelled date of an addition that ends before `successor` is billed.

    The second value says that it began no earlier and so has no period of its own: its last
    billed day cannot lie before its first, so its quantity must be set to 0 as well.
    """
    last_day = successor - dt.timedelta(days=1)
    begins = addition.effective_date
    if begins is not None and begins > last_day:
        return begins, True
    return last_day, False
