"""One customer's agreements, in all the states that real ones are found in."""

from __future__ import annotations

from datetime import date
from typing import Any

from sandbox.connectwise.computed import reference
from sandbox.connectwise.tables import ConnectWiseWorld
from sandbox.options import month_of
from sandbox.seeding import roles

SEEDED_AT = "2025-06-12T14:02:00Z"
WHO = "setup"
MONTHLY = {"id": 2, "name": "Monthly"}
NO_CYCLE = {"id": 9, "name": "None"}

Month = tuple[int, int]


def day_text(day: date) -> str:
    """A date as ConnectWise writes it."""
    return f"{day.isoformat()}T00:00:00Z"


def after(month: Month, months: int) -> date:
    """The first day of the month that comes so many months later."""
    return date(*month_of(date(*month, 1), -months), 1)


def seed_agreements(
    world: ConnectWiseWorld, company: dict[str, Any], index: int, newest: Month
) -> list[dict[str, Any]]:
    """The agreements of one customer; the first is the one that is mapped in the sample."""
    role = roles.role(index)
    main = _base(company, index, newest) | _changes(role, newest)
    if role == roles.CANCELLED_AGREEMENT:
        main |= {"cancelledFlag": True, "dateCancelled": day_text(after(newest, -2))}
    if role == roles.CYCLE_NONE:
        main.pop("nextInvoiceDate")
    stored = [world.agreements.add(main, WHO, SEEDED_AT)]
    if role == roles.TWO_AGREEMENTS:
        second = _base(company, index, newest) | {"name": "Backup & Security"}
        stored.append(world.agreements.add(second, WHO, SEEDED_AT))
    if role == roles.CHILD_AGREEMENT:
        parent = {**reference(stored[0], "name"), "type": "Managed Services"}
        child = _base(company, index, newest)
        child |= {"name": "Managed Services - Branch Office", "parentAgreement": parent}
        stored.append(world.agreements.add(child, WHO, SEEDED_AT))
    return stored


def _base(company: dict[str, Any], index: int, newest: Month) -> dict[str, Any]:
    next_invoice = after(newest, 0)
    # The field is plain text: most servers write an instant, some a date.
    text = next_invoice.isoformat() if index % 9 == 4 else day_text(next_invoice)
    return {
        "name": "Managed Services",
        "type": {"id": 1, "name": "Managed Services"},
        "company": reference(company, "identifier", "name"),
        "contact": {"id": company["id"] + 1000, "name": "Accounts Payable"},
        "location": {"id": 2, "name": "Main Office"},
        "department": {"id": 10, "name": "Services"},
        "startDate": "2024-01-01T00:00:00Z",
        "noEndingDateFlag": True,
        "cancelledFlag": False,
        "applicationUnits": "Amount",
        "applicationLimit": 0.0,
        "applicationCycle": "CalendarMonth",
        "applicationUnlimitedFlag": False,
        "oneTimeFlag": False,
        "employeeCompRate": "Hourly",
        "employeeCompNotExceed": "Billing",
        "billingCycle": dict(MONTHLY),
        "invoicingCycle": "CalendarYear",
        "billAmount": 0.0,
        "taxable": True,
        "billStartDate": "2024-01-01T00:00:00Z",
        "prorateFlag": index % 3 == 1,
        "billTime": "NoDefault",
        "billExpenses": "NoDefault",
        "billProducts": "NoDefault",
        "periodType": "Current",
        "nextInvoiceDate": text,
        "agreementStatus": "Active",
    }


def _changes(role: int, newest: Month) -> dict[str, Any]:
    """What makes this customer's agreement unlike the usual one."""
    invoiced = {"nextInvoiceDate": day_text(after(newest, 1))}
    ended = {"endDate": day_text(after(newest, -1)), "noEndingDateFlag": False}
    middle = date(*newest, 15)
    by_role: dict[int, dict[str, Any]] = {
        roles.CANCELLED_AGREEMENT: {"agreementStatus": "Cancelled"},
        roles.EXPIRED_AGREEMENT: {"agreementStatus": "Expired", **ended},
        roles.INACTIVE_AGREEMENT: {"agreementStatus": "Inactive"},
        roles.ENDED_AGREEMENT: ended,
        roles.CYCLE_NONE: {"billingCycle": dict(NO_CYCLE)},
        roles.STARTS_MID_MONTH: {
            "billStartDate": day_text(middle),
            "startDate": day_text(middle),
            "prorateFlag": False,
        },
        roles.INVOICED: {**invoiced, "prorateFlag": False},
        roles.INVOICED_PRORATED: {**invoiced, "prorateFlag": True},
    }
    return by_role.get(role, {})
