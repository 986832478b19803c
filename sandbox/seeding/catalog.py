"""The product catalog, and the setup tables that its items refer to."""

from __future__ import annotations

import random
from typing import Any

from sandbox.connectwise.computed import computed_item, reference
from sandbox.connectwise.tables import ConnectWiseWorld
from sandbox.seeding.names import Product

SETUP = "setup"
SEEDED_AT = "2025-02-03T09:15:00Z"
CATEGORIES = {
    "Security": ("Endpoint Security", "Email Security", "Network Security"),
    "Cloud": ("Productivity", "Hosting"),
    "Backup": ("Server Backup", "Workstation Backup"),
    "Hardware": ("Networking", "Workstations"),
    "Services": ("Managed Services", "Projects"),
    "Legacy": ("Discontinued",),
}
OTHER_VENDORS = (
    ("Microsoft", ("365 Business Basic", "365 Business Premium", "365 E3", "Exchange Plan 1")),
    ("Datto", ("SIRIS Backup", "RMM Agent", "Cloud Continuity")),
    ("Veeam", ("Backup Essentials", "Backup for M365")),
    ("Acronis", ("Cyber Protect Server", "Cyber Protect Workstation")),
    ("Huntress", ("Managed EDR", "Managed ITDR")),
    ("Dell", ("Latitude 5550", "OptiPlex 7020", "PowerEdge T160")),
    ("Ubiquiti", ("U7 Pro Access Point", "Switch Pro 24")),
    ("Adobe", ("Acrobat Pro", "Creative Cloud")),
    ("Example MSP", ("Helpdesk per user", "Server care", "Onboarding fee")),
)
LONG_TEXT = (
    "Endpoint protection for every computer, watched around the clock.\n"
    "Includes: deployment, policy reviews, monthly reports and help with incidents.\n"
) * 20


def seed_tables(world: ConnectWiseWorld) -> None:
    """Categories, sub-categories, types and units, some default, some inactive."""
    for number, (name, children) in enumerate(CATEGORIES.items()):
        inactive = name == "Legacy"
        row = {"name": name, "inactiveFlag": inactive, "defaultFlag": number == 0}
        category = world.categories.add(row, SETUP, SEEDED_AT)
        for position, child in enumerate(children):
            entry = {
                "name": child,
                "inactiveFlag": inactive,
                "defaultFlag": number == 0 and position == 0,
                "category": reference(category, "name"),
            }
            world.subcategories.add(entry, SETUP, SEEDED_AT)
    kinds = (
        ("Non-Inventory", "NonInventoryPart"),
        ("Inventory", "InventoryPart"),
        ("Service", "Service"),
        ("Recurring", "OtherCharge"),
        ("Old type", "OtherCharge"),
    )
    for name, xref in kinds:
        old, default = name == "Old type", name == "Non-Inventory"
        row = {"name": name, "inactiveFlag": old, "typeXref": xref, "defaultFlag": default}
        world.types.add(row, SETUP, SEEDED_AT)
    for name in ("Each", "User", "Device", "Server", "Month", "Box"):
        row = {"name": name, "inactiveFlag": name == "Box", "defaultFlag": name == "Each"}
        world.units.add(row, SETUP, SEEDED_AT)


def seed_catalog(
    world: ConnectWiseWorld, products: tuple[Product, ...], size: int, rng: random.Random
) -> None:
    """Sophos items first, then awkward ones, then other vendors' until the size is reached."""
    for product in products:
        _sophos_item(world, product)
    for changes in _awkward_items():
        _add(world, **changes)
    number = 0
    while len(world.catalog.rows) < size:
        number += 1
        _other_item(world, number, rng)


def _row_named(rows: dict[int, dict[str, Any]], name: str) -> dict[str, Any]:
    return next(row for row in rows.values() if row["name"] == name)


