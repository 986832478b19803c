"""What the server works out by itself."""

from __future__ import annotations

from typing import Any

from sandbox.connectwise.tables import ConnectWiseWorld


def reference(record: dict[str, Any], *names: str) -> dict[str, Any]:
    """A short form of a record, as other records show it."""
    return {"id": record["id"], **{name: record[name] for name in names}}


def computed_addition(
    world: ConnectWiseWorld, agreement: dict[str, Any], record: dict[str, Any]
) -> dict[str, Any]:
    """The addition with its product's short form and all computed fields."""
    item = world.catalog.rows[record["product"]["id"]]
    billed = max(0.0, (record.get("quantity") or 0.0) - (record.get("lessIncluded") or 0.0))
    price = round(billed * (record.get("unitPrice") or 0.0), 2)
    cost = round(billed * (record.get("unitCost") or 0.0), 2)
    return {
        **record,
        "product": reference(item, "identifier", "serializedFlag"),
        "agreementId": agreement["id"],
        "billedQuantity": billed,
        "uom": item["unitOfMeasure"]["name"],
        "extPrice": price,
        "extCost": cost,
        "margin": round(price - cost, 2),
        "agreementStatus": agreement["agreementStatus"],
    }


def computed_item(world: ConnectWiseWorld, record: dict[str, Any]) -> dict[str, Any]:
    """The catalog item with the names of what it refers to and all computed fields."""
    subcategory = world.subcategories.rows[record["subcategory"]["id"]]
    kind = world.types.rows[record["type"]["id"]]
    unit = world.units.rows[record["unitOfMeasure"]["id"]]
    return {
        **record,
        "category": dict(subcategory["category"]),
        "subcategory": reference(subcategory, "name"),
        "type": reference(kind, "name"),
        "unitOfMeasure": reference(unit, "name"),
        "calculatedPrice": record.get("price") or 0.0,
        "calculatedCost": record.get("cost") or 0.0,
    }
