"""The companies of the same provider, their agreements and what is billed by hand so far."""

from __future__ import annotations

import random
import re
import unicodedata
from typing import Any

from sandbox.connectwise.computed import computed_addition
from sandbox.connectwise.tables import ConnectWiseWorld, Record
from sandbox.options import Options, clock_for, month_of
from sandbox.seeding import roles
from sandbox.seeding.agreements import SEEDED_AT, WHO, after, day_text, seed_agreements
from sandbox.seeding.catalog import seed_catalog, seed_tables
from sandbox.seeding.sophos import SophosWorld, new_id

OTHER_COMPANIES = (
    ("ExampleMSP", "Example Managed Services (internal)"),
    ("CatchAll", "Catchall"),
    ("SophosInc", "Sophos Ltd"),
    ("Prospect1", "Silverline Bank"),
    ("Prospect2", "Alder Dental"),
    ("Vendor1", "Contoso Distribution"),
    ("Former1", "Beacon Pharmacies (former)"),
    ("Former2", "Old Mill Tea Rooms"),
)


def seed_connectwise(options: Options, sophos: SophosWorld) -> tuple[ConnectWiseWorld, list[int]]:
    """The ConnectWise side, and each tenant's main agreement in the order of the tenants."""
    rng = random.Random(f"connectwise-{options.seed}")
    world = ConnectWiseWorld(
        company_id="examplemsp",
        public_key="".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz", k=16)),
        private_key="".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnpqrstuvwxyz", k=16)),
        client_id=new_id(rng),
        now=clock_for(options.today),
    )
    seed_tables(world)
    seed_catalog(world, sophos.products, options.catalog, rng)
    hand = _HandMade(world, options, sophos, rng)
    main_agreements = []
    for index, tenant in enumerate(sophos.tenants):
        company = _company(world, index, tenant["name"])
        agreements = seed_agreements(world, company, index, options.newest_month())
        main_agreements.append(agreements[0]["id"])
        for agreement in agreements:
            hand.others(agreement)
        hand.sophos_items(agreements[0], index, tenant["id"])
    _other_companies(world)
    return world, main_agreements


def _identifier(index: int, name: str) -> str:
    """A short ASCII key, as people make them."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return f"{re.sub(r'[^A-Za-z0-9]', '', plain)[:20]}{index:03}"


def _name_in_psa(index: int, name: str) -> str:
    """Usually the same name; sometimes what another person would have typed."""
    short = name if len(name) <= 100 else name[:97] + "..."
    return {1: f"{short} Ltd", 4: short.upper(), 7: short.replace(" ", ", ", 1)}.get(
        index % 10, short
    )


def _company(world: ConnectWiseWorld, index: int, name: str) -> Record:
    record = _company_record(_identifier(index, name), _name_in_psa(index, name), index)
    stored = world.companies.add(record, WHO, SEEDED_AT)
    if roles.role(index) == roles.RECYCLED_DUPLICATE:
        gone = record | {"identifier": record["identifier"] + "X", "deletedFlag": True}
        gone |= {"dateDeleted": "2025-01-20T10:00:00Z", "deletedBy": "jdoe"}
        world.companies.add(gone, WHO, SEEDED_AT)
    return stored


def _company_record(identifier: str, name: str, index: int) -> Record:
    return {
        "identifier": identifier,
        "name": name,
        "status": {"id": 1, "name": "Active"},
        "addressLine1": f"{index + 1} High Street",
        "city": "Springfield",
        "zip": f"{10000 + index}",
        "phoneNumber": f"555010{index % 100:02}",
        "dateAcquired": "2024-01-01T00:00:00Z",
        "deletedFlag": False,
        "leadFlag": False,
        "types": [{"id": 1, "name": "Client"}],
    }


def _other_companies(world: ConnectWiseWorld) -> None:
    for index, (identifier, name) in enumerate(OTHER_COMPANIES):
        record = _company_record(identifier, name, 900 + index)
        if identifier.startswith("Prospect"):
            record |= {"types": [{"id": 2, "name": "Prospect"}], "leadFlag": True}
        if identifier.startswith("Former"):
            record |= {"status": {"id": 5, "name": "Not-Active"}}
        world.companies.add(record, WHO, SEEDED_AT)


class _HandMade:
    """Additions that people made before any sync existed."""

    def __init__(
        self, world: ConnectWiseWorld, options: Options, sophos: SophosWorld, rng: random.Random
    ) -> None:
        self.world = world
        self.rng = rng
        self.newest = options.newest_month()
        before = month_of(after(self.newest, 0), 1)
        self.items = {product.code: product.identifier for product in sophos.products}
        self.usage: dict[str, dict[str, int]] = {}
        for line in sophos.usage.get(before, []):
            codes = self.usage.setdefault(line.get("accountId", ""), {})
            code = line.get("productCode", "")
            codes[code] = codes.get(code, 0) + line["billableQuantity"]
        self.foreign = [
            row["id"]
            for row in world.catalog.rows.values()
            if "Sophos" not in row["description"] and "-0" in row["identifier"]
        ][:40]

    def others(self, agreement: Record) -> None:
        """One to three items of other vendors."""
        for number in self.rng.sample(self.foreign, min(len(self.foreign), self.rng.randint(1, 3))):
            self._add(agreement, number, float(self.rng.randint(1, 40)))

    def sophos_items(self, agreement: Record, index: int, tenant_id: str) -> None:
        """Sophos items with last month's numbers at every third customer, and the oddities."""
        role = roles.role(index)
        special: dict[int, dict[str, Any]] = {
            roles.LESS_INCLUDED: {"lessIncluded": 5.0},
            roles.CUSTOM_PRICE: {"unitPrice": 1.23, "invoiceDescription": "Agreed price"},
            roles.CANCELLED_ADDITION: {"cancelledDate": "2025-03-31T00:00:00Z"},
            roles.ENDING_ADDITION: {"cancelledDate": day_text(after(self.newest, 3))},
            # Older than the agreement's billing start: every change of it is refused.
            roles.OLD_BAD_ADDITION: {"effectiveDate": "2023-11-01T00:00:00Z"},
        }
        if role % 3 and role != roles.AMBIGUOUS_ADDITIONS:
            return
        totals: dict[str, int] = {}
        for code, amount in self.usage.get(tenant_id, {}).items():
            if code in self.items:
                totals[self.items[code]] = totals.get(self.items[code], 0) + amount
        for identifier, amount in totals.items():
            number = self.world.identifiers[identifier.casefold()]
            self._add(agreement, number, float(amount), **special.get(role, {}))
            if role == roles.AMBIGUOUS_ADDITIONS:
                self._add(agreement, number, 2.0)
                break

    def _add(self, agreement: Record, item_id: int, quantity: float, **changes: Any) -> None:
        item = self.world.catalog.rows[item_id]
        start = max("2025-01-01T00:00:00Z", agreement["billStartDate"])
        record = {
            "product": {"id": item_id},
            "quantity": quantity,
            "lessIncluded": 0.0,
            "unitPrice": item["price"],
            "unitCost": item["cost"],
            "billCustomer": "Billable",
            "effectiveDate": start,
            "taxableFlag": True,
            "invoiceDescription": item["customerDescription"],
            "purchaseItemFlag": False,
            "specialOrderFlag": False,
            "description": item["description"],
            **changes,
        }
        table = self.world.additions_of(agreement["id"])
        stored = table.add(record, "jdoe", SEEDED_AT)
        table.rows[stored["id"]] = computed_addition(self.world, agreement, stored)