def _add(world: ConnectWiseWorld, identifier: str, description: str, **changes: Any) -> None:
    subcategory = _row_named(
        world.subcategories.rows, changes.pop("subcategory", "Endpoint Security")
    )
    kind = _row_named(world.types.rows, changes.pop("type", "Recurring"))
    unit = _row_named(world.units.rows, changes.pop("unit", "Each"))
    record = {
        "identifier": identifier,
        "description": description,
        "inactiveFlag": False,
        "subcategory": {"id": subcategory["id"]},
        "type": {"id": kind["id"]},
        "productClass": "NonInventory",
        "serializedFlag": False,
        "unitOfMeasure": {"id": unit["id"]},
        "price": 0.0,
        "cost": 0.0,
        "taxableFlag": True,
        "customerDescription": description,
        "recurringFlag": True,
        "priceAttribute": "FixedFee",
        **changes,
    }
    stored = world.catalog.add(record, "setup", SEEDED_AT)
    world.catalog.rows[stored["id"]] = computed_item(world, stored)
    world.identifiers[identifier.casefold()] = stored["id"]


def _sophos_item(world: ConnectWiseWorld, product: Product) -> None:
    cost = float(product.price)
    mail = product.code.startswith("CEMA") or product.code.startswith("CPHISH")
    network = product.code.startswith("NDR")
    _add(
        world,
        product.identifier,
        f"Sophos {product.name.removesuffix(' - MSP').removeprefix('Central ')}"[:60].rstrip(),
        subcategory="Email Security"
        if mail
        else "Network Security"
        if network
        else "Endpoint Security",
        unit=product.group,
        price=round(cost * 1.6, 2),
        cost=round(cost, 2),
        productClass="Service" if network else "NonInventory",
    )


def _awkward_items() -> tuple[dict[str, Any], ...]:
    return (
        {
            "identifier": "Sophos_Intercept_X_Advanced_XDR_old",
            "description": "Sophos Intercept X Advanced with XDR (old price list)",
            "inactiveFlag": True,
        },
        {
            "identifier": "Sophos_Security_Bundle",
            "description": "Sophos Security Bundle",
            "productClass": "Bundle",
            "price": 19.0,
        },
        {"identifier": "SOPHOS-XDR-PROMO", "description": "Sophos Intercept X Advanced XDR promo"},
        {
            "identifier": "Intercept X Advanced with XDR",
            "price": 5.5,
            "description": "Intercept X Advanced with XDR (hand made)",
        },
        {
            "identifier": "MDR Complete & Support",
            "productClass": "Agreement",
            "price": 21.0,
            "description": "Our Security Package with MDR Complete and 24/7 Support desk",
        },
        {
            "identifier": "Managed-Endpoint",
            "description": "Managed endpoint protection",
            "customerDescription": LONG_TEXT.strip(),
            "price": 6.0,
        },
        {"identifier": 'Café "Gold" seat', "description": "Café & Bar 'Gold' seat <b>plan</b>"},
        {"identifier": "=1+1", "description": '=HYPERLINK("http://x")'},
        {"identifier": "100%_Cloud", "description": "100% cloud_storage *special*"},
        # Its sub-category has been retired since: every change of the item is refused.
        {
            "identifier": "Sophos_Web_Gateway",
            "description": "Sophos Web Gateway (legacy)",
            "subcategory": "Discontinued",
        },
        {
            "identifier": "Sophos_XGS_116",
            "description": "Sophos XGS 116 Xstream Protection",
            "subcategory": "Network Security",
            "unit": "Device",
            "price": 98.0,
            "cost": 61.0,
        },
        {
            "identifier": "Sophos_SFOS_Virtual",
            "description": "Sophos Firewall Virtual 4C6",
            "subcategory": "Network Security",
            "unit": "Device",
            "price": 125.0,
            "cost": 78.25,
        },
    )


def _other_item(world: ConnectWiseWorld, number: int, rng: random.Random) -> None:
    vendor, things = OTHER_VENDORS[number % len(OTHER_VENDORS)]
    thing = things[number // len(OTHER_VENDORS) % len(things)]
    round_number = number // 40
    suffix = f" v{round_number}" if round_number else ""
    cost = round(rng.uniform(1, 90), 2)
    subcategories = ("Productivity", "Server Backup", "Workstations", "Managed Services")
    _add(
        world,
        f"{vendor[:3].upper()}-{number:05}",
        f"{vendor} {thing}{suffix}",
        subcategory=subcategories[number % 4],
        price=round(cost * 1.35, 2),
        cost=cost,
        inactiveFlag=number % 17 == 0,
        productClass=("NonInventory", "Inventory", "Service", "Agreement")[number % 4],
    )
