"""Firewalls: billed by serial number, not always known to belong to a customer."""

from __future__ import annotations

import calendar
import random
import uuid
from typing import Any

from sandbox.seeding.names import FIREWALL_PRODUCTS


def seed_firewalls(
    tenants: list[dict[str, Any]], partner_id: str, rng: random.Random
) -> list[dict[str, Any]]:
    """About one firewall per eight tenants: placed, placed for billing only, or unknown.

    The key `listed` says whether the licence list shows it; it is for the seeding only.
    """
    found = []
    for number in range(len(tenants) // 8 + 3):
        tenant = tenants[(number * 5) % len(tenants)] if tenants else None
        found.append(_firewall(number, tenant, partner_id, rng))
    return found


def _firewall(
    number: int, tenant: dict[str, Any] | None, partner_id: str, rng: random.Random
) -> dict[str, Any]:
    product = FIREWALL_PRODUCTS[number % 3]
    prefix = "C01001" if number % 3 == 2 else "X11116"
    serial = f"{prefix}{''.join(rng.choices('ABCDEFGHJKLMNPQRSTVWXYZ0123456789', k=9))}"
    place = {"id": tenant["id"]} if tenant else {}
    own = number % 4 in (0, 1)
    return {
        "serialNumber": serial,
        "owner": {"id": partner_id, "type": "partner"},
        "partner": {"id": partner_id},
        "tenant": place if own else {},
        "billingTenant": place,
        "model": product.name.split(" Xstream")[0],
        "modelType": "virtual" if number % 3 == 2 else "hardware",
        "lastSeenAt": "2026-01-01T00:00:00.000Z",
        "licenses": [
            {
                "id": str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                "licenseIdentifier": f"FW{number:06}",
                "product": {"code": product.code, "name": product.name, "genericCode": "XSP"},
                "startDate": "2024-03-01",
                "perpetual": False,
                "type": "usage",
                "quantity": 1,
                "unlimited": False,
            }
        ],
        "listed": number % 4 != 3,
    }


def firewall_lines(
    firewalls: list[dict[str, Any]], month: tuple[int, int], partner_id: str
) -> list[dict[str, Any]]:
    """The report's lines of all firewalls: a serial number and no account."""
    year, number = month
    last = calendar.monthrange(year, number)[1]
    lines = []
    for position, firewall in enumerate(firewalls):
        product = FIREWALL_PRODUCTS[position % 3]
        lines.append(
            {
                "partnerAccountId": partner_id,
                "partnerEdiAccountNumber": "EDI-0012207",
                "partnerAccountName": "Example Managed Services",
                "billingStartDate": f"{year}-{number:02}-01",
                "billingEndDate": f"{year}-{number:02}-{last:02}",
                "orderNumber": f"{year % 100:02}{number:02}99{position % 3}",
                "orderLineItemNumber": "10",
                "accountNumberOrSerialNumber": firewall["serialNumber"],
                "productDescription": product.name,
                "productGroup": product.group,
                "sku": f"{product.code.replace('_', '').upper()[:12]}",
                "billableQuantity": 1,
                "externalId": "",
                "accountStatus": "active",
                "actualQuantity": 1,
                "productCode": product.code,
                "unitPriceCurrency": "USD",
                "unitPrice": product.price,
                "netPriceCurrency": "USD",
                "netPrice": "0.00",
            }
        )
    return lines
