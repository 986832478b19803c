"""The rules for catalog items."""

from __future__ import annotations

from typing import Any

from sandbox.connectwise import bodies
from sandbox.connectwise.additions import field_problems
from sandbox.connectwise.computed import computed_item
from sandbox.connectwise.errors import Problem, invalid_object
from sandbox.connectwise.fields import CATALOG
from sandbox.connectwise.tables import ConnectWiseWorld, Record, Table

RESOURCE = "catalogItem"
DEFAULTS: Record = {
    "inactiveFlag": False,
    "productClass": "NonInventory",
    "serializedFlag": False,
    "price": 0.0,
    "cost": 0.0,
    "taxableFlag": False,
    "recurringFlag": False,
    "priceAttribute": "FixedFee",
}


def create_item(world: ConnectWiseWorld, body: Any, who: str, identifier_max_length: int) -> Record:
    """Store a new item, or refuse it with all that is wrong."""
    record = {**DEFAULTS, **bodies.check_new(body, CATALOG, RESOURCE)}
    if "unitOfMeasure" not in record:
        record["unitOfMeasure"] = {"id": _default_id(world.units)}
    _check(world, None, record, identifier_max_length)
    stored = world.catalog.add(record, who, world.stamp())
    world.catalog.mark_new(stored["id"])
    world.catalog.rows[stored["id"]] = computed_item(world, stored)
    world.identifiers[stored["identifier"].casefold()] = stored["id"]
    return world.catalog.rows[stored["id"]]


def patch_item(
    world: ConnectWiseWorld, number: int, body: Any, who: str, identifier_max_length: int
) -> bool:
    """Change an item; the whole record must be valid afterwards. False: nothing changed."""
    before = world.catalog.rows[number]
    record = bodies.patched(body, before, CATALOG, RESOURCE)
    if "unitOfMeasure" not in record:
        record["unitOfMeasure"] = {"id": _default_id(world.units)}
    if (
        record.get("subcategory") != before["subcategory"]
        and record.get("category") == before["category"]
    ):
        record.pop("category")  # it follows the new sub-category
    _check(world, number, record, identifier_max_length)
    after = computed_item(world, record)
    if after == before:
        return False
    del world.identifiers[before["identifier"].casefold()]
    world.identifiers[after["identifier"].casefold()] = number
    world.catalog.replace(number, after, who, world.stamp())
    return True


def _default_id(table: Table) -> int:
    return next(number for number, row in table.rows.items() if row["defaultFlag"])


def _check(
    world: ConnectWiseWorld, number: int | None, record: Record, identifier_max_length: int
) -> None:
    problems = field_problems(record, CATALOG)
    identifier = record.get("identifier", "")
    if identifier_max_length < len(identifier) <= (CATALOG["identifier"].max_length or 0):
        text = f"identifier must be at most {identifier_max_length} characters long"
        problems.append(Problem("InvalidLength", text, "identifier"))
    if world.identifiers.get(identifier.casefold(), number) != number:
        text = f"The identifier '{identifier}' already exists"
        problems.append(Problem("ObjectExists", text, "identifier"))
    for name in ("price", "cost"):
        if record.get(name, 0.0) < 0:
            problems.append(Problem("OutOfRange", f"{name} must not be negative", name))
    problems += _reference_problems(world, record)
    if problems:
        raise invalid_object(RESOURCE, problems)


def _reference_problems(world: ConnectWiseWorld, record: Record) -> list[Problem]:
    tables = {
        "subcategory": world.subcategories, "type": world.types, "unitOfMeasure": world.units,
    }  # fmt: skip
    problems = []
    for name, table in tables.items():
        if name not in record:
            continue  # said already: it is required
        row = table.rows.get(record[name]["id"])
        if row is None:
            problems.append(Problem("InvalidReference", f"{name} was not found", name))
        elif row["inactiveFlag"]:
            problems.append(Problem("InvalidReference", f"{name} is inactive", name))
    if problems or "category" not in record or "subcategory" not in record:
        return problems
    subcategory = world.subcategories.rows[record["subcategory"]["id"]]
    if subcategory["category"]["id"] != record["category"]["id"]:
        text = "category is not the category of the sub-category"
        problems.append(Problem("InvalidReference", text, "category"))
    return problems
