"""The rules for agreement additions."""

from __future__ import annotations

from typing import Any

from sandbox.connectwise import bodies
from sandbox.connectwise.computed import computed_addition
from sandbox.connectwise.errors import Problem, invalid_object
from sandbox.connectwise.fields import ADDITION, Field
from sandbox.connectwise.tables import ConnectWiseWorld, Record

RESOURCE = "addition"
BEFORE_BILLING_START = "effectiveDate cannot be less than the agreement billing start date"
ALREADY_INVOICED = (
    "Since this period has already been invoiced there will not be an invoice generated for "
    "additional products for this period. Please prorate the agreement or update the start "
    "date to on or after the Next Invoice Date."
)


def create_addition(world: ConnectWiseWorld, agreement: Record, body: Any, who: str) -> Record:
    """Store a new addition, or refuse it with all that is wrong."""
    record = bodies.check_new(body, ADDITION, RESOURCE)
    problems = _problems(world, agreement, record)
    problems += _invoiced_problems(agreement, record.get("effectiveDate", world.stamp()))
    if problems:
        raise invalid_object(RESOURCE, problems)
    table = world.additions_of(agreement["id"])
    stored = table.add(_with_defaults(world, record), who, world.stamp())
    table.mark_new(stored["id"])
    table.rows[stored["id"]] = computed_addition(world, agreement, stored)
    return table.rows[stored["id"]]


def patch_addition(
    world: ConnectWiseWorld, agreement: Record, number: int, body: Any, who: str
) -> bool:
    """Change an addition; the whole record must be valid afterwards. False: nothing changed."""
    table = world.additions_of(agreement["id"])
    before = table.rows[number]
    record = bodies.patched(body, before, ADDITION, RESOURCE)
    problems = _problems(world, agreement, record)
    if record.get("effectiveDate") != before.get("effectiveDate"):
        problems += _invoiced_problems(agreement, record.get("effectiveDate", ""))
    if problems:
        raise invalid_object(RESOURCE, problems)
    after = computed_addition(world, agreement, record)
    if after == before:
        return False
    table.replace(number, after, who, world.stamp())
    return True


def _with_defaults(world: ConnectWiseWorld, record: Record) -> Record:
    """What the server fills in from the product when the client does not say it."""
    item = world.catalog.rows[record["product"]["id"]]
    return {
        "product": record["product"],
        "quantity": 1.0,
        "lessIncluded": 0.0,
        "unitPrice": item.get("price", 0.0),
        "unitCost": item.get("cost", 0.0),
        "effectiveDate": world.stamp()[:10] + "T00:00:00Z",
        "taxableFlag": item.get("taxableFlag", False),
        "invoiceDescription": item["customerDescription"],
        "purchaseItemFlag": False,
        "specialOrderFlag": False,
        "description": item["description"],
        **record,
    }


def field_problems(record: Record, fields: dict[str, Field]) -> list[Problem]:
    """Missing, too long and unknown values."""
    problems = []
    for name, field in fields.items():
        value = record.get(name)
        if field.required and (value is None or value == ""):
            problems.append(Problem("MissingRequiredField", f"{name} is required", name))
        elif field.max_length and isinstance(value, str) and len(value) > field.max_length:
            text = f"{name} must be at most {field.max_length} characters long"
            problems.append(Problem("InvalidLength", text, name))
        elif field.choices and value is not None and value not in field.choices:
            problems.append(Problem("OutOfRange", f"{name} has no choice '{value}'", name))
    return problems


def _problems(world: ConnectWiseWorld, agreement: Record, record: Record) -> list[Problem]:
    """All that is wrong with a record as it would be stored."""
    problems = field_problems(record, ADDITION)
    problems += _product_problems(world, record)
    if agreement["agreementStatus"] != "Active" or agreement.get("cancelledFlag"):
        text = f"The agreement is {agreement['agreementStatus']}: its additions cannot be changed"
        problems.append(Problem("InvalidAgreementStatus", text, "agreementId"))
    for name in ("quantity", "lessIncluded"):
        if record.get(name, 0.0) < 0:
            problems.append(Problem("OutOfRange", f"{name} must not be negative", name))
    return problems + _date_problems(agreement, record)


def _product_problems(world: ConnectWiseWorld, record: Record) -> list[Problem]:
    if "product" not in record:
        return []  # said already: it is required
    item = world.catalog.rows.get(record["product"]["id"])
    if item is None:
        return [Problem("InvalidReference", "product was not found", "product")]
    if item["productClass"] == "Bundle":
        text = "A product of class Bundle cannot be an agreement addition"
        return [Problem("InvalidProductClass", text, "product")]
    return []


def _date_problems(agreement: Record, record: Record) -> list[Problem]:
    effective, cancelled = record.get("effectiveDate", ""), record.get("cancelledDate", "")
    problems = []
    if effective and effective[:10] < agreement.get("billStartDate", "")[:10]:
        problems.append(Problem("OutOfRange", BEFORE_BILLING_START, "effectiveDate"))
    if cancelled and effective and cancelled[:10] < effective[:10]:
        text = "cancelledDate cannot be before effectiveDate"
        problems.append(Problem("OutOfRange", text, "cancelledDate"))
    return problems


def _invoiced_problems(agreement: Record, effective: str) -> list[Problem]:
    """A new start within a period that has its invoice, where nothing is prorated."""
    next_invoice = agreement.get("nextInvoiceDate", "")[:10]
    if agreement.get("prorateFlag") or not next_invoice or effective[:10] >= next_invoice:
        return []
    return [Problem("InvalidDate", ALREADY_INVOICED, "effectiveDate")]
